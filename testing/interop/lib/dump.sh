# Kafka's own eyes on our files and bytes: kafka-dump-log, and the codec oracle. Sourced by run.

# What kafka-dump-log says about a file that it does not like; lines that begin with "|" are records. It also names gaps
# between offsets, which compaction leaves and which are no fault.
COMPLAINT='isvalid: false|Mismatches in|invalid bytes at the end|out of order timestamp|timestamp mismatch|not found in|skipping\.|Failed to decode|Ignoring unknown file|Exception'
# Their names are one argument, which the kernel keeps under 128 KiB.
FILES_PER_RUN=300

# dump NAME OPTIONS FILES... : examines these files.
dump() {
  local name=$1 options=$2 log=$OWN/logs/dump-$1.log files; shift 2
  files=$#
  [ $files -gt 0 ] || { fail "kafka-dump-log $name" "no such file in the data folder"; return; }
  : >"$log"
  while [ $# -gt 0 ]; do
    # shellcheck disable=SC2086
    "${JAVA[@]}" -cp "$LIBS/*" org.apache.kafka.tools.DumpLogSegments $options --files "$(IFS=,; echo "${*:1:FILES_PER_RUN}")" >>"$log" 2>&1 ||
      { fail "kafka-dump-log $name" "$(tail -3 "$log")"; return; }
    shift $((FILES_PER_RUN < $# ? FILES_PER_RUN : $#))
  done
  if grep -av '^| ' "$log" | grep -qaE "$COMPLAINT"; then
    fail "kafka-dump-log $name" "$(grep -av '^| ' "$log" | grep -aE "$COMPLAINT" | head -3)"
  else
    pass "kafka-dump-log reads $files files: $name"
  fi
}

# find_files FOLDER TESTS... : into FOUND; folders on their way out do not count.
find_files() { mapfile -t FOUND < <(find "$1" -type f -not -path "*-delete/*" "${@:2}" | sort); }

dump_logs() {
  part "kafka-dump-log over the node's files"
  have java mvn || { skip kafka-dump-log "$missing is not installed" 6; return; }
  need_jars || { fail kafka-dump-log "Kafka's jars could not be had"; return; }
  find_files "$1" -name '*.log' -not -path '*/__*'
  dump segments "--print-data-log --deep-iteration" "${FOUND[@]}"
  find_files "$1" \( -name '*.index' -o -name '*.timeindex' \)
  dump indexes --index-sanity-check "${FOUND[@]}"
  dump index-entries "" "${FOUND[@]}"
  find_files "$1" -name '*.snapshot'
  dump producer-snapshots "" "${FOUND[@]}"
  find_files "$1" -path '*/__consumer_offsets-*' -name '*.log'
  dump offsets --offsets-decoder "${FOUND[@]}"
  find_files "$1" -path '*/__cluster_metadata-0/*' \( -name '*.log' -o -name '*.checkpoint' \)
  dump metadata --cluster-metadata-decoder "${FOUND[@]}"
}

# compare PACKAGE EXAMPLE COMMAND... : builds the Rust half and runs the Java half with it.
compare() {
  local package=$1 example=$2 log=$OWN/logs/$2.log start=$SECONDS target=${CARGO_TARGET_DIR:-$REPO/target}
  shift 2
  if (cd "$REPO" && cargo build --locked --quiet --package "$package" --example "$example") >"$log" 2>&1 &&
    "$@" "$target/debug/examples/$example" >>"$log" 2>&1; then
    pass "$(tail -1 "$log"), $((SECONDS - start)) s"
  else
    fail "$example" "$(tail -5 "$log")"
  fi
}

oracle() {
  part "random messages and settings, against Kafka's classes"
  have java javac mvn cargo || { skip oracle "$missing is not installed" 2; return; }
  need_jars || { fail oracle "Kafka's jars could not be had"; return; }
  compare thalweg-protocol oracle "$REPO/testing/oracle/run.sh" "$LIBS"
  compare thalweg-config config_oracle java -cp "$LIBS/*" "$REPO/testing/oracle/ConfigOracle.java"
}
