//! The log directories of a machine, each on a disk of its own; the first one has the metadata log,
//! too. What the operating system refuses to do with them, and what follows.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use log::{AppendError, Disk, Fault, FaultyDisk, LogError, Op, ReadError};
use types::{Rng, Uuid};

/// Directories of each machine.
pub const DIRS: usize = 2;
/// Where it is on its disk.
pub const ROOT: &str = "/data";
/// A sync takes up to so many milliseconds.
pub const SYNC_MAX: u32 = 40;
const EIO: i32 = 5;
/// Calls that fail: those that matter most come more than once.
const OPS: [Op; 10] = [
    Op::Sync,
    Op::Sync,
    Op::Sync,
    Op::SyncDir,
    Op::Write,
    Op::Write,
    Op::Create,
    Op::Rename,
    Op::Read,
    Op::Read,
];

/// A directory. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Dir {
    pub id: Uuid,
    pub disk: FaultyDisk,
    /// A sync takes up to so many milliseconds.
    pub sync_max: Rc<Cell<u32>>,
}

/// What the operating system has refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// A read, which says nothing of what else is there.
    Read,
    /// Something after which nobody knows what the directory holds.
    Change,
}

impl Dir {
    /// An empty directory, as a format leaves it.
    pub fn new(id: Uuid, rng: &mut Rng) -> Self {
        let disk = FaultyDisk::new(rng.next_u64());
        let made = disk.create_dir_all(Path::new(ROOT));
        made.and_then(|()| disk.sync_dir(Path::new("/"))).expect("it does nothing wrong yet");
        Self { id, disk, sync_max: Rc::new(Cell::new(SYNC_MAX)) }
    }

    /// One of the next calls fails.
    pub fn fail_once(&self, rng: &mut Rng) {
        let op = OPS[rng.below(10) as usize];
        let skip = rng.below(2);
        self.disk.fail(Fault { op, name_end: String::new(), skip, times: 1, errno: EIO });
    }
}

/// The id of a machine's directory, another one for each disk that it was on.
pub fn id(at: usize, place: usize, disk: u8) -> Uuid {
    let number = |at: usize| u8::try_from(at + 1).expect("there are few machines");
    let mut bytes = [number(at); 16];
    (bytes[14], bytes[15]) = (number(place), disk);
    Uuid::from_bytes(bytes)
}

/// What the operating system has refused, if that is what the fault says: an order to fail has come
/// to pass.
pub fn refused(fault: &anyhow::Error) -> Option<Refused> {
    fault.chain().find_map(|one| {
        let log = match (one.downcast_ref::<AppendError>(), one.downcast_ref::<ReadError>()) {
            (Some(AppendError::Log(fault)), _) | (_, Some(ReadError::Log(fault))) => Some(fault),
            _ => one.downcast_ref::<LogError>(),
        };
        let (cause, refused) = match log {
            Some(LogError::Io { action: "read", cause, .. }) => (cause, Refused::Read),
            Some(LogError::Io { cause, .. }) => (cause, Refused::Change),
            _ => (one.downcast_ref::<io::Error>()?, Refused::Change),
        };
        (cause.raw_os_error() == Some(EIO)).then_some(refused)
    })
}
