//! What goes wrong in a run, or has an operator do something: counted, so that a build can tell that
//! none of it is left out.

/// Something that happens to a cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Happening {
    /// A process ends, and what was not synced may be lost with it.
    Crash,
    /// A power cut in the middle of a change of a disk.
    TornWrite,
    /// The power of all machines goes at once.
    PowerCut,
    /// A process stands still for a while.
    Pause,
    /// Nothing gets from one machine to another, or to and from all others.
    Cut,
    /// Messages are lost or come twice from now on.
    BadNetwork,
    /// Processes crash just after they have promised something, from now on.
    CrashesAfterPromises,
    /// The active controller hands over.
    HandOver,
    /// A voter comes or goes.
    VoterChange,
    /// Replicas are to move.
    Move,
    /// A wall clock jumps.
    ClockJump,
    /// Syncs take long on one disk from now on.
    SlowDisk,
    /// Calls of disks fail now and then from now on.
    FailingDisks,
    /// A read has failed, and nothing else.
    FailedRead,
    /// A directory has failed, and its node goes on without it.
    FailedDirectory,
    /// A node ends since it cannot go on without the directory that has failed.
    NodeEnd,
    /// A machine gets an empty disk in the place of one that had replicas alone.
    LostDisk,
    /// A machine gets empty disks in the place of all.
    LostMachine,
    /// A machine has written a snapshot of the metadata log.
    Snapshot,
    /// A machine has taken a snapshot of another one in the place of its metadata log.
    SnapshotTaken,
    /// A machine has handed over what it led, and ends in good order.
    CleanStop,
    /// The oldest segments of a replica have gone.
    Retention,
    /// A follower has dropped its log and begins anew where that of its leader begins.
    StartAnew,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Crash,
        Self::TornWrite,
        Self::PowerCut,
        Self::Pause,
        Self::Cut,
        Self::BadNetwork,
        Self::CrashesAfterPromises,
        Self::HandOver,
        Self::VoterChange,
        Self::Move,
        Self::ClockJump,
        Self::SlowDisk,
        Self::FailingDisks,
        Self::FailedRead,
        Self::FailedDirectory,
        Self::NodeEnd,
        Self::LostDisk,
        Self::LostMachine,
        Self::Snapshot,
        Self::SnapshotTaken,
        Self::CleanStop,
        Self::Retention,
        Self::StartAnew,
    ];
}
