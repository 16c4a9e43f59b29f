#!/usr/bin/env bash
# Runs every workload of bench/README.md as typed there, in that order, and archives a report of each.
#
# Usage: perf/workloads.sh [FOLDER]     default: perf/runs/TODAY/workloads
# Every report is a table, JSON and a page with charts, named after its command; README.md lists them. One fresh broker with
# bench/peers/ringmq-doors.toml serves them all: what an earlier one has left in target/doors/data is removed. Plans and
# comparisons are no workloads. RINGMQ_SERVER_CORES and the like reach the broker. Takes about three minutes. Exits with 1 if a
# command fails, and at once if the broker has ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/target/release:$PATH
archive=${1:-perf/runs/$(date +%F)/workloads}
config=bench/peers/ringmq-doors.toml
for port in $(sed -n 's/.* = "127\.0\.0\.1:\([0-9]*\)"$/\1/p' "$config"); do
    if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "127.0.0.1:$port is taken: end the broker that runs there" >&2
        exit 1
    fi
done
mkdir -p "$archive" target/doors
rm -rf target/doors/data
[[ -e target/doors/certs ]] || ringmq cert target/doors/certs >/dev/null
ringmq serve -c "$config" >target/doors/ready 2>target/doors/log &
broker=$!
trap 'kill "$broker" 2>/dev/null && wait "$broker"' EXIT
demand_broker() {
    kill -0 "$broker" 2>/dev/null && return
    cat target/doors/log >&2
    echo "the broker has ended" >&2
    exit 1
}
until grep -q ready target/doors/ready; do
    demand_broker
    sleep 0.1
done

index=$archive/README.md failed=0
processor=$(sed -n '/^model name/{s/.*: //p;q}' /proc/cpuinfo)
cat >"$index" <<TEXT
# Every workload, $(date +%F)

The commands of \`bench/README.md\` as typed, by \`perf/workloads.sh\`, against one broker with \`$config\`, which said:
$(<target/doors/ready). Machine: $(nproc) x $processor, kernel $(uname -r), load average before
$(cut -d' ' -f1-3 /proc/loadavg).

TEXT
while read -r line; do
    # Reports go into the archive, also where the text says how to write one.
    read -ra words <<<"${line% --json report.json --html report.html}"
    if [[ $line == *--only-provision* ]]; then
        echo "\$ $line"
        # It makes what others need, and no report.
        "${words[@]}" </dev/null || failed=1
        continue
    fi
    name=$(sed 's/^ringmq-bench //; s/[^a-zA-Z0-9.]\+/-/g' <<<"${words[*]}")
    report=$archive/$name
    echo "\$ ${words[*]}" | tee "$report.txt"
    if ! "${words[@]}" --pid "$broker" --json "$report.json" --html "$report.html" </dev/null >>"$report.txt"; then
        echo "   failed" | tee -a "$report.txt"
        failed=1
        demand_broker
    fi
    grep -E '^ledger' "$report.txt" || true
    echo "- [\`${words[*]}\`]($name.txt) ([page]($name.html), [JSON]($name.json))" >>"$index"
done < <(grep -E '^ringmq-bench ' bench/README.md | grep -vE '^ringmq-bench (plan|compare) ')
exit "$failed"
