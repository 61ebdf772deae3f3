//! `thalweg-sim --seeds N | --seed S`: runs seeds and says which fail.

use std::collections::BTreeMap;
use std::process::ExitCode;

use sim::{Happening, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let seeds = match words[..] {
        ["--seeds", count] => number(count).map(|count| 0..count),
        ["--seed", seed] => number(seed).map(|seed| seed..seed + 1),
        _ => None,
    };
    let Some(seeds) = seeds else {
        eprintln!("usage: sim --seeds N | --seed S");
        return ExitCode::FAILURE;
    };
    // A broken promise is a panic; what matters of it is printed below.
    std::panic::set_hook(Box::new(|_| ()));
    let (mut failures, mut acknowledged, mut events) = (0, 0, 0);
    let mut happened: BTreeMap<Happening, u64> = BTreeMap::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        match run(seed, None) {
            Ok(outcome) => {
                acknowledged += outcome.acknowledged;
                events += outcome.events;
                for (what, count) in outcome.happened {
                    *happened.entry(what).or_default() += count;
                }
            }
            Err(failure) => {
                println!("{failure}\n");
                failures += 1;
            }
        }
    }
    println!("{happened:?}");
    println!(
        "{count} seeds, {failures} failed; {events} messages, {acknowledged} batches acknowledged"
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
