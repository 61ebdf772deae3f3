//! A log with nothing in it, for tests in which nothing is written.

use thalweg_raft::{LogPosition, LogView};
use types::{LeaderEpoch, Offset};

pub struct Empty;

impl LogView for Empty {
    fn start(&self) -> Offset {
        Offset::ZERO
    }

    fn end(&self) -> LogPosition {
        LogPosition::default()
    }

    fn durable_end(&self) -> Offset {
        Offset::ZERO
    }

    fn end_of_epoch(&self, _: LeaderEpoch) -> LogPosition {
        LogPosition::default()
    }

    fn latest_snapshot(&self) -> Option<LogPosition> {
        None
    }
}
