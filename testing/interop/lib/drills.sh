# Producers of others while a cluster of thalweg loses its leader: each in a drill of testing/system. Sourced by run.

# drill_beside NAME DRILL CLIENT=PATH : three nodes; the client's records must be there once, in order, where they were acknowledged.
drill_beside() {
  local log=$OWN/logs/drill-$1.log start=$SECONDS
  if THALWEG_BESIDE=$3 "$DRILL" "thalweg=$THALWEG_BIN" 3 "$2" >"$log" 2>&1; then
    pass "drill $2 beside $1, $((SECONDS - start)) s: $(sed -n 's/^beside it //p' "$log")"
  else
    fail "drill $2 beside $1" "$(tail -5 "$log")"
  fi
}

drills() {
  part "clients of others while nodes of a cluster are killed"
  if ! have unshare nsenter ip java python3; then skip drills "$missing is missing" 2; return; fi
  if ! unshare --net true 2>/dev/null; then skip drills "no right to make networks" 2; return; fi
  if ! (cd "$REPO" && quietly drill-build cargo build --locked --package thalweg-system --bin drill); then
    fail "the drills do not build" "$(tail -3 "$OWN/logs/drill-build.log")"; return
  fi
  DRILL=${CARGO_TARGET_DIR:-$REPO/target}/debug/drill
  if need_jars; then drill_beside java kill-again "java=$LIBS"; else skip "drill beside java" "no jars"; fi
  if need_python; then drill_beside librdkafka kill-again "librdkafka=$PYTHON"; else skip "drill beside librdkafka" "no Python with it"; fi
}
