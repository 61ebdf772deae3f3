# Counting, and one way to say what happened. Sourced by run.

pass() { passed=$((passed + 1)); [ "${2:-}" = quiet ] || echo "  ok      $1"; }
fail() { failed=$((failed + 1)); echo "  FAILED  $1${2:+: $2}"; }
skip() { skipped=$((skipped + ${3:-1})); echo "  skipped $1: $2"; }
part() { printf '%s\n' "interop: $*"; }

# tally FILE : counts the PASS, FAIL and SKIP lines of a program of ours; one that ended badly without saying so has failed.
tally() {
  local line
  while read -r line; do
    case $line in
    PASS\ *) pass "${line#PASS }" quiet ;;
    FAIL\ *) fail "${line#FAIL }" ;;
    SKIP\ *) skip "${line#SKIP }" "see there" ;;
    esac
  done <"$1"
}
