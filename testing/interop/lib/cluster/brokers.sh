# A broker of one kind under a controller of the other. Sourced by lib/cluster.sh.

# broker_under BROKER CONTROLLER : a broker of one kind, a controller of the other.
broker_under() {
  local off=()
  begin "$1-under-$2" || return
  # A controller of thalweg begins at the levels that it serves, whatever the format says.
  [ "$2" = thalweg ] || off=("${OFF[@]}")
  BOOTSTRAP_CONTROLLERS=127.0.0.1:$(controller_port 1)
  cluster_node 1 "$2" controller
  cluster_node 2 "$1" broker
  cluster_format 1 --standalone "${off[@]}" && cluster_format 2 || return
  cluster_start 1; cluster_start 2
  AT=127.0.0.1:$(client_port 2)
  expect "one voter and one observer" '^2 .*Observer' quorum describe --replication &&
    create one --partitions 1 --config retention.ms=100000 && use_topic one 500 || return
  ask_controller
  expect "settings of a topic" 'retention.ms=100000' configs --describe --entity-type topics --entity-name one
  expect "change of a setting" 'Completed' configs --alter --entity-type brokers --entity-name 2 --add-config log.cleaner.threads=2
  expect "settings of a broker" 'log.cleaner.threads=2' configs --describe --entity-type brokers --entity-name 2
  expect "log directories" '"partition":"one-0"' tool $TOOLS_OF.LogDirsCommand --bootstrap-server "$AT" --describe
  expect "more partitions" 'PartitionCount: 3' more_partitions one 3
  expect "no feature is raised that thalweg does not serve" 'Invalid update version 2 for feature transaction.version' raise_is_refused
  cluster_end KILL 1; cluster_start 1
  create two --partitions 2 && use_topic two 500
  cluster_end TERM 2
}

# What tools ask controllers themselves, without a broker (KIP-919).
ask_controller() {
  expect "a controller describes the quorum" '^LeaderId: +1$' tool $TOOLS_OF.MetadataQuorumCommand --bootstrap-controller "$BOOTSTRAP_CONTROLLERS" describe --status
  expect "a controller tells features" 'metadata.version.*FinalizedVersionLevel: 4.3' tool $TOOLS_OF.FeatureCommand --bootstrap-controller "$BOOTSTRAP_CONTROLLERS" describe
  expect "a controller tells the cluster's id" "Cluster ID: $CLUSTER_ID_OF_ALL" tool $TOOLS_OF.ClusterTool cluster-id --bootstrap-controller "$BOOTSTRAP_CONTROLLERS"
}

more_partitions() { topics --alter --topic "$1" --partitions "$2"; topics --describe --topic "$1"; }

raise_is_refused() { ! tool $TOOLS_OF.FeatureCommand --bootstrap-server "$AT" upgrade --feature transaction.version=2; }
