//! What the fuzz targets do with their input, apart from libFuzzer.
//!
//! The same files are part of `core/*/tests/corpus.rs`, which replays the corpus in every build;
//! so they know neither libFuzzer nor a directory.

pub mod batch;
pub mod request;

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Calls `run` and checks that it took at most `memory_max` bytes at a time.
///
/// # Panics
/// If it took more.
pub fn within_memory(memory_max: usize, run: impl FnOnce()) {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    run();
    let taken = ALLOCATOR.peak_usage() - before;
    assert!(taken <= memory_max, "took {taken} bytes, allowed are {memory_max}");
}
