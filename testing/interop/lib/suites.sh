# The suites beside the checkout: which of their cases are due is listed in expected/, where a line that begins with "#"
# says why a case is not. Sourced by run.
#
# A due case must pass. Cases that are not due are not run, so they cost no time and count for nothing. The suites have
# time limits of their own, which a busy machine misses now and then: what failed is tried once more, and named. Cases
# that a known race of their client spoils have more tries (see racy).

# tools_of SUITE
tools_of() {
  case $1 in
  java-tools) echo "java javac mvn python3" ;;
  java-clients) echo "java javac mvn" ;;
  kafkajs) echo "node npm" ;;
  *) echo "python3" ;;
  esac
}

# One regular expression that matches exactly the cases on stdin, in the dialects of Java, Python and JavaScript.
regex() { printf '^(%s)$' "$(sed 's/[^A-Za-z0-9 ]/\\&/g' | paste -sd'|')"; }

# run_cases SUITE LOG : the cases on stdin.
run_cases() {
  local only; only=$(regex)
  ONLY=$only SUITE_TIMEOUT=${SUITE_TIMEOUT:-600} "$SHARED/run" "$1" "$BOOTSTRAP" >"$2" 2>&1 </dev/null
}

# More failures than these are no matter of a busy machine.
AGAIN_MAX=10
TRIES=4

# racy LINE : whether a failure's line is what a race inside kafka-python 3.0.12 leaves, so that a third and a fourth
# try are due. Its consumer joins a group without waiting for the topic's metadata, which it asks for 100 ms after its
# start. A leader that learns the partitions after its first assignment joins anew; but from that JoinGroup answer on
# its need_rejoin() says no, and if poll() times out before the SyncGroup answer is taken, nobody ever takes it: the
# member holds nothing, sends no heartbeat and never recovers, on any broker. A busy machine makes the window wide.
# With two members, group.initial.rebalance.delay.ms=0 and two busy loops beside on two cores, 3 of 48 rounds hung
# against Apache Kafka 4.3.0 (13 had a second assignment) and 6 of 34 against thalweg (19 had one), each as described.
# The delay in node.properties lets the metadata come before the first assignment: of 72 rounds none hung.
# Any other failure (an exception, an error code, a time limit) has two tries like everything else.
racy() {
  [[ $1 =~ ^"FAIL kafka-python: "(group:|as a client of).*" -- "(AssertionError|IndexError)": " ]]
}

# again SUITE LOG : tries those cases on stdin again that failed in LOG, and leaves the Nth try's lines in LOG.N.
again() {
  local try case line last=$2
  rm -f "$2".[0-9]
  cat >"$2.failed"
  for ((try = 2; try <= TRIES; try++)); do
    while read -r case; do
      line=$(result "$case" "$last")
      [[ $line != FAIL* ]] || { [ "$try" -gt 2 ] && ! racy "$line"; } || echo "$case"
    done <"$2.failed" >"$2.left"
    mv "$2.left" "$2.failed"
    [ -s "$2.failed" ] && [ "$(grep -c . "$2.failed")" -le $AGAIN_MAX ] || return 0
    last=$2.$try
    run_cases "$1" "$last" <"$2.failed"
  done
}

suite() {
  local name=$1 due=$OWN/logs/$1.due log=$OWN/logs/$1.log start=$SECONDS before=$passed case
  grep -v '^#' "$HERE/expected/$name.txt" >"$due"
  # shellcheck disable=SC2046
  have $(tools_of "$name") || { skip "$name" "$missing is not installed" "$(grep -c . "$due")"; return; }
  [ "$name" != librdkafka ] || command -v kcat >/dev/null || apt_install kcat || true
  # Its second client cannot be had from the registry; the suite would wait for that.
  [ "$name" != kafkajs ] || { mkdir -p "$INTEROP_TMP/npm" && touch "$INTEROP_TMP/npm/.confluent-tried"; }
  run_cases "$name" "$log" <"$due"
  again "$name" "$log" <"$due"
  while read -r case; do judge "$name" "$case" "$log"; done <"$due"
  echo "  suite   $name: $((passed - before)) of $(grep -c . "$due") due cases, $((SECONDS - start)) s"
}

# result CASE LOG : the case's line in the log; a case that left none has failed.
result() {
  awk -v name="$1" '{ rest = substr($0, length($1) + 2) }
    rest == name || index(rest, name " -- ") == 1 { print; found = 1; exit }
    END { if (!found) print "FAIL " name " -- left no line" }' "$2"
}

# judge SUITE CASE LOG
judge() {
  local line try
  line=$(result "$2" "$3")
  case $line in
  PASS\ *) pass "$2" quiet ;;
  SKIP\ *) skip "$1: $2" "${line#*-- }" ;;
  *)
    for ((try = 2; try <= TRIES; try++)); do
      [ -f "$3.$try" ] && [[ $(result "$2" "$3.$try") == PASS\ * ]] || continue
      pass "$1: $2, at try $try (first: ${line#*-- })"
      return
    done
    fail "$1: $2" "${line#*-- }"
    ;;
  esac
}

suites() {
  local name
  [ -d "$SHARED" ] || { part "no suites beside this checkout"; return; }
  for name in $SUITES; do part "suite $name"; suite "$name"; done
}
