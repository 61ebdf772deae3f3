#!/bin/sh
# Compares the codec with Apache Kafka's: run.sh LIBS_DIR BINARY [MESSAGES_PER_KIND [SEED]]
#
# LIBS_DIR holds Kafka's jars and all they need; BINARY is the example `oracle` of core/protocol.
set -eu

here=$(dirname "$0")
libs=$1
binary=$2
per_kind=${3:-20}
seed=${4:-$(date +%s)}

classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
javac -nowarn -cp "$libs/*" -d "$classes" "$here/Oracle.java"
java -cp "$libs/*:$classes" Oracle "$libs" "$binary" "$per_kind" "$seed"
