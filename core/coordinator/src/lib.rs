//! Group coordinators: membership of classic groups, committed offsets, and their records.
//!
//! One [`Coordinator`] stands for one partition of `__consumer_offsets`. It decides and never acts:
//! a request and the time go in, an [`Outcome`] comes out, with the records to append and the
//! replies to send once the log is committed. Replies that wait for other members are data inside
//! it, and so are all timers.
//!
//! State comes in two halves. [`Logged`] is what the log says (the last completed generation of
//! every group, all committed offsets); [`Logged::replay`] alone changes it, when the partition is
//! loaded just as when it is served. Sessions, parked replies and the generation in the making are
//! in no log: Kafka forgets them at a failover, and so do we.
//!
//! Not here: the log, authorization, topic ids, finding the coordinator; the caller does them.
//! Transactional offset commits and the other group types are not served yet.

mod coordinator;
mod group;
mod logged;
mod message;
mod partition;
mod records;
mod requests;
mod settings;
mod timers;

pub use coordinator::{Coordinator, MemberMemory};
pub use group::offsets::{CommittedOffset, Offsets};
pub use logged::{Generation, GroupId, Logged, MemberId, Replayed, StoredMember};
pub use message::{Caller, Now, Outcome, ReplyToken, Request, Response};
pub use partition::partition_for;
pub use records::{Record, ReplayError};
pub use settings::Settings;
