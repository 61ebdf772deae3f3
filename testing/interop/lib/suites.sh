# The suites beside the checkout: which of their cases are due is listed in expected/. Sourced by run.
#
# A due case must pass. Cases that are not due are not run, so they cost no time and count for nothing.

# tools_of SUITE
tools_of() {
  case $1 in
  java-tools) echo "java javac mvn python3" ;;
  java-clients) echo "java javac mvn" ;;
  kafkajs) echo "node npm" ;;
  *) echo "python3" ;;
  esac
}

# One regular expression that matches exactly the due cases, in the dialects of Java, Python and JavaScript.
regex_of() { printf '^(%s)$' "$(sed 's/[^A-Za-z0-9 ]/\\&/g' "$1" | paste -sd'|')"; }

suite() {
  local name=$1 due=$HERE/expected/$1.txt log=$OWN/logs/$1.log start=$SECONDS before=$passed case
  # shellcheck disable=SC2046
  have $(tools_of "$name") || { skip "$name" "$missing is not installed" "$(grep -c . "$due")"; return; }
  [ "$name" != librdkafka ] || command -v kcat >/dev/null || apt_install kcat || true
  # Its second client cannot be had from the registry; the suite would wait for that.
  [ "$name" != kafkajs ] || { mkdir -p "$INTEROP_TMP/npm" && touch "$INTEROP_TMP/npm/.confluent-tried"; }
  ONLY=$(regex_of "$due") SUITE_TIMEOUT=${SUITE_TIMEOUT:-600} "$SHARED/run" "$name" "$BOOTSTRAP" >"$log" 2>&1
  while read -r case; do judge "$name" "$case" "$log"; done <"$due"
  echo "  suite   $name: $((passed - before)) of $(grep -c . "$due") due cases, $((SECONDS - start)) s"
}

# judge SUITE CASE LOG : a due case that left no line has failed.
judge() {
  local line
  line=$(awk -v name="$2" '{ rest = substr($0, length($1) + 2)
    if (rest == name || (index(rest, name " -- ") == 1)) { print; exit } }' "$3")
  case $line in
  PASS\ *) pass "$2" quiet ;;
  SKIP\ *) skip "$1: $2" "${line#*-- }" ;;
  *) fail "$1: $2" "${line#*-- }" ;;
  esac
}

suites() {
  local name
  [ -d "$SHARED" ] || { part "no suites beside this checkout"; return; }
  for name in $SUITES; do part "suite $name"; suite "$name"; done
}
