//! What other replicas ask of this one: votes, who leads, the log and snapshots. Who reads at the
//! end of the log waits until there is more, or more of it is committed.
//!
//! Not here: the decisions (`core/raft`), the form on the wire (`wire`).

use bytes::Bytes;
use raft::{
    Endpoint, EpochAnswer, Fetch, FetchAnswer, FetchReply, FetchSnapshot, FetchSnapshotAnswer,
    LogView, Request, Response, Role,
};
use tokio::sync::oneshot;
use types::{ErrorCode, LeaderEpoch, Millis, Offset};

use super::driver::Driver;
use crate::clock;

/// The most bytes of log or snapshot in one answer, whatever is asked for.
const BYTES_MAX: usize = 8 << 20;

/// How long a read waits at most, whatever is asked for. Replicas ask for half a second.
const WAIT_MAX: Millis = Millis(5000);

/// A request of another replica.
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// The most bytes that it takes.
    pub bytes_max: usize,
    /// How long it may wait.
    pub wait: Millis,
    /// Takes the answer.
    pub reply: oneshot::Sender<Reply>,
}

/// An answer with what the wire says beside it.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// Where the leader listens, as far as known.
    pub leader_endpoints: Vec<Endpoint>,
    /// The first offset that is still there.
    pub log_start: Offset,
}

/// Reads that wait.
#[derive(Default)]
pub struct Readers(Vec<Parked>);

struct Parked {
    fetch: Fetch,
    epoch: LeaderEpoch,
    bytes_max: usize,
    until: Millis,
    reply: oneshot::Sender<Reply>,
}

impl Readers {
    /// When the first one has waited for long enough.
    pub fn next(&self) -> Option<Millis> {
        self.0.iter().map(|parked| parked.until).min()
    }
}

impl Driver {
    /// Answers another replica, once what the answer promises is on disk.
    pub(super) fn serve(&mut self, asked: Asked) -> anyhow::Result<()> {
        let Asked { request, bytes_max, wait, reply } = asked;
        let now = clock::monotonic();
        let bytes_max = bytes_max.min(BYTES_MAX);
        let (raft, log) = (&mut self.raft, &self.log);
        let response = match &request {
            Request::Vote(vote) => Response::Vote(raft.vote(vote, log, now)),
            Request::BeginQuorumEpoch(begin) => {
                Response::BeginQuorumEpoch(raft.begin_quorum_epoch(begin, now))
            }
            Request::EndQuorumEpoch(end) => {
                Response::EndQuorumEpoch(raft.end_quorum_epoch(end, now))
            }
            // Those come by `Controller::change_voters`, from users and replicas alike.
            Request::ChangeVoters(_) => Response::ChangeVoters(ErrorCode::InvalidRequest),
            Request::FetchSnapshot(fetch) => {
                Response::FetchSnapshot(self.read_snapshot(fetch, bytes_max, now))
            }
            Request::Fetch(fetch) => {
                let epoch = fetch.epoch;
                let until = now + wait.min(WAIT_MAX);
                let parked = Parked { fetch: *fetch, epoch, bytes_max, until, reply };
                return self.fetch(parked, now);
            }
        };
        self.carry_out()?;
        self.answer(reply, response);
        Ok(())
    }

    fn answer(&self, reply: oneshot::Sender<Reply>, response: Response) {
        let leader_endpoints = self.leader_endpoints().to_vec();
        let log_start = self.log.start();
        // Nobody takes it where the connection is gone.
        _ = reply.send(Reply { response, leader_endpoints, log_start });
    }

    /// Where the leader listens, as far as known.
    pub(super) fn leader_endpoints(&self) -> &[Endpoint] {
        match (self.raft.role(), self.raft.election().leader) {
            (Role::Leader(_), _) => &self.endpoints,
            (Role::Follower(state), _) => state.endpoints(),
            (_, Some(leader)) => {
                let voter = self.raft.voters().latest().get(leader);
                voter.map_or(&[][..], |voter| &voter.endpoints)
            }
            (_, None) => &[],
        }
    }

    /// Looks again after those who wait; whether one of them was answered.
    pub(super) fn answer_readers(&mut self) -> anyhow::Result<bool> {
        let now = clock::monotonic();
        let (end, committed) = (self.log.end().offset, self.raft.told_high_watermark());
        let leading = self.raft.leading();
        let is_due = |parked: &Parked| {
            parked.until <= now
                || parked.fetch.end.offset < end
                || parked.fetch.high_watermark < committed
                || leading != Some(parked.epoch)
        };
        if !self.readers.0.iter().any(is_due) {
            return Ok(false);
        }
        let mut parked = std::mem::take(&mut self.readers.0);
        // Whose connection is gone would only be let wait again.
        parked.retain(|one| !one.reply.is_closed());
        let (due, waiting) = parked.into_iter().partition(is_due);
        self.readers.0 = waiting;
        for parked in due {
            self.fetch(parked, now)?;
        }
        Ok(true)
    }

    fn fetch(&mut self, parked: Parked, now: Millis) -> anyhow::Result<()> {
        let fetch = &parked.fetch;
        let answer = self.raft.fetched(fetch, &self.log, now);
        self.carry_out()?;
        let committed = self.raft.told_high_watermark();
        let has_news = fetch.end.offset < self.log.end().offset || fetch.high_watermark < committed;
        if answer == FetchAnswer::Records && !has_news && now < parked.until {
            self.readers.0.push(parked);
            return Ok(());
        }
        let mut reply = FetchReply {
            answer: self.known(ErrorCode::None),
            endpoints: self.leader_endpoints().to_vec(),
            diverging: None,
            snapshot: None,
            high_watermark: None,
            records: Bytes::new(),
        };
        match answer {
            FetchAnswer::Refused(refused) => reply.answer = refused,
            FetchAnswer::Diverging(at) => reply.diverging = Some(at),
            FetchAnswer::Snapshot(at) => reply.snapshot = Some(at),
            FetchAnswer::Records => {
                reply.high_watermark = committed;
                reply.records = self.log.read(fetch.end.offset, parked.bytes_max)?;
            }
        }
        self.answer(parked.reply, Response::Fetch(reply));
        Ok(())
    }

    fn read_snapshot(
        &mut self,
        fetch: &FetchSnapshot,
        bytes_max: usize,
        now: Millis,
    ) -> FetchSnapshotAnswer {
        let position = fetch.position;
        let refused =
            |answer| FetchSnapshotAnswer { answer, size: 0, position, bytes: Bytes::new() };
        if let Err(answer) = self.raft.fetch_snapshot(fetch, now) {
            return refused(answer);
        }
        let (bytes, size) = match self.log.read_snapshot(fetch.snapshot, position, bytes_max) {
            Ok(Some(read)) => read,
            Ok(None) => return refused(self.known(ErrorCode::SnapshotNotFound)),
            Err(fault) => {
                // The reader asks again, and this node needs the file only for its next start.
                tracing::error!("a snapshot cannot be served: {fault:#}");
                return refused(self.known(ErrorCode::UnknownServerError));
            }
        };
        if position >= size {
            return refused(self.known(ErrorCode::PositionOutOfRange));
        }
        FetchSnapshotAnswer { answer: self.known(ErrorCode::None), size, position, bytes }
    }

    fn known(&self, error: ErrorCode) -> EpochAnswer {
        let election = self.raft.election();
        EpochAnswer { error, leader: election.leader, epoch: election.epoch }
    }
}
