# Which tools the machine has, and what they fetch from their package registries. Sourced by run.
#
# Where the suites lie beside the checkout, their caches of Kafka's jars and of Python packages serve ours too.

have() { local tool; for tool; do command -v "$tool" >/dev/null || { missing=$tool; return 1; }; done; }

# quietly LOG COMMAND... : a preparation step; its output is kept.
quietly() { local log=$OWN/logs/$1.log; shift; "$@" >"$log" 2>&1; }

from_suites() { bash -c ". '$SHARED/lib/env.sh'; $1"; }

# Kafka's jars into $LIBS.
need_jars() {
  if [ -d "$SHARED" ]; then
    LIBS=$INTEROP_TMP/libs; quietly jars from_suites need_libs; return
  fi
  LIBS=$OWN/libs
  [ -e "$LIBS/.ok" ] || {
    mkdir -p "$OWN/mvn"; cp "$HERE/java/pom.xml" "$OWN/mvn/"
    (cd "$OWN/mvn" && quietly jars mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$LIBS") && touch "$LIBS/.ok"
  }
}

# A Python with the clients: $PYTHON.
need_python() {
  if [ -d "$SHARED" ]; then
    PYTHON=$INTEROP_TMP/venv/bin/python; quietly venv from_suites need_venv; return
  fi
  PYTHON=$OWN/venv/bin/python
  [ -e "$OWN/venv/.ok" ] || {
    quietly venv python3 -m venv "$OWN/venv" &&
      quietly pip "$OWN/venv/bin/pip" -q install -r "$HERE/python/requirements.txt" && touch "$OWN/venv/.ok"
  }
}

need_node_modules() {
  mkdir -p "$OWN/js" && cp "$HERE"/js/* "$OWN/js/" || return
  [ -d "$OWN/js/node_modules/kafkajs" ] || (cd "$OWN/js" && quietly npm npm ci --no-audit --no-fund)
}

need_go_program() {
  (cd "$HERE/go" && GOTOOLCHAIN=local GOPATH=$INTEROP_TMP/gopath GOCACHE=$INTEROP_TMP/gocache GOFLAGS=-mod=readonly \
    quietly go go build -o "$OWN/round-go" .)
}

need_rdkafka_program() {
  quietly rdkafka env "CARGO_TARGET_DIR=$INTEROP_TMP/rdkafka-target" cargo build --locked --manifest-path "$HERE/rdkafka/Cargo.toml"
}

need_java_round() {
  need_jars && mkdir -p "$OWN/java" && quietly javac javac -nowarn -proc:none -d "$OWN/java" -cp "$LIBS/*" "$HERE/java/Round.java"
}

# A Java program with Kafka's jars and our classes.
JAVA=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1)
