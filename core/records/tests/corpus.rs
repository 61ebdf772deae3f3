//! Replays the fuzzer's corpus of record batches: no panic, and memory bounded by the input.

#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/src/batch.rs"]
mod batch;

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn corpus_is_read_without_a_panic_and_within_memory() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/batch");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        batch::run(&input);
        let taken = ALLOCATOR.peak_usage() - before;
        let bound = batch::memory_max(input.len());
        assert!(taken <= bound, "{} takes {taken} bytes", path.display());
        files += 1;
    }
    assert!(files > 20, "the corpus is there");
}
