//! Damage at rest: what was not appended is never read, nothing is left out in silence, and what is
//! sound is served. Indexes that are gone or wrong cost nothing but the time to make them anew.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are small")]

mod mending;
#[path = "../support/mod.rs"]
mod support;
mod world;

use thalweg_log::{Corruption, Disk, TimeWanted};
use types::Offset;
use world::{BATCH_BYTES, BATCHES, RECORDS, World};

/// Batches of the closed segments: the first and the second have twelve each.
const SECOND: i64 = 12;

#[test]
fn any_bit_that_flips_is_found_and_takes_only_its_batch() {
    let world = World::new(1000);
    for first in [0, SECOND] {
        let path = world.file(first, "log");
        for byte in 0..12 * BATCH_BYTES as u64 {
            let in_batch = byte % BATCH_BYTES as u64;
            // Of the records, some bytes stand for all.
            if in_batch > 70 && !in_batch.is_multiple_of(97) {
                continue;
            }
            let bit = byte * 8 + (byte * 5) % 8;
            world.disk.corrupt(&path, Corruption::FlipBit(bit)).unwrap();
            let mut log = world.log();
            let lost = world.unreadable(&mut log, &format!("byte {byte} of {first}"));
            let hit = first + (byte / BATCH_BYTES as u64) as i64;
            assert!(lost.contains(&hit), "byte {byte} of {first}: {lost:?}");
            // A header may claim what is of others, up to the next entry of the index.
            let reach = if in_batch < 61 { 3 } else { 0 };
            let is_near = lost.iter().all(|n| (hit - 1..=hit + reach).contains(n));
            assert!(is_near, "byte {byte} of {first}: {lost:?}");
            assert!(log.damage_count() > 0);
            world.disk.corrupt(&path, Corruption::FlipBit(bit)).unwrap();
        }
    }
    assert_eq!(world.unreadable(&mut world.log(), "repaired"), []);
}

#[test]
fn zeroed_pages_take_what_was_in_them_and_no_more() {
    for page in [0, 1] {
        let world = World::new(0);
        world.disk.corrupt(&world.file(SECOND, "log"), Corruption::ZeroPage(page)).unwrap();
        let lost = world.unreadable(&mut world.log(), "zeroed");
        // The way to the first offset behind leads through the page: by the entry before.
        let in_page = [SECOND..SECOND + 9, SECOND + 8..2 * SECOND][page as usize].clone();
        assert_eq!(lost, in_page.collect::<Vec<_>>(), "page {page}");
    }
}

#[test]
fn batches_that_change_places_are_not_served() {
    for interval in [0, 1000, 100_000] {
        for (one, other) in [(0, 1), (0, 11), (3, 4), (5, 9), (10, 11)] {
            let world = World::new(interval);
            let swap = Corruption::SwapSectors(one as u64, other as u64);
            world.disk.corrupt(&world.file(SECOND, "log"), swap).unwrap();
            let lost = world.unreadable(&mut world.log(), &format!("{one} and {other}"));
            assert!(lost.contains(&(SECOND + one)) && lost.contains(&(SECOND + other)), "{lost:?}");
            let inside = lost.iter().all(|n| (SECOND..2 * SECOND).contains(n));
            assert!(inside, "other segments are served: {lost:?}");
        }
    }
}

#[test]
fn sound_batches_of_another_segment_are_not_served() {
    let world = World::new(1000);
    let stale = world.content(&world.file(0, "log"));
    world.overwrite(&world.file(SECOND, "log"), 6 * BATCH_BYTES as u64, &stale[6 * BATCH_BYTES..]);
    let lost = world.unreadable(&mut world.log(), "stale");
    assert_eq!(lost, (SECOND + 6..2 * SECOND).collect::<Vec<_>>());
}

#[test]
fn a_file_that_was_cut_is_damage() {
    let world = World::new(0);
    let mut log = world.log();
    let file = world.disk.open(&world.file(SECOND, "log"), thalweg_log::OpenMode::Write).unwrap();
    file.set_len(9 * BATCH_BYTES as u64 + 100).unwrap();
    let lost = world.unreadable(&mut log, "cut");
    assert_eq!(lost, (SECOND + 9..2 * SECOND).collect::<Vec<_>>());
}

/// What may happen to an index.
fn index_damages(world: &World, kind: &str) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let good = world.content(&world.file(SECOND, kind));
    let stale = world.content(&world.file(0, kind));
    let entry = if kind == "index" { 8 } else { 12 };
    assert!(good.len() > 2 * entry, "{kind} has entries");
    let mut zero_end = good.clone();
    zero_end[entry..].fill(0);
    let mut shifted = good.clone();
    shifted[entry - 1] ^= 4;
    let mut longer = good.clone();
    longer.extend([0; 24]);
    vec![
        ("missing", None),
        ("empty", Some(vec![])),
        ("half an entry", Some(good[..good.len() - 3].to_vec())),
        ("cut between entries", Some(good[..entry].to_vec())),
        ("zeroed", Some(vec![0; good.len()])),
        ("zeroed at the end", Some(zero_end)),
        ("zeros behind", Some(longer)),
        ("of another segment", Some(stale)),
        ("a flipped bit", Some(shifted)),
        ("anything", Some((0..240).map(|n| (n * 7 % 251) as u8).collect())),
    ]
}

fn put(world: &World, kind: &str, content: Option<&[u8]>) {
    let path = world.file(SECOND, kind);
    world.disk.remove_file(&path).unwrap();
    if let Some(content) = content {
        world.overwrite(&path, 0, content);
    }
}

#[test]
fn a_wrong_offset_index_misleads_no_reader() {
    for interval in [0, 1000] {
        for (name, content) in index_damages(&World::new(interval), "index") {
            let world = World::new(interval);
            // The log was opened before: at the start a missing index is made anew anyway.
            let mut log = world.log();
            put(&world, "index", content.as_deref());
            assert_eq!(world.unreadable(&mut log, name), [], "{name}");
            assert_eq!(log.damage_count(), 0, "{name}");
        }
    }
}

#[test]
fn a_wrong_time_index_misleads_no_look_up() {
    for (name, content) in index_damages(&World::new(0), "timeindex") {
        let world = World::new(0);
        let mut log = world.log();
        put(&world, "timeindex", content.as_deref());
        for n in 0..BATCHES {
            let found = log.look_up_time(TimeWanted::Since(1000 + n * 10)).unwrap().unwrap();
            assert_eq!(found.offset, Offset::new(n * RECORDS), "{name}");
        }
        let newest = log.look_up_time(TimeWanted::Greatest).unwrap().unwrap();
        assert_eq!(newest.offset.get(), BATCHES * RECORDS - 1, "{name}");
        assert_eq!(log.look_up_time(TimeWanted::Since(9999)).unwrap(), None, "{name}");
    }
}

#[test]
fn indexes_that_were_gone_are_as_before() {
    let world = World::new(0);
    let before = ["index", "timeindex"].map(|kind| world.content(&world.file(SECOND, kind)));
    let mut log = world.log();
    put(&world, "index", None);
    put(&world, "timeindex", None);
    world.unreadable(&mut log, "gone");
    let after = ["index", "timeindex"].map(|kind| world.content(&world.file(SECOND, kind)));
    assert_eq!(before, after);
}

#[test]
fn known_damage_costs_no_read() {
    let world = World::new(0);
    let path = world.file(SECOND, "log");
    world.disk.corrupt(&path, Corruption::FlipBit(8 * 300)).unwrap();
    let mut log = world.log();
    assert_eq!(world.unreadable(&mut log, "flipped"), [SECOND]);
    world.disk.fail(thalweg_log::Fault {
        op: thalweg_log::Op::Read,
        name_end: ".log".to_owned(),
        skip: 0,
        times: u32::MAX,
        errno: 5,
    });
    let again = log.read_blocking(Offset::new(SECOND * RECORDS), 1, Offset::MAX, true);
    assert_eq!(again.unwrap_err().code(), types::ErrorCode::CorruptMessage);
}
