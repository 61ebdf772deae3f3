//! Producers and consumers.

use bytes::{Bytes, BytesMut};
use log::AppendOrigin;
use types::{ErrorCode, Offset};

use super::{Ack, Broker};
use crate::bug::Bug;
use crate::clock::Now;
use crate::message::{Message, Peer, Refusal, Sending, Slot, address};
use crate::replica::{Role, TOPIC, Waiting};

impl Broker {
    fn refusal(&self, slot: Slot) -> Refusal {
        let topic = self.image.topic(TOPIC);
        let leader = topic.and_then(|topic| topic.partition(slot)?.leader);
        Refusal { leader: leader.map(address) }
    }

    /// A producer's batch, to be acknowledged once it is committed.
    pub fn produce(
        &mut self,
        (peer, id): (Peer, u64),
        slot: Slot,
        batch: &Bytes,
        now: Now,
    ) -> anyhow::Result<()> {
        if self.append((peer, id), slot, batch, now)?.is_err() {
            let result = Err(self.refusal(slot));
            self.out.push(Sending::answer(peer, Message::Produced { id, result }));
        }
        Ok(())
    }

    fn append(
        &mut self,
        (peer, id): (Peer, u64),
        slot: Slot,
        batch: &Bytes,
        now: Now,
    ) -> anyhow::Result<Result<(), ErrorCode>> {
        let Some(replica) = self.replicas.get_mut(&slot) else {
            return Ok(Err(ErrorCode::NotLeaderOrFollower));
        };
        let Role::Leader(leader) = &replica.role else {
            return Ok(Err(ErrorCode::NotLeaderOrFollower));
        };
        if let Err(code) = leader.check_min_isr() {
            return Ok(Err(code));
        }
        let batch = BytesMut::from(&batch[..]);
        let appended =
            replica.log.append_as_leader(batch, leader.epoch(), AppendOrigin::Client, now.wall);
        let info = match appended {
            Ok(info) => info,
            Err(log::AppendError::Log(fault)) => {
                self.note_refused(slot, fault)?;
                return Ok(Err(ErrorCode::KafkaStorageError));
            }
            Err(refused) => return Ok(Err(refused.code())),
        };
        let (base, end) = (info.base_offset, info.last_offset.next());
        replica.waiting.push(Waiting { base, end, peer, id });
        replica.count_own_if_written();
        Ok(Ok(()))
    }

    /// Whoever waits for what is committed by now hears of it.
    pub(super) fn complete_waiting(&mut self) {
        for replica in self.replicas.values_mut() {
            let Role::Leader(leader) = &replica.role else { continue };
            let (epoch, high_watermark) = (leader.epoch(), leader.high_watermark());
            for done in replica.waiting.extract_if(.., |one| one.end <= high_watermark) {
                let Waiting { base, end, peer, id } = done;
                self.acks.push(Ack { slot: replica.slot, epoch, base, end });
                let message = Message::Produced { id, result: Ok(base) };
                self.out.push(Sending::answer(peer, message));
            }
        }
    }

    /// What a consumer may read from `from` on.
    pub fn consume(
        &mut self,
        (peer, id): (Peer, u64),
        slot: Slot,
        from: Offset,
    ) -> anyhow::Result<()> {
        let refused = self.refusal(slot);
        let serves_all = self.bug == Some(Bug::ServedBeforeCommit);
        let result = match self.replicas.get_mut(&slot) {
            Some(replica) if matches!(replica.role, Role::Leader(_)) => {
                let committed = replica.high_watermark().unwrap_or(Offset::ZERO);
                let until = if serves_all { replica.log.end_offset() } else { committed };
                // Who asks for what is gone goes on where the log begins, and a new leader may know of
                // less than the consumer has read.
                let from = from.max(replica.log.start_offset());
                let is_there = from < until;
                let read = is_there.then(|| replica.read(from, until));
                match read.unwrap_or(Ok(Bytes::new())) {
                    Ok(records) => Ok(records),
                    Err(fault) => {
                        self.note_refused(slot, fault)?;
                        Err(refused)
                    }
                }
            }
            _ => Err(refused),
        };
        self.out.push(Sending::answer(peer, Message::Consumed { id, result }));
        Ok(())
    }
}
