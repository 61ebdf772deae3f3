#![no_main]

//! Entry point of libFuzzer for `batch`; what is done with the input stands in `src`.

use thalweg_fuzz::{batch, within_memory};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    within_memory(batch::memory_max(input.len()), || batch::run(input));
});
