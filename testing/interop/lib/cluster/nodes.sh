# Nodes of both kinds: their files, ports, starts and ends. Sourced by lib/cluster.sh.

CLUSTER_ID_OF_ALL=dGhhbHdlZy1jbHVzdGVyMQ
# Features that are not ours are off.
OFF=(--feature group.version=0 --feature share.version=0 --feature streams.version=0 --feature transaction.version=0)

declare -A NODE_KIND NODE_OF

# begin NAME : a folder and a range of ports.
begin() {
  NAME=$1 START=$SECONDS BEFORE=$passed
  BASE=$(free_port 22000)
}

end() {
  cluster_drop
  echo "  ok      cluster $NAME: $((passed - BEFORE)) checks, $((SECONDS - START)) s"
}

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

# three_voters KIND PROPERTIES... : writes the properties of nodes 1 to 3, brokers and voters. Sets INITIAL for their format.
three_voters() {
  local id kind=$1 ids=(JEXY6aqzQY-32P5TStzaFg MvDxzVmcRsaTz33bUuRU6A 07R5amHmR32VDA6jHkGbTA)
  shift
  BOOTSTRAP_CONTROLLERS=$(all_of controller_port) INITIAL=
  for id in 1 2 3; do
    INITIAL+=${INITIAL:+,}$id@127.0.0.1:$(controller_port $id):${ids[$((id - 1))]}
    # Without records of an idle controller a voter that stands still for a moment lacks none; see lead().
    cluster_node $id "$kind" broker,controller metadata.max.idle.interval.ms=0 "$@"
  done
}

# all_of client_port|controller_port : such addresses of nodes 1 to 3.
all_of() { local id; for id in 1 2 3; do printf '127.0.0.1:%s,' "$("$1" $id)"; done | sed 's/,$//'; }

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
  kill "-$1" "${NODE_OF[$2]}" 2>/dev/null || fail "cluster $NAME: ${NODE_KIND[$2]} $2 has died" "$(tail -3 "$CLUSTER/$NAME/$2/output")"
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
