//! Replays the fuzzer's corpus of request frames: no panic, and memory bounded by the input.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../fuzz/src/request.rs"]
mod request;

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[test]
fn corpus_is_decoded_without_a_panic_and_within_memory() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/request");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        let frame = std::fs::read(&path).unwrap();
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        request::run(&frame);
        let taken = ALLOCATOR.peak_usage() - before;
        let bound = request::memory_max(frame.len());
        assert!(taken <= bound, "{} takes {taken} bytes", path.display());
        files += 1;
    }
    assert!(files > 100, "the corpus is there");
}
