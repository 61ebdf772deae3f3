# Three voters of both kinds, each of which leads in turn, is lost with its disk and comes back by a snapshot of the other
# kind. Topics have one replica. Sourced by lib/cluster.sh.

# How often a voter is helped into its place at most.
TURNS_MAX=6

# Sets LEADER.
find_leader() { quorum describe --status && LEADER=$(awk '/^LeaderId:/ { print $2 }' "$SAID") && [ -n "$LEADER" ]; }

# lead ID : has this voter elected, and makes a topic through it.
#
# Of two voters that lose their leader, the one that has heard of it last is elected: it still follows when the other one asks
# whether it would get a vote, so it refuses (KIP-996), while the other one by then grants. Thus the voter is stopped for a
# moment, with an answer of the leader in its socket, and hears of the leader half a second later than the other one.
lead() {
  local id=$1 former turns=0
  expect "a leader" LeaderId find_leader || return
  while [ "$LEADER" != "$id" ]; do
    [ $turns -lt $TURNS_MAX ] || { fail "cluster $NAME: ${NODE_KIND[$id]} $id leads" "$LEADER does after $turns turns"; return 1; }
    turns=$((turns + 1)) former=$LEADER
    kill -STOP "${NODE_OF[$id]}"
    # Longer than a fetch waits for records; both together shorter than controller.quorum.fetch.timeout.ms less such a wait.
    sleep 0.6
    kill -STOP "${NODE_OF[$former]}"
    sleep 0.7
    kill -CONT "${NODE_OF[$id]}"
    other_leader "$id" "$former"
    kill -CONT "${NODE_OF[$former]}"
    expect "a leader after $former" LeaderId find_leader || return
  done
  LED=$((LED + 1))
  create "led-$LED" --partitions 1
}

# other_leader ID FORMER : waits until the voter has noted another leader.
other_leader() {
  local tries state
  for tries in $(seq 150); do
    state=$(<"$(metadata_dir "$1")/quorum-state")
    case $state in *'"leaderId":-1,'* | *"\"leaderId\":$2,"*) sleep 0.1 ;; *) return ;; esac
  done
}

# kind_leads KIND : a voter of this kind leads.
kind_leads() {
  local id
  find_leader && [[ ${NODE_KIND[$LEADER]} == "$1" ]] && return
  for id in 1 2 3; do
    [[ ${NODE_KIND[$id]} != "$1" ]] || { lead $id; return; }
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
  local id
  begin mixed-voters || return
  VOTERS=123 LED=0
  # Soon there is a snapshot, and what it holds is gone from the log.
  three_voters thalweg metadata.log.max.record.bytes.between.snapshots=500 metadata.max.retention.ms=1000
  NODE_KIND[1]=kafka
  for id in 1 2 3; do cluster_format $id --initial-controllers "$INITIAL" "${OFF[@]}" && cluster_start $id || return; done
  AT=127.0.0.1:$(client_port 1)
  expect "three voters" '^CurrentVoters:.*"id": 1.*"id": 2.*"id": 3' quorum describe --status || return
  for id in 1 2 3; do
    AT=127.0.0.1:$(client_port $id)
    expect "all three brokers are known to $id" "id: 3 " all_brokers || return
    expect "features by $id" 'metadata.version.*FinalizedVersionLevel: 4.3' tool $TOOLS_OF.FeatureCommand --bootstrap-server "$AT" describe
    create "by-$id" --partitions 3 && use_topic "by-$id" 300
  done
  AT=$(all_of client_port)
  for id in 1 2 3; do lead $id || return; done
  kind_leads thalweg && replace_disk 1 kafka && kind_leads kafka && replace_disk 3 thalweg &&
    kind_leads kafka && replace_disk 2 kafka && kind_leads thalweg
  same_topics
  cluster_end TERM 3
  find_files "$(metadata_dir 3)" \( -name '*.log' -o -name '*.checkpoint' \)
  dump mixed-voters --cluster-metadata-decoder "${FOUND[@]}"
  metadata_shell
}

# A node may be a moment behind the one that has made the last of them.
same_topics() {
  local id try lists=("$CLUSTER/$NAME"/{1,2,3}/topics)
  for try in 1 2 3 4 5; do
    for id in 1 2 3; do
      AT=127.0.0.1:$(client_port $id)
      topics --list; sort "$SAID" >"$CLUSTER/$NAME/$id/topics"
    done
    if cmp -s "${lists[0]}" "${lists[1]}" && cmp -s "${lists[0]}" "${lists[2]}" && grep -q by-3 "${lists[0]}"; then
      pass "cluster $NAME: all nodes know the same topics" quiet
      return
    fi
    sleep 1
  done
  fail "cluster $NAME: all nodes know the same topics" "$CLUSTER/$NAME/*/topics differ, after $try tries"
}

metadata_shell() {
  local newest
  find_files "$(metadata_dir 3)" -name '*.checkpoint'
  newest=${FOUND[-1]}
  expect "kafka-metadata-shell reads a snapshot" by-3 own_shell "$newest"
}

# It wants a process of its own.
own_shell() { "${JAVA[@]}" -cp "$LIBS/*" org.apache.kafka.shell.MetadataShell --snapshot "$1" ls image/topics/byName </dev/null >"$SAID" 2>&1; }
