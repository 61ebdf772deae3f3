//! What one broker asks of another: the partitions of the next Fetch, as pure state.
//!
//! [`Fetcher`] knows, per partition that is followed from one leader, whether it may be asked for
//! now, later, or not before something local is done. [`Fetcher::next`] gives the difference to what
//! the incremental session knows (KIP-227), so a round costs what changed, not what is followed.
//! One request is under way at a time.
//!
//! Not here: sending, and what an answer means for a partition (`follower`).

use std::collections::{BTreeMap, BTreeSet};

use types::{ErrorCode, LeaderEpoch, Millis, Offset, Uuid};

mod session;

use session::Session;

/// A partition by the id of its topic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicIdPartition {
    /// Id of the topic.
    pub topic: Uuid,
    /// Index of the partition.
    pub partition: i32,
}

/// What a follower asks its leader for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Want {
    /// The epoch of the leader that is asked.
    pub leader_epoch: LeaderEpoch,
    /// The first offset wanted: the end of the follower's log, all of which may be counted on.
    pub fetch_offset: Offset,
    /// The epoch of the record before, `None` for an empty log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Where the follower's log begins.
    pub log_start: Offset,
    /// The high watermark that the follower knows.
    pub high_watermark: Offset,
}

/// A Fetch to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchPlan {
    /// The session, 0 for none.
    pub session_id: i32,
    /// The session's epoch.
    pub session_epoch: i32,
    /// What the session does not know yet, or knows otherwise.
    pub wants: Vec<(TopicIdPartition, Want)>,
    /// What is not to be answered for now.
    pub forgotten: Vec<TopicIdPartition>,
}

#[derive(Clone, Debug)]
struct Entry {
    state: State,
    /// What the session believes that this follower wants.
    told: Option<Want>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// May be asked for.
    Ready(Want),
    /// Not before the time.
    Delayed(Want, Millis),
    /// Not before [`Fetcher::set`]: its records are being written, synced or cut.
    Held,
    /// Followed no more; goes once the session has forgotten it.
    Gone,
}

/// The partitions that are followed from one broker, and the fetch session with it.
#[derive(Clone, Debug, Default)]
pub struct Fetcher {
    entries: BTreeMap<TopicIdPartition, Entry>,
    session: Session,
    /// Partitions whose state may differ from what the session knows.
    changed: BTreeSet<TopicIdPartition>,
    delayed: BTreeSet<(Millis, TopicIdPartition)>,
    /// How many are [`State::Ready`].
    ready: usize,
    is_under_way: bool,
}

impl Fetcher {
    /// Whether nothing is followed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A partition is ready to be asked for.
    pub fn set(&mut self, key: TopicIdPartition, want: Want) {
        self.change(key, State::Ready(want));
    }

    /// A partition is to be left out until `until`: an error, or a throttled replica.
    pub fn delay(&mut self, key: TopicIdPartition, want: Want, until: Millis) {
        self.change(key, State::Delayed(want, until));
        self.delayed.insert((until, key));
    }

    /// A partition is to be left out until it is set again.
    pub fn hold(&mut self, key: TopicIdPartition) {
        self.change(key, State::Held);
    }

    /// A partition is followed no more, or from another broker.
    pub fn remove(&mut self, key: TopicIdPartition) {
        if self.entries.contains_key(&key) {
            self.change(key, State::Gone);
        }
    }

    /// What the request under way asks for of a partition.
    pub fn asked(&self, key: TopicIdPartition) -> Option<Want> {
        self.entries.get(&key)?.told
    }

    /// Whether a partition has not been followed from this broker until now.
    pub fn is_new(&self, key: TopicIdPartition) -> bool {
        self.entries.get(&key).is_none_or(|entry| entry.state == State::Gone)
    }

    /// Whether something may be asked for that the request under way lacks.
    pub fn lacks_some(&self) -> bool {
        self.changed
            .iter()
            .filter_map(|key| self.entries.get(key))
            .any(|entry| entry.told.is_none() && matches!(entry.state, State::Ready(_)))
    }

    /// When a partition that is left out may be asked for again.
    pub fn next_due(&self) -> Option<Millis> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// The next request; `None` while one is under way or there is nothing to ask for.
    pub fn next(&mut self, now: Millis) -> Option<FetchPlan> {
        if self.is_under_way {
            return None;
        }
        self.end_delays(now);
        if self.ready == 0 {
            return None;
        }
        self.is_under_way = true;
        let (session_id, session_epoch) = self.session.next();
        let (mut wants, mut forgotten) = (vec![], vec![]);
        for key in std::mem::take(&mut self.changed) {
            let entry = self.entries.get_mut(&key).expect("what changed is known");
            let want = match entry.state {
                State::Ready(want) => Some(want),
                State::Delayed(..) | State::Held | State::Gone => None,
            };
            match want {
                Some(want) if entry.told != Some(want) => wants.push((key, want)),
                None if entry.told.is_some() => forgotten.push(key),
                Some(_) | None => {}
            }
            entry.told = want;
            if entry.state == State::Gone {
                self.entries.remove(&key);
            }
        }
        Some(FetchPlan { session_id, session_epoch, wants, forgotten })
    }

    /// The request was answered, with an error for the whole and a session id. Its partitions are to
    /// be taken before, while [`Fetcher::asked`] still tells what each was asked.
    pub fn answered(&mut self, error: ErrorCode, session_id: i32) {
        self.is_under_way = false;
        if !self.session.answered(error, session_id) {
            self.forget_what_was_told();
        }
    }

    /// The request got no answer.
    pub fn failed(&mut self) {
        self.is_under_way = false;
        self.session.failed();
        self.forget_what_was_told();
    }

    /// The next request names everything that is ready.
    fn forget_what_was_told(&mut self) {
        for (key, entry) in &mut self.entries {
            entry.told = None;
            self.changed.insert(*key);
        }
    }

    fn end_delays(&mut self, now: Millis) {
        while let Some(&(until, key)) = self.delayed.first() {
            if until > now {
                break;
            }
            self.delayed.pop_first();
            if let Some(Entry { state: State::Delayed(want, _), .. }) = self.entries.get(&key) {
                let want = *want;
                self.change(key, State::Ready(want));
            }
        }
    }

    fn change(&mut self, key: TopicIdPartition, to: State) {
        let new = Entry { state: State::Held, told: None };
        let entry = self.entries.entry(key).or_insert(new);
        match entry.state {
            State::Ready(_) => self.ready -= 1,
            State::Delayed(_, until) => _ = self.delayed.remove(&(until, key)),
            State::Held | State::Gone => {}
        }
        self.ready += usize::from(matches!(to, State::Ready(_)));
        entry.state = to;
        self.changed.insert(key);
    }
}

#[cfg(test)]
mod tests;
