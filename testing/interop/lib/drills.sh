# Producers of others while a cluster of thalweg loses its leaders, the network to one, and all power: each in a drill of
# testing/system. Sourced by run.

BESIDE_DRILLS="kill-again isolate-leader cut-all"

# drills_beside NAME CLIENT=PATH : all of them.
drills_beside() { local drill; for drill in $BESIDE_DRILLS; do drill_beside "$1" "$drill" "$2"; done; }

# drill_beside NAME DRILL CLIENT=PATH : three nodes; the client's records must be there once, in order, where they were acknowledged.
drill_beside() {
  local log=$OWN/logs/drill-$1-$2.log start=$SECONDS
  if THALWEG_BESIDE=$3 "$DRILL" "thalweg=$THALWEG_BIN" 3 "$2" >"$log" 2>&1; then
    pass "drill $2 beside $1, $((SECONDS - start)) s: $(sed -n 's/^beside it //p' "$log")"
  else
    fail "drill $2 beside $1" "$(tail -5 "$log")"
  fi
}

drills() {
  part "clients of others while a cluster suffers"
  if ! have unshare nsenter ip mkfs.ext4 java python3; then skip drills "$missing is missing" 6; return; fi
  if ! unshare --net true 2>/dev/null; then skip drills "no right to make networks" 6; return; fi
  if ! (cd "$REPO" && quietly drill-build cargo build --locked --package thalweg-system --bin drill); then
    fail "the drills do not build" "$(tail -3 "$OWN/logs/drill-build.log")"; return
  fi
  DRILL=${CARGO_TARGET_DIR:-$REPO/target}/debug/drill
  if need_jars; then drills_beside java "java=$LIBS"; else skip "drills beside java" "no jars" 3; fi
  if need_python; then drills_beside librdkafka "librdkafka=$PYTHON"; else skip "drills beside librdkafka" "no Python with it" 3; fi
}
