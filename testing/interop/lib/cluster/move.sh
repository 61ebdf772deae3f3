# Three nodes of Kafka become thalweg, one after another on the same directories, and Kafka again, under load of a producer and
# a member of a group that stay (java/Flow.java). In between, while both kinds have replicas of each partition, each kind
# leads, is lost with records that nobody else has, and controls. In the end all replicas are the same, byte for byte.
# Sourced by lib/cluster.sh.

MOVED=moved
FEATURES_OFF=(group.version share.version streams.version transaction.version)

flow() { tool Flow "$@"; }
goes_on() { expect "the clients go on $1" '^well: ' flow progress; }

# in_sync WHEN : each partition has all its replicas.
in_sync() { expect "all replicas are in sync $1" '' no_replica_lags; }
no_replica_lags() { topics --describe --under-replicated-partitions && ! grep -q Partition: "$SAID"; }

# each_leads WHEN : every node leads the partition of which it is the preferred leader. Asked for until it is so: a node that
# just came back may not be in sync yet, whatever the one says that was asked about it.
each_leads() { expect "each node leads $1" 'Partition: 2.Leader: 3' preferred_leaders; }
preferred_leaders() {
  # shellcheck disable=SC2086
  tool $TOOLS_OF.LeaderElectionCommand --bootstrap-server "$AT" --election-type preferred --all-topic-partitions
  topics --describe --topic $MOVED && grep -q 'Partition: 0.Leader: 1' "$SAID" && grep -q 'Partition: 1.Leader: 2' "$SAID"
}

# becomes KIND ID : a node stops in order and comes back as the other kind.
becomes() {
  cluster_end TERM "$2"
  goes_on "without ${NODE_KIND[$2]} $2" || return
  NODE_KIND[$2]=$1
  cluster_start "$2"
  in_sync "with $1 $2" && each_leads "with $1 $2" && goes_on "with $1 $2"
}

# tear ID : kills a leader that has records which nobody else has, and that it has to cut off when it is back.
tear() {
  local id
  for id in 1 2 3; do [ $id = "$1" ] || kill -STOP "${NODE_OF[$id]}"; done
  sleep 1
  cluster_end KILL "$1"
  for id in 1 2 3; do [ $id = "$1" ] || kill -CONT "${NODE_OF[$id]}"; done
  goes_on "after the death of ${NODE_KIND[$1]} $1 under ${NODE_KIND[$LEADER]} $LEADER" || return
  cluster_start "$1"
  in_sync "after the death of ${NODE_KIND[$1]} $1" && each_leads "after the death of ${NODE_KIND[$1]} $1" && goes_on "when ${NODE_KIND[$1]} $1 is back"
}

# node_2_lags : it stands still for longer than replica.lag.time.max.ms, so that 1 and 3 put it out of sync, and take it back.
node_2_lags() {
  local all=$AT
  AT=127.0.0.1:$(client_port 1),127.0.0.1:$(client_port 3)
  kill -STOP "${NODE_OF[2]}"
  expect "2 is out of sync under ${NODE_KIND[$LEADER]} $LEADER" 'Partition: 2.*Isr: (1,3|3,1)\s' first_lags
  kill -CONT "${NODE_OF[2]}"
  # It may still say what was so before it stood still.
  in_sync "when 2 goes on" || return
  AT=$all
  each_leads "when 2 goes on" && goes_on "when 2 does"
}
# As long as it leads it is not fenced, so the leaders of the others have done it. A controller of thalweg may be as soon as they.
first_lags() {
  topics --describe --topic $MOVED && grep -qE 'Partition: 0.*Isr: (1,3|3,1)\s' "$SAID" &&
    { [ "${NODE_KIND[$LEADER]}" = thalweg ] || grep -q 'Partition: 1.Leader: 2' "$SAID"; }
}

# Features that thalweg does not serve are lowered in the running cluster.
lower_features() {
  local feature options=()
  for feature in "${FEATURES_OFF[@]}"; do options+=(--feature "$feature=0"); done
  tool $TOOLS_OF.FeatureCommand --bootstrap-server "$AT" downgrade "${options[@]}"
}

rolling_move() {
  local id
  begin rolling-move || return
  LED=0
  three_voters kafka offsets.topic.replication.factor=3 offsets.topic.num.partitions=3 min.insync.replicas=2 replica.lag.time.max.ms=2000
  for id in 1 2 3; do cluster_format $id --initial-controllers "$INITIAL" && cluster_start $id || return; done
  AT=$(all_of client_port)
  expect "three brokers" "id: 3 " all_brokers && expect "features are lowered" 'transaction.version.* 0' lower_features || return
  create $MOVED --replica-assignment 1:2:3,2:3:1,3:1:2 && expect "the clients begin" '^well: ' flow start "$AT" $MOVED 3 && goes_on "on Kafka" || return
  becomes thalweg 1 && becomes thalweg 2 &&
    lead 1 && node_2_lags && tear 3 && lead 3 && node_2_lags && tear 1 &&
    becomes thalweg 3 && becomes kafka 1 && becomes kafka 2 && becomes kafka 3 || return
  expect "nothing is lost, doubled or moved" '^well: ' flow settle
  # The last two of Kafka would wait for a majority of the controllers.
  cluster_drop
  same_replicas
}

# All segments of a partition, one after another: where one ends is each node's own choice.
bytes_of() { find "$CLUSTER/$NAME/$1/data/$2" -name '*.log' -print0 | sort -z | xargs -0 cat | sha1sum; }

same_replicas() {
  local partition differ=
  for partition in $MOVED-{0,1,2} __consumer_offsets-{0,1,2}; do
    [ "$(bytes_of 1 $partition)" = "$(bytes_of 2 $partition)" ] && [ "$(bytes_of 1 $partition)" = "$(bytes_of 3 $partition)" ] || differ+=" $partition"
  done
  [ -z "$differ" ] && pass "cluster $NAME: replicas are the same" quiet || fail "cluster $NAME: replicas are the same" "$differ differ"
}
