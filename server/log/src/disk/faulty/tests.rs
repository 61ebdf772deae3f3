//! What the faulty disk loses, and what it must not lose.

use std::io::IoSlice;
use std::path::Path;

use super::*;
use crate::disk::{Disk, read_file, write_file, write_file_atomically};

fn disk(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    disk.list(Path::new("/d")).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// What the content of `/d/f` may be after a power cut, by seed.
fn after_crash(loss: Loss, prepare: impl Fn(&FaultyDisk)) -> BTreeSet<Option<Vec<u8>>> {
    let outcome = |seed| {
        let disk = disk(seed);
        prepare(&disk);
        disk.crash(loss);
        read_file(&disk, Path::new("/d/f")).ok()
    };
    (0..200).map(outcome).collect()
}

#[test]
fn synced_content_under_a_synced_name_survives() {
    for loss in [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages] {
        let seen = after_crash(loss, |disk| {
            write_file(disk, Path::new("/d/f"), b"abc").unwrap().sync_data().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
        });
        assert_eq!(seen, BTreeSet::from([Some(b"abc".to_vec())]), "{loss:?}");
    }
}

#[test]
fn name_that_was_not_synced_may_go_with_its_synced_content() {
    let prepare = |disk: &FaultyDisk| {
        write_file(disk, Path::new("/d/f"), b"abc").unwrap().sync_data().unwrap();
    };
    let both = BTreeSet::from([None, Some(b"abc".to_vec())]);
    assert_eq!(after_crash(Loss::Sectors, prepare), both);
    assert_eq!(after_crash(Loss::Process, prepare), BTreeSet::from([Some(b"abc".to_vec())]));
}

#[test]
fn sectors_that_were_not_synced_are_lost_one_by_one() {
    let seen = after_crash(Loss::Sectors, |disk| {
        let path = Path::new("/d/f");
        let file = write_file(disk, path, &[1; 1024]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_vectored_at(&[IoSlice::new(&[2; 1024])], 0).unwrap();
    });
    let firsts: BTreeSet<(u8, u8)> =
        seen.into_iter().map(Option::unwrap).map(|content| (content[0], content[512])).collect();
    assert_eq!(firsts, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn length_may_outlive_content() {
    let seen = after_crash(Loss::Sectors, |disk| {
        let file = write_file(disk, Path::new("/d/f"), b"").unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_vectored_at(&[IoSlice::new(&[2; 600])], 0).unwrap();
    });
    assert!(seen.contains(&Some(vec![0; 600])));
    assert!(seen.contains(&Some(Vec::new())));
}

#[test]
fn failed_sync_is_not_mended_by_the_next_one() {
    let seen = after_crash(Loss::Whole, |disk| {
        let file = write_file(disk, Path::new("/d/f"), b"old").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_vectored_at(&[IoSlice::new(b"new")], 0).unwrap();
        let (op, name_end) = (Op::Sync, "f".to_owned());
        disk.fail(Fault { op, name_end, skip: 0, times: 1, errno: 5 });
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        file.sync_data().unwrap();
    });
    assert!(seen.contains(&Some(b"old".to_vec())));
}

#[test]
fn renames_outlive_a_power_cut_in_any_order() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        for name in ["a", "b"] {
            let path = Path::new("/d").join(name);
            write_file(&disk, &path, b"").unwrap();
        }
        disk.sync_dir(Path::new("/d")).unwrap();
        for (from, to) in [("/d/a", "/d/c"), ("/d/b", "/d/e")] {
            disk.rename(Path::new(from), Path::new(to)).unwrap();
        }
        disk.crash(Loss::Sectors);
        seen.insert(names(&disk).concat());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ab", "ae", "bc", "ce"]);
}

#[test]
fn machine_dies_in_the_middle_of_a_change() {
    let disk = disk(1);
    disk.die_after(1);
    write_file_atomically(&disk, Path::new("/d/f"), b"abc").unwrap_err();
    assert!(disk.is_dead());
    disk.list(Path::new("/d")).unwrap_err();
    disk.crash(Loss::Whole);
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn full_disk_takes_what_fits() {
    let disk = disk(1);
    disk.set_room(5);
    let file = disk.open(Path::new("/d/f"), OpenMode::Create).unwrap();
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"abcdefg")], 0).unwrap(), 5);
    let error = file.write_vectored_at(&[IoSlice::new(b"fg")], 5).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"xyz")], 0).unwrap(), 3);
}

#[test]
fn what_is_reserved_takes_room_until_the_file_is_cut() {
    let disk = disk(1);
    disk.set_room(10);
    let open = |name| disk.open(Path::new(name), OpenMode::Create).unwrap();
    let (file, other) = (open("/d/f"), open("/d/g"));
    file.reserve(0, 8).unwrap();
    assert_eq!(file.len().unwrap(), 0);
    assert_eq!(other.write_vectored_at(&[IoSlice::new(b"abcdefg")], 0).unwrap(), 2);
    assert_eq!(other.reserve(2, 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(b"abc")], 0).unwrap(), 3);
    file.set_len(3).unwrap();
    assert_eq!(other.write_vectored_at(&[IoSlice::new(b"cdefghi")], 2).unwrap(), 5);
}

#[test]
fn open_files_and_locks_end_with_the_process() {
    let disk = disk(1);
    let file = disk.open(Path::new("/d/f"), OpenMode::Create).unwrap();
    let lock = disk.lock(Path::new("/d/.lock")).unwrap();
    assert!(lock.is_some() && disk.lock(Path::new("/d/.lock")).unwrap().is_none());
    disk.crash(Loss::Process);
    file.len().unwrap_err();
    let again = disk.lock(Path::new("/d/.lock")).unwrap();
    drop(lock);
    assert!(again.is_some() && disk.lock(Path::new("/d/.lock")).unwrap().is_none());
}

#[test]
fn corruption_hits_what_it_names() {
    let disk = disk(1);
    let path = Path::new("/d/f");
    let content: Vec<u8> = (0..5000u32).map(|n| (n / 512) as u8 + 1).collect();
    write_file(&disk, path, &content).unwrap();
    disk.corrupt(path, Corruption::FlipBit(3)).unwrap();
    disk.corrupt(path, Corruption::ZeroPage(1)).unwrap();
    disk.corrupt(path, Corruption::SwapSectors(1, 2)).unwrap();
    let read = read_file(&disk, path).unwrap();
    assert_eq!((read[0], read[512], read[1024]), (1 ^ 8, 3, 2));
    assert!(read[4096..].iter().all(|byte| *byte == 0) && read[4095] == 8);
    disk.corrupt(path, Corruption::FlipBit(40_000)).unwrap_err();
}
