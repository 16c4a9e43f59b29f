#!/usr/bin/env bash
# A flame graph of a running broker: where its processor time goes, in user mode and in the kernel.
#
# Usage: perf/flame.sh PID [SECONDS [FILE.svg]]     for instance: perf/flame.sh "$(pidof ringmq)" 10 flame.svg
# Needs perf (Debian: linux-perf) and inferno (cargo install inferno). Stacks are unwound from the DWARF tables that
# release builds carry, so no frame pointers are needed.
set -euo pipefail

if (($# < 1 || $# > 3)) || [[ $1 == -* ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
fi
pid=$1 seconds=${2:-10} file=${3:-flame.svg}
for need in "perf:apt-get install linux-perf" "inferno-flamegraph:cargo install inferno"; do
    if ! command -v "${need%%:*}" >/dev/null; then
        echo "missing: ${need%%:*}. Install it with: ${need#*:}" >&2
        exit 1
    fi
done
if [[ ! -d /proc/$pid ]]; then
    echo "there is no process $pid" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Virtual machines often have no counter of cycles; the processor's clock does as well.
event=cycles unit=cycles
if perf stat -e cycles -x, true 2>&1 | grep -q '^<not supported>'; then
    event=cpu-clock unit=ns
fi
perf record --quiet -F 499 -e "$event" --call-graph dwarf,8192 -p "$pid" -o "$work/perf.data" -- sleep "$seconds"
# Inlined frames would be looked up one by one, which takes minutes.
perf script --no-inline -i "$work/perf.data" 2>/dev/null |
    inferno-collapse-perf >"$work/stacks" 2>/dev/null
if [[ ! -s $work/stacks ]]; then
    echo "process $pid used no processor time in $seconds s" >&2
    exit 1
fi
name=$(cat "/proc/$pid/comm" 2>/dev/null || echo "process $pid")
inferno-flamegraph --title "$name, $seconds s" --countname "$unit" --hash "$work/stacks" >"$file"
echo "$(awk '{ n += $NF } END { printf "%.0f", n }' "$work/stacks") $unit of processor time in $file"
