//! Incremental fetch sessions (KIP-227): what a client told once need not be told again.
//!
//! [`FetchSessions`] keeps, per session, the partitions a client reads and what it was last told of
//! each. [`FetchSessions::open`] turns a request into the full list to read; [`FetchSessions::answer`]
//! says which partitions the response must carry. Not here: reading, waiting, encoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::{ErrorCode, Millis, Offset, Uuid};

use crate::news::Readable;

/// A session that was not used for this long may make room for a new one.
const EVICTION_AGE: Millis = Millis(120_000);

/// The epoch of a request that opens a session (or asks for none).
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that closes its session.
const FINAL_EPOCH: i32 = -1;

/// How a request names a topic: by id since version 13, by name before.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TopicKey {
    /// By id.
    Id(Uuid),
    /// By name.
    Name(Arc<str>),
}

/// A partition as the request names it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// The index of the partition, from 0.
    pub partition: i32,
}

/// What a client wants of one partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchPartition {
    /// First offset wanted, as sent: a negative one is out of range, not an error here.
    pub fetch_offset: i64,
    /// The client's idea of the leader epoch, -1 for none.
    pub current_leader_epoch: i32,
    /// The epoch of the last record the client read, -1 for none.
    pub last_fetched_epoch: i32,
    /// At most this many bytes of the partition.
    pub partition_max_bytes: i32,
    /// Where a follower's log begins, -1 for none and for consumers.
    pub log_start_offset: i64,
    /// The high watermark that a follower knows, -1 for none; the largest number where it does not
    /// say (KIP-1166).
    pub high_watermark: i64,
}

impl FetchPartition {
    /// What a follower says that it knows.
    pub fn known(&self) -> Readable {
        Readable {
            log_start: Offset::from_wire(self.log_start_offset),
            high_watermark: Offset::from_wire(self.high_watermark),
        }
    }

    /// Whether a follower says that it knows less than it could.
    fn is_behind(&self, here: &Readable) -> bool {
        here.is_news_to(&self.known(), Offset::new(self.fetch_offset.max(0)))
    }
}

/// One partition to read for a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchTarget {
    /// Which partition.
    pub key: PartitionKey,
    /// What is wanted of it.
    pub want: FetchPartition,
}

/// What a response would say of one partition, as far as the session cares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// The partition's error code.
    pub error: ErrorCode,
    /// The high watermark, `None` where unknown.
    pub high_watermark: Option<Offset>,
    /// The log start, `None` where unknown.
    pub log_start: Option<Offset>,
    /// Whether records come along, or word of where the logs part or of a nearer replica.
    pub has_data: bool,
}

/// Why the session part of a request is refused; the whole response then carries the code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchRefused {
    /// No such session here: it expired, or the client reconnected elsewhere.
    #[error("fetch session {0} is not known")]
    UnknownSession(i32),
    /// The epoch is not the next one of the session.
    #[error("fetch session is at epoch {expected}, request says {given}")]
    WrongEpoch {
        /// What the request says.
        given: i32,
        /// What the session expects.
        expected: i32,
    },
    /// The session was opened with topic ids and is used with names, or the reverse.
    #[error("fetch session uses the other way to name topics")]
    TopicKeyKind,
}

impl FetchRefused {
    /// The code on the wire.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::UnknownSession(_) => ErrorCode::FetchSessionIdNotFound,
            Self::WrongEpoch { .. } => ErrorCode::InvalidFetchSessionEpoch,
            Self::TopicKeyKind => ErrorCode::FetchSessionTopicIdError,
        }
    }
}

/// A request with its session resolved.
#[derive(Debug, Eq, PartialEq)]
pub struct OpenFetch {
    /// The session, 0 for none; goes into the response.
    pub session_id: i32,
    /// Everything to read, in the order in which the response's bytes are spent.
    pub targets: Vec<FetchTarget>,
    /// Whether the response may leave out what did not change.
    pub incremental: bool,
}

#[derive(Debug)]
struct Entry {
    target: FetchTarget,
    told: Option<(ErrorCode, Option<Offset>, Option<Offset>)>,
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    last_used: Millis,
    by_id: bool,
    entries: Vec<Entry>,
    index: BTreeMap<PartitionKey, usize>,
    /// Where the next response begins to spend its bytes, so that no partition starves.
    first: usize,
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct FetchSessions {
    slots_max: usize,
    partitions_max: usize,
    sessions: BTreeMap<i32, Session>,
    /// What all of them remember.
    partitions: usize,
}

impl FetchSessions {
    /// No sessions yet, at most `slots_max` of them (`max.incremental.fetch.session.cache.slots`),
    /// which remember `partitions_max` partitions together. Who gets none reads as well without.
    pub fn new(slots_max: usize, partitions_max: usize) -> Self {
        Self { slots_max, partitions_max, sessions: BTreeMap::new(), partitions: 0 }
    }

    /// How many sessions are open, and how many partitions they remember.
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.partitions)
    }

    /// Resolves a request's session; `fresh_id` is a random id to use if a session is opened.
    ///
    /// # Errors
    /// [`FetchRefused`] where the request does not fit the session it names.
    pub fn open(
        &mut self,
        (session_id, epoch): (i32, i32),
        changed: Vec<FetchTarget>,
        forgotten: &[PartitionKey],
        now: Millis,
        fresh_id: i32,
    ) -> Result<OpenFetch, FetchRefused> {
        match epoch {
            FINAL_EPOCH => {
                self.close(session_id);
                Ok(OpenFetch { session_id: 0, targets: changed, incremental: false })
            }
            INITIAL_EPOCH => {
                self.close(session_id);
                Ok(self.open_full(changed, now, fresh_id))
            }
            _ => self.open_incremental((session_id, epoch), changed, forgotten, now),
        }
    }

    fn open_full(&mut self, targets: Vec<FetchTarget>, now: Millis, fresh_id: i32) -> OpenFetch {
        let room = !targets.is_empty() && fresh_id > 0 && self.make_room(targets.len(), now);
        if !room || self.sessions.contains_key(&fresh_id) {
            return OpenFetch { session_id: 0, targets, incremental: false };
        }
        let mut session = Session {
            next_epoch: 1,
            last_used: now,
            by_id: matches!(targets[0].key.topic, TopicKey::Id(_)),
            entries: vec![],
            index: BTreeMap::new(),
            first: 0,
        };
        session.update(targets.clone(), &[]);
        self.partitions += session.entries.len();
        self.sessions.insert(fresh_id, session);
        OpenFetch { session_id: fresh_id, targets, incremental: false }
    }

    fn open_incremental(
        &mut self,
        (session_id, epoch): (i32, i32),
        changed: Vec<FetchTarget>,
        forgotten: &[PartitionKey],
        now: Millis,
    ) -> Result<OpenFetch, FetchRefused> {
        let session =
            self.sessions.get_mut(&session_id).ok_or(FetchRefused::UnknownSession(session_id))?;
        if epoch != session.next_epoch {
            let expected = session.next_epoch;
            return Err(FetchRefused::WrongEpoch { given: epoch, expected });
        }
        let same_kind = |t: &FetchTarget| matches!(t.key.topic, TopicKey::Id(_)) == session.by_id;
        if !changed.iter().all(same_kind) {
            return Err(FetchRefused::TopicKeyKind);
        }
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used = now;
        let remembered = session.entries.len();
        session.update(changed, forgotten);
        self.partitions = self.partitions - remembered + session.entries.len();
        if session.entries.len() > remembered && self.partitions > self.partitions_max {
            // The client asks for another one, and gets it where there is room.
            self.close(session_id);
            return Err(FetchRefused::UnknownSession(session_id));
        }
        let (before, from) = session.entries.split_at(session.first);
        let targets = from.iter().chain(before).map(|entry| entry.target.clone()).collect();
        Ok(OpenFetch { session_id, targets, incremental: true })
    }

    /// Whether a slot is free, and room for so many partitions, after giving up the sessions that
    /// were idle longest as far as they are old.
    fn make_room(&mut self, partitions: usize, now: Millis) -> bool {
        while self.sessions.len() >= self.slots_max
            || self.partitions.saturating_add(partitions) > self.partitions_max
        {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
            match oldest {
                Some((&id, session)) if now - session.last_used >= EVICTION_AGE => self.close(id),
                _ => return false,
            }
        }
        true
    }

    fn close(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.partitions -= session.entries.len();
        }
    }

    /// Notes what the response says of `key` and tells whether it must be in the response.
    pub fn answer(&mut self, fetch: &OpenFetch, key: &PartitionKey, answered: Answered) -> bool {
        let Some(session) = self.sessions.get_mut(&fetch.session_id) else { return true };
        let Some(&at) = session.index.get(key) else { return true };
        let now_told = (answered.error, answered.high_watermark, answered.log_start);
        // What was told once may have been ignored: a follower drops answers to former questions.
        let here =
            Readable { log_start: answered.log_start, high_watermark: answered.high_watermark };
        let is_behind = session.entries[at].target.want.is_behind(&here);
        let changed = is_behind || session.entries[at].told != Some(now_told);
        session.entries[at].told = Some(now_told);
        if answered.has_data {
            session.first = (at + 1) % session.entries.len();
        }
        !fetch.incremental || changed || answered.has_data || !answered.error.is_none()
    }
}

impl Session {
    fn update(&mut self, changed: Vec<FetchTarget>, forgotten: &[PartitionKey]) {
        for target in changed {
            match self.index.get(&target.key) {
                Some(&at) => self.entries[at].target = target,
                None => {
                    self.index.insert(target.key.clone(), self.entries.len());
                    self.entries.push(Entry { target, told: None });
                }
            }
        }
        let before = self.entries.len();
        for key in forgotten {
            self.index.remove(key);
        }
        let index = &self.index;
        self.entries.retain(|entry| index.contains_key(&entry.target.key));
        if self.entries.len() != before {
            self.index = self
                .entries
                .iter()
                .enumerate()
                .map(|(at, entry)| (entry.target.key.clone(), at))
                .collect();
            self.first = 0;
        }
    }
}

#[cfg(test)]
mod tests;
