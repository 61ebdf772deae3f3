# Kafka's tools, in one JVM (java/Tools.java), which ask and judge. Sourced by lib/cluster.sh.

TOOLS_OF=org.apache.kafka.tools
# A stopped node is given up long before the default of 30 s.
ASK_OPTIONS="--command-config $CLUSTER/client.properties"
# JVMs on a busy machine: how long a tool may be silent, and how long a node may take until it is as wanted.
PATIENCE_S=60
EXPECT_S=60

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
create_once() { local name=$1; shift; topics --create --topic "$name" "$@" || grep -q 'already exists' "$SAID"; }

# use_topic NAME COUNT : writes and reads so many records, the latter in a group.
use_topic() {
  expect "records into $1" "^$2 records sent" tool $TOOLS_OF.ProducerPerformance --topic "$1" --num-records "$2" --record-size 50 --throughput -1 --bootstrap-server "$AT" &&
    expect "records out of $1" "Processed a total of $2 messages" tool $TOOLS_OF.consumer.ConsoleConsumer --bootstrap-server "$AT" --topic "$1" --group "group-$1" --from-beginning --max-messages "$2" --timeout-ms 30000 &&
    expect "the group of $1" "group-$1 +$1( +[0-9]+){3} +0 " tool $TOOLS_OF.consumer.group.ConsumerGroupCommand --bootstrap-server "$AT" --describe --group "group-$1"
}

all_brokers() { tool $TOOLS_OF.BrokerApiVersionsCommand --bootstrap-server "$AT"; }
