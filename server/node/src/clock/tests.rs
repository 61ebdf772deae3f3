//! What the clocks say where the wall clock is stepped, and what that makes of a log.

use std::sync::Arc;

use bytes::BytesMut;
use log::{AppendOrigin, Log, LogConfig, Opening, RealDisk};
use records::{BatchBuilder, Compression, TimestampType};
use types::{LeaderEpoch, Offset, ProducerId};

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// What the steady time says where the wall clock says `wall[n]` after `n` minutes.
fn told(wall: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let mut steady = None;
    let tell = |(minute, wall): (i64, i64)| {
        let (wall, monotonic) = (Millis(wall), Millis(minute * 60_000));
        steady.get_or_insert_with(|| Steady::new(wall, monotonic)).tell(wall, monotonic).get()
    };
    (0..).zip(wall).map(tell).collect()
}

#[test]
fn steps_to_and_fro_do_not_move_the_steady_time() {
    for step in [DAY, -DAY] {
        let steps = [0, step, step, 0, -step, step, 0];
        let true_time = |minute: i64| 10 * DAY + minute * 60_000;
        let wall = (0..).zip(steps).map(|(minute, step)| true_time(minute) + step);
        assert_eq!(told(wall), (0..7).map(true_time).collect::<Vec<_>>(), "{step}");
    }
}

#[test]
fn a_step_that_lasts_is_believed() {
    for step in [DAY, -DAY] {
        let wall = |minute: i64| 10 * DAY + minute * 60_000 + if minute > 0 { step } else { 0 };
        let told = told((0..=61).map(wall));
        assert_eq!(told[60], wall(60) - step, "{step}");
        assert_eq!(told[61], wall(61), "{step}");
    }
}

#[test]
fn another_step_lasts_from_its_own_beginning() {
    let wall = |minute: i64| 10 * DAY + minute * 60_000 + if minute > 30 { 2 * DAY } else { DAY };
    let told = told([10 * DAY].into_iter().chain((1..=91).map(wall)));
    assert_eq!(told[90], wall(90) - 2 * DAY);
    assert_eq!(told[91], wall(91));
}

#[test]
fn a_gradual_change_is_followed() {
    let wall = |minute: i64| 10 * DAY + minute * 60_900;
    assert_eq!(told((0..50).map(wall)), (0..50).map(wall).collect::<Vec<_>>());
}

#[test]
fn stamps_follow_the_wall_clock_unless_it_was_stepped_back() {
    let cases = [(5000, 5000, 5000), (5000, 5900, 5000), (5000, 9000, 9000), (9000, 5000, 9000)];
    for (wall, steady, stamp) in cases {
        assert_eq!(latest_of(Millis(wall), Millis(steady)), Millis(stamp), "{wall} {steady}");
    }
}

const MINUTE: i64 = 60_000;

/// A log on a node whose wall clock is stepped.
struct Stepped {
    log: Log,
    steady: Steady,
    minute: i64,
    sequence: i32,
    _dir: tempfile::TempDir,
}

impl Stepped {
    fn new(config: LogConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (disk, folder, config) = (Arc::new(RealDisk), dir.path().join("t-0"), Arc::new(config));
        let log = Log::open(disk, folder, config, Opening::NEW, Millis(100 * DAY)).unwrap();
        let steady = Steady::new(Millis(100 * DAY), Millis(0));
        Self { log, steady, minute: 0, sequence: 0, _dir: dir }
    }

    /// A minute of a node whose wall clock is off by `step`: an append, and upkeep.
    fn minute(&mut self, step: i64) {
        self.minute += 1;
        let monotonic = Millis(self.minute * MINUTE);
        let wall = Millis(100 * DAY + step) + monotonic;
        let steady = self.steady.tell(wall, monotonic);
        let (earliest, latest) = (earliest_of(wall, steady), latest_of(wall, steady));
        let mut batch =
            BatchBuilder::new(Compression::None).producer(ProducerId(1), 0, self.sequence);
        batch.append((Millis(100 * DAY) + monotonic).get(), None, Some(b"value"), &[]);
        let batch = BytesMut::from(&batch.build()[..]);
        self.sequence += 1;
        let origin = AppendOrigin::Client;
        self.log.append_as_leader(batch, LeaderEpoch(0), origin, latest).unwrap();
        self.log.remove_expired_producers(earliest);
        self.log.delete_old_segments(self.log.end_offset(), earliest).unwrap();
    }
}

/// To and fro, and at last as it was.
const STEPS: [i64; 9] = [0, 30 * DAY, 30 * DAY, 0, -30 * DAY, -30 * DAY, 30 * DAY, 0, 0];

#[test]
fn stepped_clock_deletes_no_data_and_forgets_no_producer() {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let config = LogConfig { timestamp_type, segment_ms: Millis(1), ..LogConfig::default() };
        let mut node = Stepped::new(config);
        STEPS.into_iter().for_each(|step| node.minute(step));
        assert_eq!(node.log.start_offset(), Offset::ZERO, "{timestamp_type:?}");
        // Else the next number in sequence is refused.
        assert_eq!(node.log.end_offset(), Offset::new(9), "{timestamp_type:?}");
        assert_eq!(node.log.producers().len(), 1, "{timestamp_type:?}");
    }
}

#[test]
fn stepped_clock_does_not_stall_rolling() {
    let timestamp_type = TimestampType::LogAppendTime;
    let config = LogConfig {
        timestamp_type,
        segment_ms: Millis(5 * MINUTE),
        retention_ms: None,
        ..LogConfig::default()
    };
    let mut node = Stepped::new(config);
    node.minute(30 * DAY);
    (0..20).for_each(|_| node.minute(0));
    assert!(node.log.segment_count() >= 4, "{}", node.log.segment_count());
}

#[test]
fn stepped_clock_does_not_change_the_delay_of_deletions() {
    let config = LogConfig { retention_ms: Some(Millis(1)), ..LogConfig::default() };
    let delay = config.file_delete_delay_ms;
    for (wall, later) in [(200 * DAY, 200 * DAY + 1), (200 * DAY, 150 * DAY)] {
        let mut node = Stepped::new(config.clone());
        node.minute(0);
        node.log.delete_old_segments(Offset::new(1), Millis(wall)).unwrap();
        assert!(node.log.take_removal(Millis(0)).is_none());
        node.log.delete_old_segments(Offset::new(1), Millis(later)).unwrap();
        assert!(node.log.take_removal(delay - Millis(1)).is_none());
        assert!(node.log.take_removal(delay).is_some());
    }
}
