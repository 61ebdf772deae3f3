# The README's walk with public data, which starts a node of its own. Sourced by run.

walk() {
  local start=$SECONDS before=$failed log=$OWN/logs/walk.log libs=""
  part "the README's walk"
  have npm || { skip walk "npm is not installed"; return; }
  command -v kcat >/dev/null || apt_install kcat || true
  have java javac mvn && need_jars && libs=$LIBS
  THALWEG_KAFKA_LIBS=$libs timeout 300 "$HERE/walk" >"$log" 2>"$log.err"
  tally "$log"
  [ "$failed" -gt "$before" ] && return
  if grep -q '^PASS ' "$log"; then
    echo "  ok      walk, $((SECONDS - start)) s"
  else
    fail walk "ended half way: $(tail -2 "$log.err")"
  fi
}
