#![no_main]

//! Entry point of libFuzzer for `request`; what is done with the input stands in `src`.

use thalweg_fuzz::{request, within_memory};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    within_memory(request::memory_max(input.len()), || request::run(input));
});
