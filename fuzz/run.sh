#!/bin/sh
# Fuzzes one target for a while: fuzz/run.sh request|batch SECONDS [libFuzzer options]
#
# Works on the stable compiler, without cargo-fuzz: the flags below are what its coverage needs.
# New inputs go to fuzz/found/TARGET, failures to fuzz/artifacts. Reproduce a failure with
# fuzz/run.sh TARGET 0 FILE.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=$2
shift 2

triple=$(rustc -vV | sed -n 's/^host: //p')
sancov=-Cllvm-args=-sanitizer-coverage
export RUSTFLAGS="-Cpasses=sancov-module $sancov-level=4 $sancov-inline-8bit-counters \
$sancov-pc-table $sancov-trace-compares"
cargo build --quiet --release --target "$triple" --bin "$target"
fuzzer=${CARGO_TARGET_DIR:-target}/$triple/release/$target

if [ "$seconds" -eq 0 ]; then
    exec "$fuzzer" "$@"
fi
mkdir -p "found/$target" artifacts
exec "$fuzzer" "found/$target" "corpus/$target" -max_total_time="$seconds" -max_len=16384 \
    -rss_limit_mb=1024 -timeout=5 -artifact_prefix=artifacts/"$target"- "$@"
