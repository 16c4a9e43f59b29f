#!/usr/bin/env bash
# User instructions per delivered message on the warm path of the pure rooms, by valgrind's callgrind; for telemetry, per
# message of a device from its payload to the hub's changes.
# Usage: perf/instructions.sh [--check] [LOAD ...]
# With --check, fails if a load takes 3 % more than perf/instructions.txt says.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly GROWTH_PERCENT_MAX=3
check=no
if [[ ${1:-} == --check ]]; then
    check=yes
    shift
fi
# As users build it: what is inlined differs between profiles, and by up to a tenth between numbers of codegen units.
cargo build --quiet --release -p warm
folder=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
bin=$folder/release/warm
count() { # LOAD ROUNDS -> "messages instructions"
    local log messages
    log=$(mktemp)
    messages=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bin" "$1" "$2" 2>"$log")
    echo "$messages $(awk '/Collected/ {print $NF}' "$log")"
    rm -f "$log"
}
if (($# == 0)); then
    set -- pairs-qos0 crossing-qos0 pairs-qos1 fan-out-100 pairs-ruled fan-out-ruled \
        telemetry-forward telemetry-latest telemetry-history
fi
failed=0
for name in "$@"; do
    read -r few few_instructions < <(count "$name" 20)
    read -r many many_instructions < <(count "$name" 120)
    each=$(((many_instructions - few_instructions) / (many - few)))
    echo "$name $each instructions per delivered message"
    if [[ $check == yes ]]; then
        known=$(awk -v name="$name" '$1 == name {print $2}' perf/instructions.txt)
        if ((each * 100 > known * (100 + GROWTH_PERCENT_MAX))); then
            echo "error: $name took $known; a change that costs more says so in perf/instructions.txt and perf/LOG.md"
            failed=1
        fi
    fi
done
exit $failed
