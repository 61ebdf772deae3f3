# Kafka's own tool moves a replica on three nodes of thalweg: so slowly that it does not end, then back, and once more until it
# has ended and the tool has taken its throttles away. Sourced by lib/cluster.sh.

REASSIGNED=reassigned
# 4 MB: more than one answer of the leader brings, as the first is given before there is anything to pay for.
REASSIGNED_RECORDS=4000

reassign() { tool $TOOLS_OF.reassign.ReassignPartitionsCommand --bootstrap-server "$AT" --reassignment-json-file "$PLAN" "$@"; }
reassignments() { tool $TOOLS_OF.reassign.ReassignPartitionsCommand --bootstrap-server "$AT" --list; }

# no_throttle : neither the topic nor a broker has one.
no_throttle() {
  local id
  for id in 1 2 3; do
    configs --describe --entity-type brokers --entity-name $id && ! grep -q throttled "$SAID" || return
  done
  configs --describe --entity-type topics --entity-name $REASSIGNED && ! grep -q throttled "$SAID"
}

moves_by_tool() {
  local id
  begin moves-by-tool || return
  PLAN=$CLUSTER/$NAME/plan.json
  three_voters thalweg
  for id in 1 2 3; do cluster_format $id --initial-controllers "$INITIAL" && cluster_start $id || return; done
  AT=$(all_of client_port)
  expect "three brokers" "id: 3 " all_brokers && create $REASSIGNED --replica-assignment 1:2 || return
  expect "records" "^$REASSIGNED_RECORDS records sent" tool $TOOLS_OF.ProducerPerformance --topic $REASSIGNED --num-records $REASSIGNED_RECORDS --record-size 1000 --throughput -1 --bootstrap-server "$AT" || return
  printf '{"version":1,"partitions":[{"topic":"%s","partition":0,"replicas":[2,3]}]}' $REASSIGNED >"$PLAN"
  expect "a move begins at 1,000 bytes a second" "started partition reassignment for $REASSIGNED-0" reassign --execute --throttle 1000 || return
  expect "the rate is a setting of a broker" 'follower.replication.throttled.rate=1000' configs --describe --entity-type brokers --entity-name 3
  expect "the replicas are settings of the topic" 'follower.replication.throttled.replicas=0:3' configs --describe --entity-type topics --entity-name $REASSIGNED
  sleep 5
  expect "it has not ended" "partition $REASSIGNED-0 is still in progress" reassign --verify
  expect "it is listed" "$REASSIGNED-0: replicas: 2,3,1. adding: 3. removing: 1" reassignments
  expect "it is taken back" "cancelled partition reassignment for: $REASSIGNED-0" reassign --cancel
  # Kafka's controllers, too, leave them in the order of the plan.
  expect "the replicas are as before" 'Replicas: (1,2|2,1)\s' topics --describe --topic $REASSIGNED
  expect "no throttle is left of it" '' no_throttle
  expect "a move begins at 50 MB a second" "started partition reassignment for $REASSIGNED-0" reassign --execute --throttle 50000000 || return
  expect "it has ended" "partition $REASSIGNED-0 is completed" reassign --verify
  expect "its replicas lead and are in sync" 'Leader: 2\s+Replicas: 2,3\s+Isr: (2,3|3,2)\s' topics --describe --topic $REASSIGNED
  expect "the tool has taken its throttles away" '' no_throttle
  expect "all records are there" "Processed a total of $REASSIGNED_RECORDS messages" tool $TOOLS_OF.consumer.ConsoleConsumer --bootstrap-server "$AT" --topic $REASSIGNED --from-beginning --max-messages $REASSIGNED_RECORDS --timeout-ms 30000
}
