# The suites beside the checkout: which of their cases are due is listed in expected/, where a line that begins with "#"
# says why a case is not. Sourced by run.
#
# A due case must pass. Cases that are not due are not run, so they cost no time and count for nothing. The suites have
# time limits of their own, which a busy machine misses now and then: what failed is tried once more, and named.

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

suite() {
  local name=$1 due=$OWN/logs/$1.due log=$OWN/logs/$1.log start=$SECONDS before=$passed case
  grep -v '^#' "$HERE/expected/$name.txt" >"$due"
  # shellcheck disable=SC2046
  have $(tools_of "$name") || { skip "$name" "$missing is not installed" "$(grep -c . "$due")"; return; }
  [ "$name" != librdkafka ] || command -v kcat >/dev/null || apt_install kcat || true
  # Its second client cannot be had from the registry; the suite would wait for that.
  [ "$name" != kafkajs ] || { mkdir -p "$INTEROP_TMP/npm" && touch "$INTEROP_TMP/npm/.confluent-tried"; }
  run_cases "$name" "$log" <"$due"
  while read -r case; do [[ $(result "$case" "$log") != FAIL* ]] || echo "$case"; done <"$due" >"$log.failed"
  : >"$log.again"
  [ ! -s "$log.failed" ] || [ "$(grep -c . "$log.failed")" -gt $AGAIN_MAX ] || run_cases "$name" "$log.again" <"$log.failed"
  while read -r case; do judge "$name" "$case" "$log"; done <"$due"
  echo "  suite   $name: $((passed - before)) of $(grep -c . "$due") due cases, $((SECONDS - start)) s"
}

# result CASE LOG : the case's line in the log; a case that left none has failed.
result() {
  awk -v name="$1" '{ rest = substr($0, length($1) + 2) }
    rest == name || index(rest, name " -- ") == 1 { print; found = 1; exit }
    END { if (!found) print "FAIL " name " -- left no line" }' "$2"
}

judge() {
  local line again
  line=$(result "$2" "$3")
  case $line in
  PASS\ *) pass "$2" quiet ;;
  SKIP\ *) skip "$1: $2" "${line#*-- }" ;;
  *)
    again=$(result "$2" "$3.again")
    case $again in
    PASS\ *) pass "$1: $2, at the second try (first: ${line#*-- })" ;;
    *) fail "$1: $2" "${line#*-- }" ;;
    esac
    ;;
  esac
}

suites() {
  local name
  [ -d "$SHARED" ] || { part "no suites beside this checkout"; return; }
  for name in $SUITES; do part "suite $name"; suite "$name"; done
}
