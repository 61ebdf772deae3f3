//! The limit of the machine for produced bytes: CPU to receive them over loopback, to check their
//! CRC and to write them as the log does, without anything else that a broker does.
//!
//! `cargo run --release -p thalweg-log --example limit [DIR]`; DIR is where it writes, 1 GB at most. It runs
//! twice: the second time the pages that are written have been in use a moment ago, which counts
//! on machines whose host takes back free memory.

#![allow(clippy::unwrap_used, reason = "a measurement may fail")]

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, thread};

use crc_fast::{CrcAlgorithm, checksum};
use thalweg_log::{Disk, DiskFile, OpenMode, RealDisk};

const BYTES: u64 = 1_000_000_000;
/// A connection has so many batches in flight.
const IN_FLIGHT: usize = 5;
const ZEROS_BYTES: u64 = 256 << 10;
const RESERVE_BYTES: u64 = 16 << 20;

/// What is done with what was received.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Receive,
    Check,
    Write,
}

fn main() {
    let dir = std::env::args().nth(1);
    let path = dir.map_or_else(std::env::temp_dir, PathBuf::from).join("thalweg-limit");
    println!("CPU seconds per GB of the receiving thread");
    for round in 1..=2 {
        for batch_bytes in [16 << 10, 128 << 10] {
            for (name, work) in [
                ("receive", Work::Receive),
                ("receive, CRC", Work::Check),
                ("receive, CRC, write", Work::Write),
            ] {
                let cpu_s = run(work, batch_bytes, &path);
                println!("round {round}, {:3} KiB, {name:20} {cpu_s:.3}", batch_bytes >> 10);
            }
        }
    }
}

fn run(work: Work, batch_bytes: usize, path: &Path) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let bytes = vec![7; IN_FLIGHT * batch_bytes];
        let mut left = BYTES;
        while left > 0 {
            let count = left.min(bytes.len() as u64);
            stream.write_all(&bytes[..count as usize]).unwrap();
            left -= count;
        }
    });
    let (mut stream, _) = listener.accept().unwrap();
    let file = RealDisk.open(path, OpenMode::Create).unwrap();
    let mut buffer = vec![0; batch_bytes.max(64 << 10)];
    let (mut at, mut sum) = (0, 0);
    let mut ahead = Ahead::default();
    let before = cpu_s();
    while at < BYTES {
        let wanted = buffer.len().min((BYTES - at) as usize);
        stream.read_exact(&mut buffer[..wanted]).unwrap();
        if work != Work::Receive {
            for batch in buffer[..wanted].chunks(batch_bytes) {
                sum ^= checksum(CrcAlgorithm::Crc32Iscsi, batch);
            }
        }
        if work == Work::Write {
            for batch in buffer[..wanted].chunks(batch_bytes) {
                ahead.write(&file, batch);
            }
        }
        at += wanted as u64;
    }
    let took = cpu_s() - before;
    std::hint::black_box(sum);
    sender.join().unwrap();
    fs::remove_file(path).unwrap();
    took / (BYTES as f64 / 1e9)
}

/// As far as a file is prepared; see ADR 8.
#[derive(Default)]
struct Ahead {
    end: u64,
    zeros_end: u64,
    reserved_end: u64,
}

impl Ahead {
    fn write(&mut self, file: &Arc<dyn DiskFile>, batch: &[u8]) {
        static ZEROS: [u8; ZEROS_BYTES as usize] = [0; ZEROS_BYTES as usize];
        let at = self.end;
        self.end += batch.len() as u64;
        if self.end > self.reserved_end {
            file.reserve(at, RESERVE_BYTES).unwrap();
            self.reserved_end = at + RESERVE_BYTES;
        }
        let mut zeros = 0;
        if self.end > self.zeros_end {
            self.zeros_end = self.end.next_multiple_of(ZEROS_BYTES);
            zeros = (self.zeros_end - self.end) as usize;
        }
        let parts = [IoSlice::new(batch), IoSlice::new(&ZEROS[..zeros])];
        let written = file.write_vectored_at(&parts, at).unwrap();
        assert_eq!(written, batch.len() + zeros);
    }
}

/// CPU of this thread so far.
fn cpu_s() -> f64 {
    let facts = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = facts.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}
