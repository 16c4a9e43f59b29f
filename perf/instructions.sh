#!/usr/bin/env bash
# User instructions per delivered message on the warm path of the pure rooms, by valgrind's callgrind.
# Usage: perf/instructions.sh [LOAD ...]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --profile fast -p warm
bin=${CARGO_TARGET_DIR:-target}/fast/warm
count() { # LOAD ROUNDS -> "messages instructions"
    local log messages
    log=$(mktemp)
    messages=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bin" "$1" "$2" 2>"$log")
    echo "$messages $(awk '/Collected/ {print $NF}' "$log")"
    rm -f "$log"
}
for load in "${@:-pairs-qos0 pairs-qos1 fan-out-100}"; do
    for name in $load; do
        read -r few few_instructions < <(count "$name" 20)
        read -r many many_instructions < <(count "$name" 120)
        echo "$name $(((many_instructions - few_instructions) / (many - few))) instructions per delivered message"
    done
done
