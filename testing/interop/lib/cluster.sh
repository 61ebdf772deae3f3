# Nodes of Apache Kafka and of thalweg in one cluster. Sourced by run.

CLUSTER=$OWN/cluster

. "$HERE/lib/cluster/nodes.sh"
. "$HERE/lib/cluster/ask.sh"
. "$HERE/lib/cluster/brokers.sh"
. "$HERE/lib/cluster/reassign.sh"
. "$HERE/lib/cluster/voters.sh"
. "$HERE/lib/cluster/move.sh"

cluster() {
  part "nodes of Apache Kafka and thalweg in one cluster"
  have java javac mvn || { skip cluster "$missing is not installed"; return; }
  need_jars && mkdir -p "$OWN/java" && quietly javac-tools javac -nowarn -proc:none -d "$OWN/java" -cp "$LIBS/*" "$HERE"/java/{Tools,Flow}.java ||
    { fail cluster "Kafka's jars could not be had, see $OWN/logs"; return; }
  rm -rf "$CLUSTER"; mkdir -p "$CLUSTER"
  printf '%s\n' request.timeout.ms=3000 default.api.timeout.ms=15000 >"$CLUSTER/client.properties"
  SAID=$CLUSTER/said
  coproc TOOLS { exec "${JAVA[@]}" -Xmx256m -cp "$OWN/java:$LIBS/*" Tools 2>/dev/null; }
  local tools=$TOOLS_PID input=${TOOLS[1]}
  trap cluster_drop EXIT
  broker_under thalweg kafka; end
  broker_under kafka thalweg; end
  moves_by_tool; end
  mixed_voters; end
  rolling_move; end
  exec {input}>&-
  wait "$tools" 2>/dev/null
  trap - EXIT
}
