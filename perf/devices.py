#!/usr/bin/env python3
"""What the device platform does on this machine: three figures of ThingsBoard telemetry, history of a million points, the
start with a million devices, and what retention costs.

Usage: perf/devices.py [telemetry|history|start|retention]... [--rounds N] [--seconds S] [--devices N] [--count N] [--points N]
                       [--history-devices N,N] [--over-http] [--data DIR] [--broker-cpu 0] [--load-cpu 1] [--archive DIR]

  telemetry  devices send JSON of three values in a closed loop:
               forward  QoS 0, nothing is kept                       goal 300,000 messages/s of one core
               latest   QoS 0, the latest of each key is kept        goal 200,000 messages/s of one core
               history  QoS 1, every value durable, then PUBACK      goal  50,000 messages/s
             --devices of them for the first two; one subscriber on a plain listener hears all of them on canonical topics
             and keeps the ledger. For history as many as --history-devices says, with one message under way each, so that
             no two messages of one device have the same millisecond, once heard and once by nobody; afterwards the points
             in the store are counted and compared with what was acknowledged
  history    --points points of one device are written over HTTP, then aggregated over HTTP; goal below 1 s
  start      --count devices are put into the directory of a broker, with tokens, attributes, latest values and presence,
             by the store itself (target/release/examples/devices) or, with --over-http, by the API; then the broker is
             started, ended, killed and started again: seconds until it is ready and until a device is welcome, processor
             time until then, and memory
  retention  --count devices are put into the directory of a broker that keeps history for a day, each with a message of
             three values that is years old: seconds and processor time until the broker has looked at all and removed
             them, and how long durable telemetry waits meanwhile

Every part starts a broker afresh, on one core, in a directory below --data, which matters for `history`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
T0 = 1_760_000_000_000
ADMIN = "tenant@thingsboard.org"
CONFIG = """
[[listener]]
bind = "127.0.0.1:{devices}"
dialect = "thingsboard"
[[listener]]
bind = "127.0.0.1:{plain}"
[store]
dir = "{data}"
[control]
listen = "127.0.0.1:{control}"
[sys]
interval_s = 0
[devices]
history_days = {days}
# The subscriber hears all devices at once.
[limits]
queue_qos0_messages_max = 1_000_000
"""
LOADS = {"forward": ["-q", "0"], "latest": ["-q", "0"], "history": ["-q", "1", "-F", "1"]}
VALUES = 3
GOALS = {"forward": 300_000, "latest": 200_000, "history": 50_000}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=[])
    parser.add_argument("--ringmq", default=str(ROOT / "target/release/ringmq"))
    parser.add_argument("--bench", default=str(ROOT / "target/release/ringmq-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--history-devices", type=lambda text: [int(part) for part in text.split(",")], default=[2_000, 10_000])
    parser.add_argument("--over-http", action="store_true")
    parser.add_argument("--filler", default=str(ROOT / "target/release/examples/devices"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--data", default=tempfile.gettempdir())
    parser.add_argument("--broker-cpu", default="0")
    parser.add_argument("--load-cpu", default="1")
    parser.add_argument("--archive", default=str(ROOT / "perf/runs" / time.strftime("%Y-%m-%d")))
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - {"telemetry", "history", "start", "retention"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return chosen


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Broker:
    """RingMQ on one core, with a listener for devices, a plain one and the HTTP API."""

    def __init__(self, chosen, days=0):
        self.chosen = chosen
        self.folder = Path(tempfile.mkdtemp(prefix="devices-", dir=chosen.data))
        self.devices, self.plain, self.control = free_ports(3)
        self.config = self.folder / "broker.toml"
        self.config.write_text(CONFIG.format(
            devices=self.devices, plain=self.plain, control=self.control, data=self.folder / "data", days=days,
        ))
        self.token = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.control}"

    @property
    def password_file(self):
        return self.folder / "data" / "admin-password"

    def start(self):
        """Starts it, and returns the seconds until it was ready."""
        command = [self.chosen.ringmq, "serve", "-c", str(self.config), "--cores", f"{self.chosen.broker_cpu},"]
        log = open(self.folder / "log", "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the broker ended at once:\n{(self.folder / 'log').read_text()}")
        return time.monotonic() - begun

    def cpu_s(self):
        """Processor time that it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def welcome(self, token):
        """Whether a device with this token is let in."""
        name = token.encode()
        body = b"\x00\x04MQTT\x04\x82\x00\x3c\x00\x01x" + len(name).to_bytes(2, "big") + name
        with socket.create_connection(("127.0.0.1", self.devices), timeout=60) as device:
            device.sendall(b"\x10" + bytes([len(body)]) + body)
            return device.recv(4) == b"\x20\x02\x00\x00"

    def store(self, *arguments):
        """What `ringmq store` says of its directory."""
        command = [self.chosen.ringmq, "store", *arguments, "--json", "--data", str(self.folder / "data")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def memory(self):
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def call(self, path, body=None, form="application/json"):
        request = urllib.request.Request(self.url + path, headers={"content-type": form})
        if body is not None:
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.token:
            request.add_header("x-authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=600) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def metric(self, name):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(name + " ")))

    def prober(self):
        """A device: each call sends one value with QoS 1 and returns the seconds until its PUBACK."""
        name = b"token-00000000000000"
        body = b"\x00\x04MQTT\x04\x82\x00\x3c\x00\x01x" + len(name).to_bytes(2, "big") + name
        device = socket.create_connection(("127.0.0.1", self.devices), timeout=60)
        device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        device.sendall(b"\x10" + bytes([len(body)]) + body)
        if device.recv(4) != b"\x20\x02\x00\x00":
            raise SystemExit("the device that measures is not welcome")
        topic = b"v1/devices/me/telemetry"
        packet = len(topic).to_bytes(2, "big") + topic + b"\x00\x01" + b'{"probe":1}'

        def probe():
            begun = time.monotonic()
            device.sendall(b"\x32" + bytes([len(packet)]) + packet)
            if device.recv(4) != b"\x40\x02\x00\x01":
                raise SystemExit("no PUBACK")
            return time.monotonic() - begun

        return probe

    def login(self):
        password = self.password_file.read_text().strip()
        self.token = self.call("/api/auth/login", {"username": ADMIN, "password": password})["token"]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait()
        self.process.stdout.close()

    def remove(self):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        shutil.rmtree(self.folder)


def bench(chosen, broker, *arguments):
    """Runs ringmq-bench; its report."""
    command = [
        chosen.bench, "telemetry", "--dialect", "thingsboard", "-p", str(broker.devices), "--provision", broker.url,
        "--admin-password-file", str(broker.password_file), *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


# ---- telemetry -----------------------------------------------------------------------------------------------------


def turns(chosen):
    """What is kept, by how many devices, how many messages under way each, and whether somebody hears them."""
    # At QoS 0 without a subscriber nobody could say what of it the broker has read.
    yield from ((keeping, chosen.devices, chosen.window, True) for keeping in ("forward", "latest"))
    for devices in chosen.history_devices:
        yield from (("history", devices, 1, heard) for heard in (True, False))


def telemetry_run(chosen, keeping, devices, window, heard):
    broker = Broker(chosen)
    try:
        ears = ["--subscribers", 1, "--sub-port", broker.plain, "--sub-qos", 0] if heard else []
        report = bench(
            chosen, broker, "-c", devices, "--keep-telemetry", keeping, *LOADS[keeping], *ears,
            "--window", window, "--duration", chosen.seconds, "--cpu", chosen.load_cpu,
            "--pid", broker.process.pid, "--json",
        )
        points = None
        if keeping == "history":
            broker.end()
            points = broker.store("stats")["points"]
            acknowledged = VALUES * (report["sent"] - report["unanswered"])
            if not acknowledged <= points <= VALUES * report["sent"]:
                raise SystemExit(f"{acknowledged} points were acknowledged and {points} are there")
    finally:
        broker.remove()
    messages_per_s = report["received_per_s"] if heard else report["sent_per_s"]
    return {
        "keeping": keeping, "devices": devices, "window": window, "heard": heard, "messages_per_s": messages_per_s,
        "cpu_us": report["broker"]["cores"] * 1e6 / max(messages_per_s, 1), "cores": report["broker"]["cores"],
        "per_core": messages_per_s / max(report["broker"]["cores"], 1e-9), "points": points,
        "lost": report["lost"], "duplicated": report["duplicated"], "reordered": report["reordered"],
        "ack": report["acknowledged"], "report": report,
    }


def telemetry(chosen):
    runs = []
    for number in range(chosen.rounds):
        for turn in turns(chosen):
            runs.append(telemetry_run(chosen, *turn) | {"round": number})
            keeping, devices, _, heard = turn
            print(f"round {number + 1}: {keeping}, {devices:,} devices{'' if heard else ', heard by nobody'} "
                  f"{runs[-1]['messages_per_s']:,.0f} messages/s", flush=True)
    lines = [
        "## Telemetry of ThingsBoard's devices: JSON of three values", "",
        "| what is kept | QoS | devices | under way each | heard by | messages/s | broker's cores | messages/s per core | "
        "CPU us per message | lost, duplicated, reordered | PUBACK p50 / p99 ms | points acknowledged, and found afterwards | "
        "goal |", "|" + "---|" * 13,
    ]
    for keeping, devices, window, heard in turns(chosen):
        qos = LOADS[keeping][1]
        same = [run for run in runs
                if (run["keeping"], run["devices"], run["window"], run["heard"]) == (keeping, devices, window, heard)]
        wrong = ", ".join(str(sum(run[what] for run in same)) for what in ("lost", "duplicated", "reordered"))
        ack = points = "-"
        if qos == "1":
            ack = " / ".join(f"{statistics.median(run['ack'][key] for run in same) / 1000:.2f}" for key in ("p50_us", "p99_us"))
            acknowledged = sum(VALUES * (run["report"]["sent"] - run["report"]["unanswered"]) for run in same)
            points = f"{acknowledged:,}, {sum(run['points'] for run in same):,}"
        lines.append(
            f"| {keeping} | {qos} | {devices:,} | {window} | {'one subscriber' if heard else 'nobody'} | "
            + " | ".join(spread([run[what] for run in same], digits) for what, digits in
                         (("messages_per_s", 0), ("cores", 2), ("per_core", 0), ("cpu_us", 2)))
            + f" | {wrong} | {ack} | {points} | {GOALS[keeping]:,}{' per core' if keeping != 'history' else ''} |"
        )
    return lines, runs


# ---- history -------------------------------------------------------------------------------------------------------


def history(chosen):
    broker = Broker(chosen)
    try:
        broker.login()
        device = broker.call("/api/device", {"name": "measured", "type": "default"})["id"]["id"]
        path = f"/api/plugins/telemetry/DEVICE/{device}"
        begun = time.monotonic()
        batch = 5_000
        for first in range(0, chosen.points, batch):
            points = [
                {"ts": T0 + at * 1_000, "values": {"t": 20 + at % 100 / 10}}
                for at in range(first, min(first + batch, chosen.points))
            ]
            broker.call(f"{path}/timeseries/ANY", points)
        wrote_s = time.monotonic() - begun
        end = T0 + chosen.points * 1_000
        runs = []
        for when in ("after writing", "after a restart"):
            for how, interval in (("AVG", -(-(end - T0) // 100)), ("COUNT", end - T0), ("MAX", -(-(end - T0) // 700)), ("SUM", end - T0)):
                times = []
                for _ in range(chosen.rounds):
                    begun = time.monotonic()
                    found = broker.call(
                        f"{path}/values/timeseries?keys=t&startTs={T0}&endTs={end}&interval={interval}&agg={how}&limit=1000"
                    )["t"]
                    times.append(time.monotonic() - begun)
                if how == "COUNT" and sum(int(point["value"]) for point in found) != chosen.points:
                    raise SystemExit(f"{found} points instead of {chosen.points}")
                runs.append({"when": when, "how": how, "intervals": len(found), "seconds": times})
            if when == "after writing":
                broker.end()
                broker.start()
                broker.login()
    finally:
        broker.remove()
    lines = [
        f"## History: {chosen.points:,} points of one device, written over HTTP in {wrote_s:.1f} s "
        f"({chosen.points / wrote_s:,.0f}/s)", "",
        "| when | aggregate | intervals | first query, s | median, s | goal, s |", "|---|---|---|---|---|---|",
    ]
    for run in runs:
        lines.append(f"| {run['when']} | {run['how']} | {run['intervals']} | {run['seconds'][0]:.3f} | "
                     f"{statistics.median(run['seconds']):.3f} | 1 |")
    return lines, runs


# ---- start ---------------------------------------------------------------------------------------------------------


def fill(chosen, broker, keeping="latest"):
    """Puts the devices into the directory of a broker, which has ended when this is called, and of which more is known."""
    if chosen.over_http:
        broker.start()
        bench(chosen, broker, "-c", chosen.count, "--only-provision")
        broker.end()
        return "bench-token-0", "over HTTP"
    command = [chosen.filler, "--fill", str(broker.folder / "data"), str(chosen.count), keeping]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return "token-00000000000000", "by the store itself"


def start(chosen):
    broker = Broker(chosen)
    runs = []
    try:
        empty = broker.memory()
        broker.end()
        begun = time.monotonic()
        token, how_made = fill(chosen, broker)
        made_s = time.monotonic() - begun
        check = broker.store("check")
        if not check["ok"]:
            raise SystemExit(f"the store is not well: {check['problems']}")
        for how in ("filled", "SIGTERM", "SIGKILL"):
            begun = time.monotonic()
            if how != "filled":
                broker.end(getattr(signal, how))
            ended_s = time.monotonic() - begun
            begun = time.monotonic()
            ready_s = broker.start()
            cpu_s = broker.cpu_s()
            if not broker.welcome(token):
                raise SystemExit(f"the device of {token} is not welcome")
            welcome_s = time.monotonic() - begun
            broker.login()
            page = broker.call("/api/tenant/devices?pageSize=1&page=0")
            if page["totalElements"] < chosen.count:
                raise SystemExit(f"{page['totalElements']} devices instead of {chosen.count}")
            runs.append({
                "how": how, "ended_s": ended_s, "ready_s": ready_s, "cpu_s": cpu_s, "welcome_s": welcome_s,
                "resident": broker.memory(),
            })
    finally:
        broker.remove()
    each = (runs[-1]["resident"] - empty) / chosen.count
    lines = [
        f"## Start with {chosen.count:,} devices, made {how_made} in {made_s:.0f} s ({chosen.count / made_s:,.0f}/s)", "",
        f"{check['records']:,} records. Resident memory: {empty / 2**20:,.0f} MiB without devices; with them "
        f"{each:,.0f} bytes each.", "",
        "| ended by | end, s | ready, s | CPU until then, s | first device welcome, s | resident, MiB |", "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run['how']} | {run['ended_s']:.2f} | {run['ready_s']:.2f} | {run['cpu_s']:.2f} | {run['welcome_s']:.2f} | "
        f"{run['resident'] / 2**20:,.0f} |" for run in runs
    ]
    return lines, runs


# ---- retention -----------------------------------------------------------------------------------------------------


def retention(chosen):
    broker = Broker(chosen, days=1)
    try:
        broker.end()
        fill(chosen, broker, "history")
        before = broker.store("stats")
        broker.start()
        broker.login()
        begun, cpu_before = time.monotonic(), broker.cpu_s()
        probe, waits = broker.prober(), []
        while (expired := broker.metric("ringmq_store_expired_points_total")) < chosen.count * VALUES:
            waits.append(probe())
            if sys.stderr.isatty():
                print(f"\r{expired:,.0f} of {chosen.count * VALUES:,} points removed", end="", file=sys.stderr)
            time.sleep(0.05)
        took_s, cpu_s = time.monotonic() - begun, broker.cpu_s() - cpu_before
        idle = [probe() for _ in waits]
        broker.end()
        check, after = broker.store("check"), broker.store("stats")
        # What is left is what was said meanwhile.
        is_gone = before["points"] == chosen.count * VALUES and after["points"] <= len(waits) + len(idle)
        if not check["ok"] or not is_gone:
            raise SystemExit(f"{before['points']} points before, {after['points']} after: {check['problems']}")
    finally:
        broker.remove()
    middle, high = (
        tuple(f"{statistics.quantiles(times, n=100)[part] * 1e3:.2f}" for times in (waits, idle)) for part in (49, 98)
    )
    lines = [
        f"## Retention: {chosen.count:,} devices with {VALUES} points each that are too old", "",
        f"All removed {took_s:.0f} s after the start ({chosen.count * VALUES / took_s:,.0f} points/s), with {cpu_s:.0f} s of "
        f"processor time. A durable message of a device (QoS 1) waited {middle[0]} ms (p50), {high[0]} ms (p99) meanwhile; "
        f"{middle[1]} and {high[1]} ms afterwards ({len(waits):,} each).",
    ]
    return lines, {"took_s": took_s, "cpu_s": cpu_s, "waits_s": waits, "idle_waits_s": idle}


# ---- report --------------------------------------------------------------------------------------------------------


def spread(values, digits):
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def machine(chosen):
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "--target", chosen.data], capture_output=True, text=True, check=False)
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {cpu}, kernel {platform.release()}, data on {' '.join(found.stdout.split())}, load average {load}"


def main():
    chosen = options()
    archive = Path(chosen.archive)
    archive.mkdir(parents=True, exist_ok=True)
    text = [
        f"# The device platform, {time.strftime('%Y-%m-%d')}", "",
        f"Medians of {chosen.rounds} rounds, least and most in parentheses. Broker on processor {chosen.broker_cpu}, generator "
        f"on {chosen.load_cpu}. Machine: {machine(chosen)}.", "",
    ]
    every = {}
    parts = {"telemetry": telemetry, "history": history, "start": start, "retention": retention}
    for part in chosen.parts or parts:
        lines, every[part] = parts[part](chosen)
        text += [*lines, ""]
        print("\n".join(lines), flush=True)
        # After each part, because the next may fail.
        (archive / "devices.md").write_text("\n".join(text))
        (archive / "devices.json").write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
