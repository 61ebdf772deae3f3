# A round of publish, subscribe in a group, commit, resume with each client library. Sourced by run.

CHECKS_PER_ROUND=3

# round CLIENT "TOOLS" PREPARE : prepare fetches and builds, and leaves the COMMAND that takes a bootstrap address and a topic.
round() {
  local client=$1 tools=$2 prepare=$3 start=$SECONDS before=$failed log=$OWN/logs/round-$1.log
  # shellcheck disable=SC2086
  have $tools || { skip "round $client" "$missing is not installed" $CHECKS_PER_ROUND; return; }
  $prepare "$client" || { fail "round $client" "its packages could not be had, see $OWN/logs"; return; }
  timeout 180 "${COMMAND[@]}" "$BOOTSTRAP" "round-$client-$(date +%s)" >"$log" 2>"$log.err"
  tally "$log"
  [ "$failed" -gt "$before" ] && return
  if [ "$(grep -c '^PASS ' "$log")" = $CHECKS_PER_ROUND ]; then
    echo "  ok      round $client, $((SECONDS - start)) s"
  else
    fail "round $client" "ended half way: $(tail -2 "$log.err")"
  fi
}

java_round() { need_java_round && COMMAND=("${JAVA[@]}" -cp "$OWN/java:$LIBS/*" Round); }
python_round() { need_python && COMMAND=("$PYTHON" "$HERE/python/round.py" "$1"); }
go_round() { need_go_program && COMMAND=("$OWN/round-go" "$1"); }
node_round() { need_node_modules && COMMAND=(node "$OWN/js/round.mjs"); }
rust_round() { need_rdkafka_program && COMMAND=("$INTEROP_TMP/rdkafka-target/debug/interop-rdkafka"); }

rounds() {
  part "rounds of publish, subscribe in a group, commit, resume"
  local client
  round java "java javac mvn" java_round
  for client in confluent-kafka kafka-python aiokafka; do round $client python3 python_round; done
  for client in franz-go sarama segmentio; do round $client go go_round; done
  round kafkajs "node npm" node_round
  round rdkafka "cargo cc make" rust_round
}
