#!/usr/bin/env bash
# Looks at the settings of the machine that matter for a broker or for measuring one, and with --apply sets them.
#
# Without --apply nothing is changed; the exit code is 1 if something is not as wanted. With --apply (as root) settings
# hold until the next boot, except the limits, which are written to /etc/security/limits.d and hold from the next login.
# A line reads: state, name, current value -> wanted value, and the reason.
set -uo pipefail

FILES=1048576
MEMLOCK_KIB=65536
LIMITS=/etc/security/limits.d/90-ringmq.conf
APPLY=no LATENCY=no DIFFERENT=0 FAILED=0

usage() {
    cat <<'TEXT'
usage: perf/tune.sh [--apply] [--latency]

  --apply     set what differs (needs root)
  --latency   want busy polling too: lower latency on a real network card, at the price of processor time
TEXT
}

# report STATE NAME CURRENT WANTED REASON
report() {
    printf '%-8s %-36s %s -> %s\n         %s\n' "$1" "$2" "$3" "$4" "$5"
}

# skip NAME REASON: a setting that this machine does not have.
skip() {
    printf '%-8s %-36s %s\n' absent "$1" "$2"
}

# settle NAME CURRENT WANTED REASON COMMAND...: the value differs; sets it with COMMAND if that is asked for.
settle() {
    local name=$1 current=$2 wanted=$3 reason=$4
    shift 4
    if [[ $APPLY == no ]]; then
        DIFFERENT=$((DIFFERENT + 1))
        report differs "$name" "$current" "$wanted" "$reason"
    elif "$@" 2>/dev/null; then
        report set "$name" "$current" "$wanted" "$reason"
    else
        FAILED=$((FAILED + 1))
        report REFUSED "$name" "$current" "$wanted" "$reason"
    fi
}

write_to() { # FILE TEXT
    printf '%s\n' "$2" >"$1"
}

# at_least NAME CURRENT WANTED REASON COMMAND...
at_least() {
    if [[ $2 == unlimited ]] || ((${2:-0} >= $3)); then
        report ok "$1" "$2" "$3 or more" "$4"
    else
        settle "$@"
    fi
}

# exactly NAME CURRENT WANTED REASON COMMAND...
exactly() {
    if [[ $2 == "$3" ]]; then report ok "$1" "$2" "$3" "$4"; else settle "$@"; fi
}

# sysctl_at_least KEY WANTED REASON
sysctl_at_least() {
    local file=/proc/sys/${1//.//}
    if [[ ! -r $file ]]; then
        skip "$1" "this kernel does not have it"
        return
    fi
    at_least "$1" "$(<"$file")" "$2" "$3" write_to "$file" "$2"
}

limits() {
    local reason_files reason_memory
    reason_files="each connection is an open file; the broker and the generator need one for each, and some more"
    reason_memory="io_uring locks the memory of its rings and registered buffers"
    sysctl_at_least fs.nr_open "$FILES" "no limit on open files can be above it"
    sysctl_at_least fs.file-max $((2 * FILES)) "open files of all processes together"
    at_least "nofile (this shell, hard)" "$(ulimit -Hn)" "$FILES" "$reason_files" raise_limits
    at_least "memlock KiB (this shell, hard)" "$(ulimit -Hl)" "$MEMLOCK_KIB" "$reason_memory" raise_limits
}

raise_limits() {
    mkdir -p "${LIMITS%/*}" && cat >"$LIMITS" <<TEXT
# Written by perf/tune.sh; systemd units have LimitNOFILE= and LimitMEMLOCK= of their own.
* - nofile $FILES
root - nofile $FILES
* - memlock $MEMLOCK_KIB
root - memlock $MEMLOCK_KIB
TEXT
}

sockets() {
    sysctl_at_least net.core.somaxconn 65535 \
        "connections that wait to be accepted; above it a storm of reconnects is told to try again a second later"
    sysctl_at_least net.ipv4.tcp_max_syn_backlog 65535 "the same, before the handshake is complete"
    local file=/proc/sys/net/ipv4/ip_local_port_range low high
    read -r low high <"$file"
    exactly net.ipv4.ip_local_port_range "$low $high" "1024 65535" \
        "ports for outgoing connections: a generator has this many per source address and broker address" \
        write_to "$file" "1024 65535"
    if [[ $LATENCY == yes ]]; then
        sysctl_at_least net.core.busy_poll 50 "microseconds for which poll and epoll look at the card before they sleep"
        sysctl_at_least net.core.busy_read 50 "the same for a read; a core that polls does nothing else meanwhile"
    else
        report ok net.core.busy_poll "$(cat /proc/sys/net/core/busy_poll 2>/dev/null || echo absent)" "any" \
            "trades processor time for latency on a real network card; ask for it with --latency"
    fi
}

processors() {
    local file found=no
    for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do
        [[ -r $file ]] || continue
        found=yes
        exactly "governor of $(basename "${file%/cpufreq/*}")" "$(<"$file")" performance \
            "a processor that slows down between messages answers late and makes figures wander" \
            write_to "$file" performance
    done
    [[ $found == yes ]] || skip governor "the host decides over this machine's frequency"
    file=/sys/kernel/mm/transparent_hugepage/enabled
    if [[ -r $file ]]; then
        exactly "transparent huge pages" "$(sed 's/.*\[\(.*\)\].*/\1/' "$file")" madvise \
            "with 'always' sparse memory of idle connections is rounded up to 2 MiB pages; 'madvise' leaves the choice" \
            write_to "$file" madvise
    else
        skip "transparent huge pages" "this kernel has none"
    fi
}

# mask CPU: one processor as the mask of hexadecimal words that the kernel reads.
mask() {
    local words='' word
    for ((word = $1 / 32; word > 0; word--)); do words+=,00000000; done
    printf '%x%s' $((1 << ($1 % 32))) "$words"
}

# all_processors COUNT: the mask of the first COUNT.
all_processors() {
    local words='' rest=$1
    while ((rest > 32)); do
        words=,ffffffff$words
        rest=$((rest - 32))
    done
    printf '%x%s' $(((1 << rest) - 1)) "$words"
}

# plain MASK: without zeros in front, so that masks can be compared.
plain() {
    local rest=$1
    while [[ $rest == [0,]?* ]]; do rest=${rest#?}; done
    echo "$rest"
}

cards() {
    local device name cpus interrupts irq queue at found=no
    cpus=$(getconf _NPROCESSORS_ONLN)
    for device in /sys/class/net/*/device; do
        [[ -e $device ]] || continue
        name=$(basename "${device%/device}") found=yes at=0
        # A virtual card keeps its interrupts one level up.
        mapfile -t interrupts < <(find "$device/msi_irqs" "$device/../msi_irqs" -type f -printf '%f\n' 2>/dev/null | sort -nu)
        for irq in "${interrupts[@]}"; do
            exactly "$name: interrupt $irq" "$(cat "/proc/irq/$irq/smp_affinity_list" 2>/dev/null)" $((at % cpus)) \
                "one queue per core, so that a packet is handled where its connection lives" \
                write_to "/proc/irq/$irq/smp_affinity_list" $((at % cpus))
            at=$((at + 1))
        done
        local queues=("/sys/class/net/$name/queues"/rx-*) wanted
        wanted=0
        # With a queue for each core the card itself spreads packets; with fewer the kernel must.
        if ((${#queues[@]} < cpus)); then wanted=$(all_processors "$cpus"); fi
        for queue in "${queues[@]}"; do
            [[ -r $queue/rps_cpus ]] || continue
            exactly "$name: RPS of $(basename "$queue")" "$(plain "$(<"$queue/rps_cpus")")" "$wanted" \
                "spreads received packets over all cores if the card has fewer queues than the machine cores" \
                write_to "$queue/rps_cpus" "$wanted"
        done
        at=0
        for queue in "/sys/class/net/$name/queues"/tx-*; do
            wanted=$(mask $((at % cpus)))
            at=$((at + 1))
            # A card with one queue has nothing to choose, and says so by refusing to be read.
            cat "$queue/xps_cpus" >/dev/null 2>&1 || continue
            exactly "$name: XPS of $(basename "$queue")" "$(plain "$(<"$queue/xps_cpus")")" "$wanted" \
                "each core sends through its own queue, without a lock that others want" \
                write_to "$queue/xps_cpus" "$wanted"
        done
    done
    [[ $found == yes ]] || skip "interrupts, RPS, XPS" "no network card here, only loopback and virtual links"
}

main() {
    while (($# > 0)); do
        case $1 in
            --apply) APPLY=yes ;;
            --latency) LATENCY=yes ;;
            --help | -h) usage && exit 0 ;;
            *) usage >&2 && exit 2 ;;
        esac
        shift
    done
    if [[ $APPLY == yes && $EUID != 0 ]]; then
        echo "perf/tune.sh: --apply needs root" >&2
        exit 2
    fi
    limits
    sockets
    processors
    cards
    if ((FAILED > 0)); then
        echo "$FAILED settings were refused"
        exit 1
    elif ((DIFFERENT > 0)); then
        echo "$DIFFERENT settings differ; perf/tune.sh --apply sets them"
        exit 1
    fi
    echo "everything is as wanted"
}

main "$@"
