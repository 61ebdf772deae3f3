# One data directory that Apache Kafka and thalweg serve in turns. Sourced by run.
#
# A Java client (java/Directories.java) stays alive through all of it: it fills the topics, remembers what is there, and
# after each change of the node compares and goes on with the same producers. Transactions are Kafka's alone so far, thus
# only a directory that Kafka has begun holds some.

DIRECTORIES=$OWN/directories
# Features that thalweg does not serve.
NOT_SERVED="transaction.version share.version streams.version group.version"

# served_by kafka|thalweg : starts it on the directory; the address stays the same.
served_by() {
  local tries
  SERVER=$1 STARTS=$((STARTS + 1)) FOUND_AFTER=${ENDED:-nothing}
  OUTPUT=$SERVED/$STARTS-$1.output
  if [ "$1" = kafka ]; then
    "${JAVA[@]}" -Xmx512m -cp "$LIBS/*" kafka.Kafka "$SERVED/server.properties" >"$OUTPUT" 2>&1 &
  else
    "$THALWEG_BIN" server "$SERVED/server.properties" >"$OUTPUT" 2>&1 &
  fi
  SERVER_PID=$!
  trap 'kill -9 "$SERVER_PID" "${CLIENT_PID:-$SERVER_PID}" 2>/dev/null' EXIT
  for tries in $(seq 1 600); do
    (exec 3<>"/dev/tcp/127.0.0.1/$SERVED_PORT") 2>/dev/null && return
    kill -0 "$SERVER_PID" 2>/dev/null || break
    sleep 0.1
  done
  fail "directories $PREFIX: $1 does not start on it" "$(grep -aE 'ERROR|Exception|cannot|Error' "$OUTPUT" | tail -3)"
  return 1
}

# stopped TERM|KILL : ends whoever serves.
stopped() {
  local tries
  ENDED=$1
  no_complaint
  disown "$SERVER_PID"
  kill "-$1" "$SERVER_PID"
  for tries in $(seq 1 300); do
    kill -0 "$SERVER_PID" 2>/dev/null || return 0
    sleep 0.1
  done
  fail "directories $PREFIX: $SERVER does not stop"
  kill -9 "$SERVER_PID"
  return 1
}

# ask COMMAND... : has the client do it, and counts what it says.
ask() {
  local line
  echo "$*" >&"${CLIENT[1]}"
  while read -r -t 240 line <&"${CLIENT[0]}"; do
    case $line in
    DONE) return ;;
    PASS\ *) pass "${line#PASS }" quiet ;;
    FAIL\ *) fail "${line#FAIL }" ;;
    esac
  done
  fail "directories $PREFIX: $*" "the client is silent: $(tail -2 "$SERVED/client.output")"
  return 1
}

# Neither of the two may dislike what it found. That indexes of a node that was killed must be made anew is in order.
no_complaint() {
  local found complaints='Corrupt|corrupt|[Rr]ebuil|Could not find|Error while|inconsistent|skipping|[Ss]tray|damaged|torn tail|unreadable|offline'
  [ "$FOUND_AFTER" != KILL ] || complaints='Corrupt|corrupt|inconsistent|[Ss]tray|damaged|unreadable|offline'
  found=$(grep -aE "$complaints" "$OUTPUT" | head -3)
  if [ -n "$found" ]; then
    fail "directories $PREFIX: $SERVER complains after $FOUND_AFTER" "$found"
  else
    pass "directories $PREFIX: $SERVER has no complaint after $FOUND_AFTER" quiet
  fi
}

# directory PREFIX : a new directory, not formatted yet, and a client for it.
directory() {
  local controller
  PREFIX=$1 SERVED=$DIRECTORIES/$1 STARTS=0 ENDED=
  rm -rf "$SERVED"; mkdir -p "$SERVED"
  SERVED_PORT=$(free_port 21600) && controller=$(free_port $((SERVED_PORT + 1))) || return
  cat "$HERE/node.properties" - >"$SERVED/server.properties" <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$SERVED_PORT,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$SERVED_PORT
controller.quorum.bootstrap.servers=127.0.0.1:$controller
log.dirs=$SERVED/data
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=16777216
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
  coproc CLIENT { exec "${JAVA[@]}" -Xmx256m -cp "$OWN/java:$LIBS/*" Directories "127.0.0.1:$SERVED_PORT" "$PREFIX" 2>"$SERVED/client.output"; }
}

# The client ends with its input.
directory_end() {
  local pid=${CLIENT_PID:-} end=${CLIENT[1]}
  exec {end}>&-
  wait "$pid" 2>/dev/null
  trap - EXIT
}

kafka_format() {
  local id feature options=()
  for feature in $NOT_SERVED; do options+=(--feature "$feature=0"); done
  id=$("${JAVA[@]}" -cp "$LIBS/*" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1)
  "${JAVA[@]}" -cp "$LIBS/*" kafka.tools.StorageTool format -t "$id" -c "$SERVED/server.properties" --standalone "${options[@]}" >"$SERVED/format.output" 2>&1 ||
    { fail "directories $PREFIX: Kafka does not format it" "$(tail -2 "$SERVED/format.output")"; return 1; }
}

# Begun by Kafka, taken over after a clean stop and under load after kill -9, and back.
from_kafka() {
  directory from-kafka && kafka_format || return
  served_by kafka && ask fill transactions && ask keep && ask remember && stopped TERM || return
  served_by thalweg && ask compare after Kafka stopped cleanly && ask append in thalweg && ask compact in thalweg &&
    ask load && sleep 2 && stopped KILL || return
  served_by kafka && ask settle-acknowledged from thalweg, killed, to Kafka && ask kept after thalweg was killed && ask append in Kafka again && ask remember &&
    ask load && sleep 2 && stopped KILL || return
  served_by thalweg && ask settle from Kafka, killed, to thalweg && ask compare after Kafka was killed &&
    ask append in thalweg again && ask remember && stopped TERM || return
  served_by kafka && ask compare after thalweg stopped cleanly && ask kept after thalweg stopped cleanly &&
    ask compact in Kafka && ask append in Kafka a third time && stopped TERM
}

# Begun by thalweg.
from_thalweg() {
  directory from-thalweg || return
  served_by thalweg && ask fill && ask remember && stopped TERM || return
  served_by kafka && ask compare after thalweg stopped cleanly && ask append in Kafka && ask compact in Kafka &&
    ask load && sleep 2 && stopped KILL || return
  served_by thalweg && ask settle from Kafka, killed, to thalweg && ask append in thalweg && ask remember &&
    ask load && sleep 2 && stopped KILL || return
  served_by kafka && ask settle-acknowledged from thalweg, killed, to Kafka && ask compare after thalweg was killed &&
    ask append in Kafka again && stopped TERM
}

directories() {
  part "one data directory, served by Apache Kafka and thalweg in turns"
  have java javac mvn || { skip directories "$missing is not installed"; return; }
  need_jars && mkdir -p "$OWN/java" &&
    quietly javac-directories javac -nowarn -proc:none -d "$OWN/java" -cp "$LIBS/*" "$HERE/java/Directories.java" ||
    { fail directories "Kafka's jars could not be had, see $OWN/logs"; return; }
  local start before=$passed chain
  for chain in from_kafka from_thalweg; do
    start=$SECONDS before=$passed
    $chain
    kill -9 "${SERVER_PID:-}" 2>/dev/null
    directory_end
    echo "  ok      directories ${chain//_/-}: $((passed - before)) checks, $((SECONDS - start)) s"
  done
}
