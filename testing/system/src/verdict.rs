//! What must be true of a log after a crash, given what was sent and what was acknowledged.
//!
//! Judges values only, so that planted histories can show that it finds what it is there for.
//! Producers number their records of a partition from 0, and the broker promises to keep that
//! order without a gap or a repetition; offsets have no gaps as nothing here compacts or aborts.

use std::collections::BTreeMap;
use std::fmt;

/// A record as a reader found it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    pub offset: i64,
    pub producer: u32,
    /// The number that the producer gave it.
    pub number: i32,
    /// Whether key, value, headers and timestamp are what was sent.
    pub intact: bool,
}

/// A batch that the node said it has, from its first record on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Acknowledged {
    pub partition: i32,
    pub base_offset: i64,
    pub producer: u32,
    pub first_number: i32,
    pub records: i32,
}

/// What is known of the committed offset of one group in one partition.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Commits {
    /// The last that the node said it has.
    pub acknowledged: Option<i64>,
    /// The last that was sent, each greater than the one before.
    pub attempted: Option<i64>,
}

/// A broken promise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// An acknowledged record lies behind the end of the log.
    Lost { producer: u32, number: i32, offset: i64 },
    /// At the offset of an acknowledged record lies another.
    Replaced { producer: u32, number: i32, offset: i64 },
    /// A record that was read before is no longer what it was.
    Unread { offset: i64 },
    /// A record does not have the bytes that were sent.
    Damaged { offset: i64 },
    /// A producer's record is there twice.
    Duplicate { producer: u32, number: i32, offset: i64 },
    /// A producer's record stands before its predecessor, or without it.
    OutOfOrder { producer: u32, number: i32, expected: i32, offset: i64 },
    /// Offsets are left out or repeated.
    OffsetGap { offset: i64, expected: i64 },
    /// A committed offset is older than what was acknowledged.
    CommitWentBack { acknowledged: i64, found: Option<i64> },
    /// A committed offset that nobody sent.
    CommitInvented { found: i64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// Judges one partition: `now` is all of it, `before` what an earlier reader saw.
pub fn judge_log(now: &[Found], before: &[Found], acknowledged: &[Acknowledged]) -> Vec<Fault> {
    judge_from(0, now, before, acknowledged)
}

/// As [`judge_log`], for a log whose records before offset `start` were deleted by retention.
pub fn judge_from(
    start: i64,
    now: &[Found],
    before: &[Found],
    acknowledged: &[Acknowledged],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    judge_offsets(start, now, &mut faults);
    judge_producers(start > 0, now, &mut faults);
    let by_offset: BTreeMap<i64, &Found> = now.iter().map(|found| (found.offset, found)).collect();
    let known = before.iter().filter(|record| record.offset >= start);
    let gone = known.filter(|record| by_offset.get(&record.offset) != Some(record));
    faults.extend(gone.map(|record| Fault::Unread { offset: record.offset }));
    for batch in acknowledged {
        for index in 0..batch.records {
            let offset = batch.base_offset + i64::from(index);
            let (producer, number) = (batch.producer, batch.first_number + index);
            match by_offset.get(&offset) {
                None if offset < start => {}
                None => faults.push(Fault::Lost { producer, number, offset }),
                Some(found) if (found.producer, found.number) != (producer, number) => {
                    faults.push(Fault::Replaced { producer, number, offset });
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn judge_offsets(start: i64, now: &[Found], faults: &mut Vec<Fault>) {
    let mut expected = start;
    for found in now {
        if found.offset != expected {
            faults.push(Fault::OffsetGap { offset: found.offset, expected });
        }
        expected = found.offset + 1;
        if !found.intact {
            faults.push(Fault::Damaged { offset: found.offset });
        }
    }
}

/// `is_cut`: what is left of a producer may begin with any number.
fn judge_producers(is_cut: bool, now: &[Found], faults: &mut Vec<Fault>) {
    let mut next: BTreeMap<u32, i32> = BTreeMap::new();
    for &Found { offset, producer, number, intact } in now {
        // Nothing that a damaged record says can be believed.
        if !intact {
            continue;
        }
        let expected = next.entry(producer).or_insert(if is_cut { number } else { 0 });
        if number < *expected {
            faults.push(Fault::Duplicate { producer, number, offset });
        } else if number > *expected {
            faults.push(Fault::OutOfOrder { producer, number, expected: *expected, offset });
        }
        *expected = number.saturating_add(1).max(*expected);
    }
}

/// Judges the committed offset that a group was given.
pub fn judge_commit(found: Option<i64>, commits: Commits) -> Option<Fault> {
    let Commits { acknowledged, attempted } = commits;
    if let Some(acknowledged) = acknowledged
        && found.is_none_or(|found| found < acknowledged)
    {
        return Some(Fault::CommitWentBack { acknowledged, found });
    }
    let found = found?;
    let was_sent = attempted.is_some_and(|attempted| found <= attempted);
    (!was_sent).then_some(Fault::CommitInvented { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of records given as (producer, number), at offsets from 0.
    fn log(records: &[(u32, i32)]) -> Vec<Found> {
        (0..)
            .zip(records)
            .map(|(offset, &(producer, number))| Found { offset, producer, number, intact: true })
            .collect()
    }

    fn acknowledged(
        base_offset: i64,
        producer: u32,
        first_number: i32,
        records: i32,
    ) -> Acknowledged {
        Acknowledged { partition: 0, base_offset, producer, first_number, records }
    }

    #[test]
    fn a_good_history_has_no_fault() {
        let before = log(&[(1, 0), (2, 0)]);
        let now = log(&[(1, 0), (2, 0), (1, 1), (1, 2), (2, 1)]);
        let acks = [acknowledged(0, 1, 0, 1), acknowledged(2, 1, 1, 2)];
        assert_eq!(judge_log(&now, &before, &acks), []);
    }

    #[test]
    fn planted_faults_in_a_log_are_found() {
        let good = log(&[(1, 0), (1, 1), (2, 0)]);
        let mut gap = good.clone();
        gap[2].offset = 3;
        let mut damaged = good.clone();
        damaged[1].intact = false;
        let cases = [
            (
                "acknowledged record behind the end",
                good.clone(),
                vec![],
                vec![acknowledged(2, 2, 0, 2)],
                vec![Fault::Lost { producer: 2, number: 1, offset: 3 }],
            ),
            (
                "acknowledged record elsewhere",
                good.clone(),
                vec![],
                vec![acknowledged(1, 2, 0, 1)],
                vec![Fault::Replaced { producer: 2, number: 0, offset: 1 }],
            ),
            (
                "record read before and gone",
                log(&[(1, 0)]),
                good.clone(),
                vec![],
                vec![Fault::Unread { offset: 1 }, Fault::Unread { offset: 2 }],
            ),
            (
                "batch appended twice",
                log(&[(1, 0), (1, 1), (1, 0), (1, 1), (1, 2)]),
                vec![],
                vec![],
                vec![
                    Fault::Duplicate { producer: 1, number: 0, offset: 2 },
                    Fault::Duplicate { producer: 1, number: 1, offset: 3 },
                ],
            ),
            (
                "records in the wrong order",
                log(&[(1, 1), (1, 0)]),
                vec![],
                vec![],
                vec![
                    Fault::OutOfOrder { producer: 1, number: 1, expected: 0, offset: 0 },
                    Fault::Duplicate { producer: 1, number: 0, offset: 1 },
                ],
            ),
            (
                "record missing in the middle",
                log(&[(1, 0), (1, 2)]),
                vec![],
                vec![],
                vec![Fault::OutOfOrder { producer: 1, number: 2, expected: 1, offset: 1 }],
            ),
            (
                "offset left out",
                gap,
                vec![],
                vec![],
                vec![Fault::OffsetGap { offset: 3, expected: 2 }],
            ),
            ("bytes changed", damaged, vec![], vec![], vec![Fault::Damaged { offset: 1 }]),
        ];
        for (name, now, before, acks, expected) in cases {
            assert_eq!(judge_log(&now, &before, &acks), expected, "{name}");
        }
    }

    #[test]
    fn a_log_cut_by_retention_is_judged_from_its_start() {
        let whole = log(&[(1, 0), (1, 1), (2, 0), (1, 2)]);
        let acks = [acknowledged(0, 1, 0, 2), acknowledged(2, 2, 0, 1), acknowledged(3, 1, 2, 1)];
        assert_eq!(judge_from(1, &whole[1..], &whole, &acks), []);
        let lost = [Fault::Unread { offset: 3 }, Fault::Lost { producer: 1, number: 2, offset: 3 }];
        assert_eq!(judge_from(1, &whole[1..3], &whole, &acks), lost);
    }

    #[test]
    fn planted_faults_in_commits_are_found() {
        let commits = Commits { acknowledged: Some(7), attempted: Some(9) };
        let back = |found| Some(Fault::CommitWentBack { acknowledged: 7, found });
        let cases = [
            ("the acknowledged one", Some(7), None),
            ("one in flight that arrived", Some(9), None),
            ("an older one", Some(6), back(Some(6))),
            ("none", None, back(None)),
            ("one that nobody sent", Some(10), Some(Fault::CommitInvented { found: 10 })),
        ];
        for (name, found, expected) in cases {
            assert_eq!(judge_commit(found, commits), expected, "{name}");
        }
        assert_eq!(judge_commit(None, Commits::default()), None, "never committed");
    }
}
