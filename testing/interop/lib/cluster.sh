# Nodes of Apache Kafka and of thalweg in one cluster. Sourced by run.
#
# First brokers of one kind under a controller of the other, then three voters of both kinds, each of which leads in
# turn, is lost with its disk and comes back by a snapshot of the other kind. Topics have one replica. Kafka's tools, in
# one JVM (java/Tools.java), ask and judge.

CLUSTER=$OWN/cluster
CLUSTER_ID_OF_ALL=dGhhbHdlZy1jbHVzdGVyMQ
TOOLS_OF=org.apache.kafka.tools
# A stopped node is given up long before the default of 30 s.
ASK_OPTIONS="--command-config $CLUSTER/client.properties"
# A JVM on a busy machine.
PATIENCE_S=60
EXPECT_S=30
# Each election takes one of two at random.
ROUNDS_MAX=16

declare -A NODE_KIND NODE_OF

# cluster_node ID KIND ROLES PROPERTIES... : writes its properties; its ports are $BASE + 10 * ID and the one after.
cluster_node() {
  local id=$1 roles=$3 client=$((BASE + 10 * $1)) controller=$((BASE + 10 * $1 + 1)) listeners=
  NODE_KIND[$id]=$2; shift 3
  mkdir -p "$CLUSTER/$NAME/$id"
  [[ $roles == *broker* ]] && listeners=PLAINTEXT://127.0.0.1:$client
  [[ $roles == *controller* ]] && listeners+=${listeners:+,}CONTROLLER://127.0.0.1:$controller
  # The tool that adds a voter wants all of them advertised.
  [[ $roles == broker ]] || set -- "$@" "advertised.listeners=$listeners"
  { cat "$HERE/node.properties"; printf '%s\n' "process.roles=$roles" "node.id=$id" "listeners=$listeners" "$@"; cat <<PROPERTIES; } >"$(properties "$id")"
controller.quorum.bootstrap.servers=$BOOTSTRAP_CONTROLLERS
log.dirs=$CLUSTER/$NAME/$id/data
group.initial.rebalance.delay.ms=0
PROPERTIES
}

properties() { echo "$CLUSTER/$NAME/$1/server.properties"; }
client_port() { echo $((BASE + 10 * $1)); }
controller_port() { echo $((BASE + 10 * $1 + 1)); }
metadata_dir() { echo "$CLUSTER/$NAME/$1/data/__cluster_metadata-0"; }
directory_id() { sed -n 's/^directory.id=//p' "$CLUSTER/$NAME/$1/data/meta.properties"; }

# cluster_format ID OPTIONS... : by Kafka's own tool, whatever will run on it.
cluster_format() {
  local id=$1; shift
  tool kafka.tools.StorageTool format -t $CLUSTER_ID_OF_ALL -c "$(properties "$id")" "$@" || { fail "cluster: format of $id" "$(tail -2 "$SAID")"; return 1; }
}

cluster_start() {
  local id=$1 output=$CLUSTER/$NAME/$1/output
  if [ "${NODE_KIND[$id]}" = kafka ]; then
    "${JAVA[@]}" -Xmx256m -cp "$LIBS/*" kafka.Kafka "$(properties "$id")" >>"$output" 2>&1 &
  else
    CLUSTER_ID=$CLUSTER_ID_OF_ALL "$THALWEG_BIN" server "$(properties "$id")" >>"$output" 2>&1 &
  fi
  NODE_OF[$id]=$!
  disown "$!"
}

# cluster_end KILL|TERM ID : and waits.
cluster_end() {
  local tries
  kill "-$1" "${NODE_OF[$2]}"
  for tries in $(seq 300); do
    kill -0 "${NODE_OF[$2]}" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "${NODE_OF[$2]}" 2>/dev/null && fail "cluster $NAME: ${NODE_KIND[$2]} $2 does not end on SIG$1"
  unset "NODE_OF[$2]"
}

cluster_drop() {
  local id
  for id in "${!NODE_OF[@]}"; do kill -9 "${NODE_OF[$id]}" 2>/dev/null; done
  NODE_OF=()
}

# tool CLASS ARGUMENTS... : what it says goes to $SAID; its exit status is ours.
tool() {
  local line IFS=$'\t'
  : >"$SAID"
  printf '%s\n' "$*" >&"${TOOLS[1]}" || return
  while IFS= read -r -t $PATIENCE_S line <&"${TOOLS[0]}"; do
    [[ $line == "DONE "* ]] && return "${line#DONE }"
    printf '%s\n' "$line" >>"$SAID"
  done
  echo "$1 is silent" >>"$SAID"
  return 1
}

# expect WHAT PATTERN COMMAND... : the command ends well, and what it says matches; else it may do so a little later.
expect() {
  local what=$1 pattern=$2 until=$((SECONDS + EXPECT_S)); shift 2
  while [ $SECONDS -lt $until ]; do
    "$@" && grep -qE "$pattern" "$SAID" && { pass "cluster $NAME: $what" quiet; return; }
    sleep 0.5
  done
  fail "cluster $NAME: $what" "$(tail -3 "$SAID")"
  return 1
}

# shellcheck disable=SC2086
quorum() { tool $TOOLS_OF.MetadataQuorumCommand $ASK_OPTIONS --bootstrap-server "$AT" "$@"; }
# shellcheck disable=SC2086
topics() { tool $TOOLS_OF.TopicCommand $ASK_OPTIONS --bootstrap-server "$AT" "$@"; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$AT" "$@"; }

# A topic that exists was created by an attempt whose answer was lost.
create() { expect "create $1 at $AT" "Created topic|already exists" create_once "$@"; }
create_once() { local name=$1; shift; topics --create --topic "$name" --replication-factor 1 "$@" || grep -q 'already exists' "$SAID"; }

# use_topic NAME COUNT : writes and reads so many records, the latter in a group.
use_topic() {
  expect "records into $1" "^$2 records sent" tool $TOOLS_OF.ProducerPerformance --topic "$1" --num-records "$2" --record-size 50 --throughput -1 --bootstrap-server "$AT" &&
    expect "records out of $1" "Processed a total of $2 messages" tool $TOOLS_OF.consumer.ConsoleConsumer --bootstrap-server "$AT" --topic "$1" --group "group-$1" --from-beginning --max-messages "$2" --timeout-ms 30000 &&
    expect "the group of $1" "group-$1 +$1( +[0-9]+){3} +0 " tool $TOOLS_OF.consumer.group.ConsumerGroupCommand --bootstrap-server "$AT" --describe --group "group-$1"
}

# begin NAME : a folder and a range of ports.
begin() {
  NAME=$1 START=$SECONDS BEFORE=$passed
  BASE=$(free_port 22000)
}

end() {
  cluster_drop
  echo "  ok      cluster $NAME: $((passed - BEFORE)) checks, $((SECONDS - START)) s"
}

# Features that are not ours are off.
OFF=(--feature group.version=0 --feature share.version=0 --feature streams.version=0 --feature transaction.version=0)

# broker_under BROKER CONTROLLER : a broker of one kind, a controller of the other.
broker_under() {
  begin "$1-under-$2" || return
  BOOTSTRAP_CONTROLLERS=127.0.0.1:$(controller_port 1)
  cluster_node 1 "$2" controller
  cluster_node 2 "$1" broker
  cluster_format 1 --standalone "${OFF[@]}" && cluster_format 2 || return
  cluster_start 1; cluster_start 2
  AT=127.0.0.1:$(client_port 2)
  expect "one voter and one observer" '^2 .*Observer' quorum describe --replication &&
    create one --partitions 1 --config retention.ms=100000 && use_topic one 500 || return
  expect "settings of a topic" 'retention.ms=100000' configs --describe --entity-type topics --entity-name one
  expect "change of a setting" 'Completed' configs --alter --entity-type brokers --entity-name 2 --add-config log.cleaner.threads=2
  expect "settings of a broker" 'log.cleaner.threads=2' configs --describe --entity-type brokers --entity-name 2
  expect "log directories" '"partition":"one-0"' tool $TOOLS_OF.LogDirsCommand --bootstrap-server "$AT" --describe
  expect "more partitions" 'PartitionCount: 3' more_partitions one 3
  cluster_end KILL 1; cluster_start 1
  create two --partitions 2 && use_topic two 500
  cluster_end TERM 2
}

more_partitions() { topics --alter --topic "$1" --partitions "$2"; topics --describe --topic "$1"; }

# Sets LEADER.
find_leader() { quorum describe --status && LEADER=$(awk '/^LeaderId:/ { print $2 }' "$SAID") && [ -n "$LEADER" ]; }

# turn : the leader stops until another one is elected, and finds itself replaced. A topic is made through each of them.
turn() {
  local former=$LEADER
  kill -STOP "${NODE_OF[$former]}"
  # Longer than controller.quorum.fetch.timeout.ms and an election.
  sleep 3.5
  kill -CONT "${NODE_OF[$former]}"
  expect "a leader after $former" LeaderId find_leader || return
  TURNS=$((TURNS + 1)) HAS_LED[$LEADER]=1
  create "turn-$TURNS" --partitions 1
}

# until_leads PATTERN : takes turns until a node of such a kind leads.
until_leads() {
  find_leader
  while [[ ${NODE_KIND[$LEADER]} != "$1" ]]; do
    [ $TURNS -lt $ROUNDS_MAX ] && turn || { fail "cluster $NAME: a node of $1 leads" "not in $TURNS elections"; return 1; }
  done
}

# replace_disk ID KIND : the node is lost with its disk, and another one of this kind takes its place by a snapshot.
replace_disk() {
  local id=$1 lost others
  lost=$(directory_id "$id") others=${VOTERS/$id/}
  cluster_end KILL "$id"
  rm -rf "$CLUSTER/$NAME/$id/data"
  NODE_KIND[$id]=$2
  AT=127.0.0.1:$(client_port "${others:0:1}")
  cluster_format "$id" --no-initial-controllers && cluster_start "$id" || return
  expect "$2 $id catches up" "^$id\s.*\s0\s.*Observer" quorum describe --replication || return
  # What comes from a snapshot has no log from the beginning.
  if [ -e "$(metadata_dir "$id")/00000000000000000000.log" ]; then
    fail "cluster $NAME: $2 $id takes over a snapshot of ${NODE_KIND[$LEADER]} $LEADER" "$(ls "$(metadata_dir "$id")" | tr '\n' ' ')"
  else
    pass "cluster $NAME: $2 $id takes over a snapshot of ${NODE_KIND[$LEADER]} $LEADER" quiet
  fi
  expect "the lost voter goes" 'Removed' quorum remove-controller --controller-id "$id" --controller-directory-id "$lost"
  expect "the new voter comes" 'Added' tool $TOOLS_OF.MetadataQuorumCommand --command-config "$(properties "$id")" --bootstrap-server "$AT" add-controller
  expect "$2 $id is a voter" "^$id .*(Follower|Leader)" quorum describe --replication
}

# Three voters; that of Kafka stands first.
mixed_voters() {
  local id ids=(JEXY6aqzQY-32P5TStzaFg MvDxzVmcRsaTz33bUuRU6A 07R5amHmR32VDA6jHkGbTA) initial=
  begin mixed-voters || return
  VOTERS=123 TURNS=0 HAS_LED=()
  BOOTSTRAP_CONTROLLERS=$(for id in 1 2 3; do printf '127.0.0.1:%s,' "$(controller_port $id)"; done | sed 's/,$//')
  for id in 1 2 3; do
    initial+=${initial:+,}$id@127.0.0.1:$(controller_port $id):${ids[$((id - 1))]}
    # Soon there is a snapshot, and what it holds is gone from the log.
    cluster_node $id thalweg broker,controller metadata.log.max.record.bytes.between.snapshots=2000 metadata.max.retention.ms=1000
  done
  NODE_KIND[1]=kafka
  for id in 1 2 3; do cluster_format $id --initial-controllers "$initial" "${OFF[@]}" && cluster_start $id || return; done
  AT=127.0.0.1:$(client_port 1)
  expect "three voters" '^CurrentVoters:.*"id": 1.*"id": 2.*"id": 3' quorum describe --status || return
  for id in 1 2 3; do
    AT=127.0.0.1:$(client_port $id)
    expect "all three brokers are known to $id" "id: 3 " all_brokers || return
    expect "features by $id" 'metadata.version.*FinalizedVersionLevel: 4.3' tool $TOOLS_OF.FeatureCommand --bootstrap-server "$AT" describe
    create "by-$id" --partitions 3 && use_topic "by-$id" 300
  done
  AT=$(for id in 1 2 3; do printf '127.0.0.1:%s,' "$(client_port $id)"; done | sed 's/,$//')
  find_leader; HAS_LED[$LEADER]=1
  while [ "${#HAS_LED[@]}" -lt 3 ] && [ $TURNS -lt $ROUNDS_MAX ]; do turn || return; done
  [ "${#HAS_LED[@]}" = 3 ] && pass "cluster $NAME: each voter led" quiet || fail "cluster $NAME: each voter led" "in $TURNS elections only ${!HAS_LED[*]}"
  until_leads thalweg && replace_disk 1 kafka && until_leads kafka && replace_disk 3 thalweg &&
    until_leads kafka && replace_disk 2 kafka && until_leads thalweg
  same_topics
  cluster_end TERM 3
  find_files "$(metadata_dir 3)" \( -name '*.log' -o -name '*.checkpoint' \)
  dump mixed-voters --cluster-metadata-decoder "${FOUND[@]}"
  metadata_shell
}

all_brokers() { tool $TOOLS_OF.BrokerApiVersionsCommand --bootstrap-server "$AT"; }

same_topics() {
  local id
  for id in 1 2 3; do
    AT=127.0.0.1:$(client_port $id)
    topics --list; sort "$SAID" >"$CLUSTER/$NAME/$id/topics"
  done
  if cmp -s "$CLUSTER/$NAME/1/topics" "$CLUSTER/$NAME/2/topics" && cmp -s "$CLUSTER/$NAME/1/topics" "$CLUSTER/$NAME/3/topics" && grep -q by-3 "$CLUSTER/$NAME/1/topics"; then
    pass "cluster $NAME: all nodes know the same topics" quiet
  else
    fail "cluster $NAME: all nodes know the same topics" "$CLUSTER/$NAME/*/topics differ"
  fi
}

metadata_shell() {
  local newest
  find_files "$(metadata_dir 3)" -name '*.checkpoint'
  newest=${FOUND[-1]}
  expect "kafka-metadata-shell reads a snapshot" by-3 own_shell "$newest"
}

# It wants a process of its own.
own_shell() { "${JAVA[@]}" -cp "$LIBS/*" org.apache.kafka.shell.MetadataShell --snapshot "$1" ls image/topics/byName </dev/null >"$SAID" 2>&1; }

cluster() {
  part "nodes of Apache Kafka and thalweg in one cluster"
  have java javac mvn || { skip cluster "$missing is not installed"; return; }
  need_jars && mkdir -p "$OWN/java" && quietly javac-tools javac -nowarn -proc:none -d "$OWN/java" -cp "$LIBS/*" "$HERE/java/Tools.java" ||
    { fail cluster "Kafka's jars could not be had, see $OWN/logs"; return; }
  rm -rf "$CLUSTER"; mkdir -p "$CLUSTER"
  printf '%s\n' request.timeout.ms=3000 default.api.timeout.ms=15000 >"$CLUSTER/client.properties"
  SAID=$CLUSTER/said
  coproc TOOLS { exec "${JAVA[@]}" -Xmx256m -cp "$OWN/java:$LIBS/*" Tools 2>/dev/null; }
  local tools=$TOOLS_PID input=${TOOLS[1]}
  trap cluster_drop EXIT
  broker_under thalweg kafka; end
  broker_under kafka thalweg; end
  mixed_voters; end
  exec {input}>&-
  wait "$tools" 2>/dev/null
  trap - EXIT
}
