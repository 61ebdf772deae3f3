# One node for the clients: free ports, data in a folder of its own. Sourced by run.

NODE_DIR=$OWN/node

# A port of the range below the one that the kernel hands out, which nobody listens on.
free_port() {
  local port
  for port in $(seq "$1" $(($1 + 500))); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  return 1
}

node_start() {
  rm -rf "$NODE_DIR"; mkdir -p "$NODE_DIR"
  local port controller
  port=$(free_port 21092) && controller=$(free_port $((port + 1))) || return
  BOOTSTRAP=127.0.0.1:$port
  "${THALWEG_BIN:?the node binary}" server "$HERE/node.properties" \
    --override "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller" \
    --override "advertised.listeners=PLAINTEXT://127.0.0.1:$port" \
    --override "controller.quorum.bootstrap.servers=127.0.0.1:$controller" \
    --override "log.dirs=$NODE_DIR/data" >"$NODE_DIR/output" 2>&1 &
  NODE_PID=$!
  trap 'kill -9 "$NODE_PID" 2>/dev/null' EXIT
  local tries
  for tries in $(seq 1 200); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && { part "node on $BOOTSTRAP"; return; }
    kill -0 "$NODE_PID" 2>/dev/null || return
    sleep 0.1
  done
  return 1
}

# SIGTERM, and half a minute of patience.
node_stop() {
  local tries
  kill -0 "$NODE_PID" 2>/dev/null || { fail "the node died under the clients" "$(tail -3 "$NODE_DIR/output")"; return; }
  awk '/VmHWM/ { printf "interop: the node'"'"'s memory peaked at %d MB\n", $2 / 1024 }' "/proc/$NODE_PID/status"
  kill -TERM "$NODE_PID"
  for tries in $(seq 1 300); do
    kill -0 "$NODE_PID" 2>/dev/null || { wait "$NODE_PID" && pass "the node stops cleanly on SIGTERM" || fail "the node ends with an error on SIGTERM"; trap - EXIT; return; }
    sleep 0.1
  done
  fail "the node does not stop on SIGTERM"
  kill -9 "$NODE_PID"; trap - EXIT
}
