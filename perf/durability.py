#!/usr/bin/env python3
"""What it costs that an acknowledged message is on the disk: RingMQ with `--durability fsync` and `memory`, and mosquitto
with `persistence true`, which writes its database now and then and acknowledges long before, in turns.

Usage: perf/durability.py [--rounds N] [--seconds S] [--data DIR] [--broker-cpu 0] [--load-cpu 1] [--archive DIR]

Three loads, all QoS 1 on both legs with 256 bytes, by ringmq-bench:
  online   50 pairs of lasting sessions, 16 PUBLISH per write, window 64: messages per second and CPU per message
  offline  20 publishers hand in 200,000 messages for 20 lasting sessions that are away: messages per second
  ack      50 publishers send a message every 25 ms for sessions that are away: time from PUBLISH to PUBACK, beside the
           time that a flush took meanwhile, as the broker's own histogram counts it
Brokers start afresh for every run, on directories that are removed afterwards. --data says where: the disk matters.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["fsync", "memory", "mosquitto"]
LOADS = {
    "online": "pairs -c 50 -q 1 -s 256 -C false --batch 16 --window 64 -F 64 --warmup 1",
    "offline": "pairs -c 20 -q 1 -s 256 -L 10000 --duration 0 --batch 16 --window 1000 --offline-subscribers",
    "ack": "pairs -c 50 -q 1 -s 256 -I 25 -L 200 --duration 0 --offline-subscribers",
}
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
max_connections -1
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
persistence true
persistence_location {data}/
log_type none
sys_interval 0
"""


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ringmq", default=str(ROOT / "target/release/ringmq"))
    parser.add_argument("--bench", default=str(ROOT / "target/release/ringmq-bench"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--data", default=tempfile.gettempdir())
    parser.add_argument("--broker-cpu", default="0")
    parser.add_argument("--load-cpu", default="1")
    parser.add_argument("--archive", default=str(ROOT / "perf/runs" / time.strftime("%Y-%m-%d")))
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One of the targets, started afresh on an empty directory."""

    def __init__(self, chosen, target):
        self.data = Path(tempfile.mkdtemp(prefix="durability-", dir=chosen.data))
        self.port, self.control = free_port(), free_port()
        environment = dict(os.environ)
        if target == "mosquitto":
            config = self.data / "mosquitto.conf"
            user = "user root\n" if os.geteuid() == 0 else ""
            config.write_text(MOSQUITTO.format(port=self.port, data=self.data) + user)
            command = ["taskset", "-c", chosen.broker_cpu, "mosquitto", "-c", str(config)]
        else:
            environment["RINGMQ_CONTROL_LISTEN"] = f"127.0.0.1:{self.control}"
            environment["RINGMQ_LIMITS_QUEUE_MESSAGES_MAX"] = "1000000"
            command = [chosen.ringmq, "serve", "--listen", f"127.0.0.1:{self.port}", "--cores", f"{chosen.broker_cpu},",
                       "--durability", target, "--data", str(self.data / "data")]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.await_open()

    def await_open(self):
        for _ in range(500):
            if self.process.poll() is not None:
                raise SystemExit(f"the broker ended at once: {self.process.args}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit("the broker does not listen")

    def flushes(self):
        """Buckets (upper bound in s, count so far), sum in s and count of the flushes so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("ringmq_store_flush_seconds_"))
        name = "ringmq_store_flush_seconds_"
        buckets = [(float(key.split('"')[1]), int(value)) for key, value in values.items() if "_bucket" in key]
        return sorted(buckets), float(values[name + "sum"]), int(values[name + "count"])

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.data)


def flush_ms(before, after):
    """Mean and p99 of the flushes between two looks in ms (within a bucket of the histogram, evenly), and their number."""
    count = after[2] - before[2]
    if count == 0:
        return None
    rises = [(bound, now - then) for (bound, now), (_, then) in zip(after[0], before[0])]
    place = next(place for place, (_, rise) in enumerate(rises) if rise >= 0.99 * count)
    (low, below), (high, upto) = rises[place - 1] if place > 0 else (0.0, 0), rises[place]
    p99 = low + (high - low) * (0.99 * count - below) / (upto - below)
    return {"mean": 1000 * (after[1] - before[1]) / count, "p99": 1000 * p99, "count": count}


def run(chosen, target, load):
    broker = Broker(chosen, target)
    try:
        has_store = target == "fsync"
        before = broker.flushes() if has_store else None
        command = [chosen.bench, *LOADS[load].split(), "-p", str(broker.port), "--cpu", chosen.load_cpu,
                   "--pid", str(broker.process.pid), "--json"]
        command += ["--duration", str(chosen.seconds)] if load == "online" else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout.strip():
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        report = json.loads(done.stdout)
        flush = flush_ms(before, broker.flushes()) if has_store else None
    finally:
        broker.stop()
    replay = report.get("replay") or {}
    return {
        "load": load, "target": target, "flush_ms": flush, "lost": report["lost"], "duplicated": report["duplicated"],
        "messages_per_s": report["received_per_s"] if load == "online" else replay["kept_per_s"],
        "cpu_us": report["broker"]["cpu_ns_per_message"] / 1000 if report.get("broker") else None,
        "ack": report["acknowledged"],
    }


def spread(values, digits):
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def us(run, percentile):
    return run["ack"][percentile]


def table(chosen, runs):
    of = lambda load, target: [run for run in runs if (run["load"], run["target"]) == (load, target)]
    lines = [f"# What durability costs, {time.strftime('%Y-%m-%d')}", ""]
    lines += [f"Medians of {chosen.rounds} interleaved rounds, least and most in parentheses; QoS 1 on both legs, 256 B. "
              f"Broker on processor {chosen.broker_cpu}, store thread included where it runs there, generator on "
              f"{chosen.load_cpu}. Machine: {machine(chosen)}. mosquitto writes its database every 30 minutes and at its "
              "end, so a power cut takes what it has acknowledged since; its figures stand here for its speed only.", ""]
    lines += ["| load | target | messages/s | CPU us per message | acknowledged: p50 / p99 ms | flush: mean / p99 ms | flushes | lost, duplicated |", "|---|---|---|---|---|---|---|---|"]
    for load in LOADS:
        for target in TARGETS:
            chosen_runs = of(load, target)
            flushes = [run["flush_ms"] for run in chosen_runs if run["flush_ms"]]
            flush = f"{spread([one['mean'] for one in flushes], 2)} / {spread([one['p99'] for one in flushes], 2)}" if flushes else "-"
            count = spread([one["count"] for one in flushes], 0) if flushes else "-"
            cpu = [run["cpu_us"] for run in chosen_runs if run["cpu_us"]]
            p50, p99 = (statistics.median(us(run, key) for run in chosen_runs) / 1000 for key in ("p50_us", "p99_us"))
            wrong = f"{sum(run['lost'] for run in chosen_runs)}, {sum(run['duplicated'] for run in chosen_runs)}"
            lines.append(f"| {load} | {target} | {spread([run['messages_per_s'] for run in chosen_runs], 0)} | "
                         f"{spread(cpu, 2) if cpu else '-'} | {p50:.2f} / {p99:.2f} | {flush} | {count} | {wrong} |")
    pairs = list(zip(of("online", "fsync"), of("online", "memory")))
    online = [a["messages_per_s"] / b["messages_per_s"] for a, b in pairs]
    acks = {name: [us(run, "p99_us") / 1000 / run["flush_ms"][name] for run in of("ack", "fsync")] for name in ("mean", "p99")}
    offline = [run["messages_per_s"] for run in of("offline", "fsync")]
    lines += ["", "| what | floor | target | measured |", "|---|---|---|---|",
              f"| online: messages/s of fsync against memory | at least 0.5 | at least 0.8 | {spread(online, 2)} |",
              f"| offline: messages/s of fsync | at least 100,000 | | {spread(offline, 0)} |",
              f"| ack: p99 in p99s of a flush | at most 3 | | {spread(acks['p99'], 2)} |",
              f"| ack: p99 in mean flush times | | | {spread(acks['mean'], 2)} |", "",
              "Loads: " + "; ".join(f"{load}: `ringmq-bench {command}`" for load, command in LOADS.items()) + ".", ""]
    return "\n".join(lines)


def machine(chosen):
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "--target", chosen.data], capture_output=True, text=True, check=False)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {cpu}, kernel {platform.release()}, data on {' '.join(found.stdout.split())}, load average {load}"


def main():
    chosen = options()
    archive = Path(chosen.archive)
    archive.mkdir(parents=True, exist_ok=True)
    runs = []
    for number in range(chosen.rounds):
        for load in LOADS:
            for target in TARGETS:
                runs.append(run(chosen, target, load) | {"round": number})
                print(f"round {number + 1}: {load} {target} {runs[-1]['messages_per_s']:,.0f} messages/s", flush=True)
    text = table(chosen, runs)
    (archive / "durability.md").write_text(text)
    (archive / "durability.json").write_text(json.dumps(runs, indent=1))
    print(text)


if __name__ == "__main__":
    main()
