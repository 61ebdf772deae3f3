//! Fetching between brokers, both sides, with the product's sessions.

use bytes::Bytes;
use replication::{
    Answered, FetchPartition, FetchPlan, FetchTarget, FetchVerdict, Fetcher, LeaderAnswer,
    PartitionKey, ReplicaFetch, Step, TopicIdPartition, TopicKey, Want,
};
use types::{ErrorCode, LeaderEpoch, Millis, Offset, Uuid};

use super::{Broker, LAG_MAX, REQUEST_TIMEOUT};
use crate::bug::Bug;
use crate::clock::Now;
use crate::message::{FetchedPartition, Message, Peer, Sending, Slot, address, broker_id};
use crate::replica::Role;

const BACKOFF: Millis = Millis(100);
/// How long a leader keeps a fetch for which it has nothing.
const FETCH_WAIT: Millis = Millis(30);
const TOPIC_KEY: Uuid = Uuid::from_bytes([7; 16]);

/// The fetches from one other broker.
#[derive(Default)]
pub struct Pair {
    pub fetcher: Fetcher,
    /// The request under way, and when it is given up.
    under_way: Option<(u64, Millis)>,
}

impl Pair {
    pub fn next(&self) -> Option<Millis> {
        match self.under_way {
            Some((_, until)) => Some(until),
            None => self.fetcher.next_due(),
        }
    }
}

pub fn key(slot: Slot) -> TopicIdPartition {
    TopicIdPartition { topic: TOPIC_KEY, partition: slot }
}

fn session_key(key: TopicIdPartition) -> PartitionKey {
    PartitionKey { topic: TopicKey::Id(key.topic), partition: key.partition }
}

fn session_want(want: &Want) -> FetchPartition {
    FetchPartition {
        fetch_offset: want.fetch_offset.get(),
        current_leader_epoch: want.leader_epoch.0,
        last_fetched_epoch: want.last_fetched_epoch.map_or(-1, |epoch| epoch.0),
        partition_max_bytes: 1,
        log_start_offset: want.log_start.get(),
        high_watermark: want.high_watermark.get(),
    }
}

impl Broker {
    pub(super) fn send_fetches(&mut self, now: Millis) {
        let Some(broker_epoch) = self.epoch else { return };
        for (&leader, pair) in &mut self.pairs {
            if pair.under_way.take_if(|(_, until)| *until <= now).is_some() {
                pair.fetcher.failed();
            }
            if let Some(plan) = pair.fetcher.next(now) {
                self.requests += 1;
                let id = self.requests;
                pair.under_way = Some((id, now + REQUEST_TIMEOUT));
                self.out.push(Sending::request(leader, Message::Fetch { id, broker_epoch, plan }));
            }
        }
    }

    /// Answers a follower.
    pub fn fetch(
        &mut self,
        from: Peer,
        (id, broker_epoch): (u64, i64),
        plan: &FetchPlan,
        now: Millis,
    ) -> anyhow::Result<()> {
        let wants = plan.wants.iter();
        let wants = wants
            .map(|(key, want)| FetchTarget { key: session_key(*key), want: session_want(want) });
        let forgotten: Vec<_> = plan.forgotten.iter().map(|key| session_key(*key)).collect();
        let session = (plan.session_id, plan.session_epoch);
        let fresh = i32::try_from(self.rng.below(1 << 30)).expect("30 bits fit") + 1;
        let opened = self.sessions.open(session, wants.collect(), &forgotten, now, fresh);
        let open = match opened {
            Ok(open) => open,
            Err(refused) => {
                let error = refused.code();
                let message = Message::Fetched { id, error, session_id: 0, partitions: vec![] };
                self.out.push(Sending::answer(from, message));
                return Ok(());
            }
        };
        let (mut partitions, mut kept) = (vec![], FETCH_WAIT);
        for target in &open.targets {
            let (told, at_once) = self.fetch_one((from, broker_epoch), target, now)?;
            let has_data = !told.records.is_empty() || told.answer.diverging.is_some();
            let answered = Answered {
                error: told.answer.error,
                high_watermark: told.answer.high_watermark,
                log_start: told.answer.log_start,
                has_data,
            };
            if has_data || at_once || !told.answer.error.is_none() {
                kept = Millis::ZERO;
            }
            if self.sessions.answer(&open, &target.key, answered) {
                partitions.push(told);
            }
        }
        let (error, session_id) = (ErrorCode::None, open.session_id);
        let message = Message::Fetched { id, error, session_id, partitions };
        self.out.push(Sending { kept, ..Sending::answer(from, message) });
        Ok(())
    }

    fn fetch_one(
        &mut self,
        (from, broker_epoch): (Peer, i64),
        target: &FetchTarget,
        now: Millis,
    ) -> anyhow::Result<(FetchedPartition, bool)> {
        let (slot, want) = (target.key.partition, &target.want);
        let image = &self.image;
        let nothing = LeaderAnswer {
            error: ErrorCode::None,
            diverging: None,
            high_watermark: None,
            log_start: None,
        };
        let told = |answer, log_end| {
            Ok((FetchedPartition { slot, answer, log_end, records: Bytes::new() }, false))
        };
        let refused = |error| told(LeaderAnswer { error, ..nothing }, Offset::ZERO);
        let Some(replica) = self.replicas.get_mut(&slot) else {
            return refused(match self.places.contains_key(&slot) {
                true => ErrorCode::KafkaStorageError,
                false => ErrorCode::NotLeaderOrFollower,
            });
        };
        let own = replica.own();
        let nothing = LeaderAnswer { log_start: Some(own.start), ..nothing };
        let asked = (want.last_fetched_epoch >= 0).then_some(LeaderEpoch(want.last_fetched_epoch));
        let end = asked.and_then(|epoch| replica.end_of(epoch));
        let Role::Leader(leader) = &mut replica.role else {
            return refused(ErrorCode::NotLeaderOrFollower);
        };
        let fetch = ReplicaFetch {
            replica: broker_id(from.at),
            broker_epoch: Some(broker_epoch),
            leader_epoch: Some(LeaderEpoch(want.current_leader_epoch)),
            fetch_offset: Offset::new(want.fetch_offset),
            last_fetched_epoch: asked,
            log_start: Offset::from_wire(want.log_start_offset),
            high_watermark: Offset::from_wire(want.high_watermark),
        };
        let verdict = leader.follower_fetch(
            &fetch,
            (own.start, own.end),
            |_| end,
            (now, LAG_MAX),
            |id| Self::active_epoch(image, id),
        );
        match verdict {
            FetchVerdict::Refused(error) => told(LeaderAnswer { error, ..nothing }, own.end),
            FetchVerdict::Diverging(at) => {
                told(LeaderAnswer { diverging: Some(at), ..nothing }, own.end)
            }
            FetchVerdict::Read { at_once, .. } => {
                let high_watermark = Some(leader.high_watermark());
                let records = match replica.read(fetch.fetch_offset, own.end) {
                    Ok(records) => records,
                    Err(fault) => {
                        self.note_refused(slot, fault)?;
                        return refused(ErrorCode::KafkaStorageError);
                    }
                };
                let answer = LeaderAnswer { high_watermark, ..nothing };
                Ok((FetchedPartition { slot, answer, log_end: own.end, records }, at_once))
            }
        }
    }

    /// Takes a leader's answer.
    pub fn fetched(
        &mut self,
        from: usize,
        id: u64,
        (error, session_id): (ErrorCode, i32),
        partitions: Vec<FetchedPartition>,
        now: Now,
    ) -> anyhow::Result<()> {
        let Some(pair) = self.pairs.get_mut(&from) else { return Ok(()) };
        if pair.under_way.take_if(|(asked, _)| *asked == id).is_none() {
            return Ok(());
        }
        for told in partitions {
            self.take_fetched(from, &told, now)?;
        }
        let pair = self.pairs.get_mut(&from).expect("it was asked");
        pair.fetcher.answered(error, session_id);
        Ok(())
    }

    fn take_fetched(
        &mut self,
        from: usize,
        told: &FetchedPartition,
        now: Now,
    ) -> anyhow::Result<()> {
        let slot = told.slot;
        let Some(replica) = self.replicas.get_mut(&slot) else { return Ok(()) };
        let (own, asked) = (replica.own(), self.pairs[&from].fetcher.asked(key(slot)));
        let Role::Follower(follower) = &replica.role else { return Ok(()) };
        let (Some(asked), true) = (asked, follower.leader() == Some(broker_id(from))) else {
            return Ok(());
        };
        let mut delay = None;
        match follower.take(&asked, &told.answer, &own, |epoch| replica.end_of(epoch)) {
            Step::Ignore | Step::AwaitMetadata => return Ok(()),
            Step::Append => {
                if let Err(fault) = replica.log.append_as_follower(&told.records, now.wall) {
                    return self.note_refused(slot, fault);
                }
                let own = replica.own();
                if let Role::Follower(follower) = &mut replica.role {
                    let learned = follower.learned(&told.answer, &own);
                    if let Some(start) = learned.log_start {
                        replica.log.move_start(start.min(own.end));
                    }
                }
            }
            Step::Truncate(at) => {
                if let Err(fault) = replica.log.truncate_to(at, now.wall) {
                    return self.note_refused(slot, fault);
                }
                let at = replica.log.end_offset();
                if let Role::Follower(follower) = &mut replica.role {
                    assert!(!follower.truncated(at), "{} cuts what is committed", self.at);
                }
            }
            Step::AskOffsets => {
                let start = told.answer.log_start.unwrap_or(Offset::ZERO);
                self.realign(slot, (start, told.log_end), now)?;
                delay = Some(now.monotonic + BACKOFF);
            }
            Step::BackOff(_) => delay = Some(now.monotonic + BACKOFF),
        }
        self.ask_for_more(slot, delay, now.monotonic);
        Ok(())
    }

    /// The next fetch is to ask for what comes next, once the disk has what came before.
    pub(super) fn ask_for_more(&mut self, slot: Slot, delay: Option<Millis>, now: Millis) {
        let Some(replica) = self.replicas.get(&slot) else { return };
        let Role::Follower(follower) = &replica.role else { return };
        let Some(leader) = follower.leader() else { return };
        let mut want = follower.want(&replica.own());
        if let Some(want) = &mut want
            && self.bug == Some(Bug::TruncateToHighWatermark)
        {
            want.last_fetched_epoch = None;
        }
        let fetcher = &mut self.pairs.entry(address(leader)).or_default().fetcher;
        match (want, delay) {
            (Some(want), Some(until)) if until > now => fetcher.delay(key(slot), want, until),
            (Some(want), _) => fetcher.set(key(slot), want),
            (None, _) => fetcher.hold(key(slot)),
        }
    }
}
