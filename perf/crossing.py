#!/usr/bin/env python3
"""What it costs a message to cross cores: CPU per delivered message of a broker on two cores, with the two clients of
each pair at home on the same core and with all of them on different cores, in turns.

Usage: perf/crossing.py [--ringmq FILE] [--warm FILE] [--pairs N] [--rounds N] [--seconds S] [--batch N]
                        [--window N] [--size BYTES] [--cpus 0,1] [--archive DIR]

Client ids decide where a client lives; `warm place` says which id lives where. The load is a closed loop: each publisher
has so many batches in flight as --window says. The generator shares the processors with the broker,
which costs it rate but no CPU that is counted: counted is /proc/PID/task/*/schedstat of the broker only.

The table goes to standard output and, as crossing-window-W-batch-B.md, with every single run in a .json beside it, to
--archive (default perf/runs/TODAY).
"""

import argparse
import json
import os
import platform
import select
import shlex
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ringmq", default=str(ROOT / "target/release/ringmq"))
    parser.add_argument("--warm", default=str(ROOT / "target/release/warm"))
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--cpus", default="0,1")
    parser.add_argument("--archive", default=str(ROOT / "perf/runs" / time.strftime("%Y-%m-%d")))
    return parser.parse_args()


def homes(warm, count):
    """Client ids by home core, `count` for each of two cores."""
    ids = {}
    for line in subprocess.run([warm, "place", "2", str(count)], check=True, capture_output=True, text=True).stdout.split("\n"):
        if line:
            core, client_id = line.split()
            ids.setdefault(int(core), []).append(client_id)
    return ids


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def packet(first, body):
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def client(port, client_id):
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + string(client_id)))
    expect(link, 4)
    return link


def expect(link, count):
    while count > 0:
        got = len(link.recv(count))
        if got == 0:
            sys.exit("the broker closed a connection")
        count -= got


def cpu_ns(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


class Broker:
    def __init__(self, ringmq, cpus):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = tempfile.NamedTemporaryFile("w", suffix=".toml")
        self.config.write(f'[server]\ncores = "{cpus}"\n[[listener]]\nbind = "127.0.0.1:{self.port}"\n')
        self.config.flush()
        self.data = tempfile.TemporaryDirectory(prefix="crossing-")
        command = [ringmq, "serve", "-c", self.config.name, "--data", self.data.name + "/data"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process.stdout.readline()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.data.cleanup()


def measure(chosen, pairs, arguments):
    """CPU in ns per delivered message, and messages per second."""
    broker = Broker(chosen.ringmq, chosen.cpus)
    try:
        publishers, by_fd, poll = {}, {}, select.epoll()
        for number, (publisher_id, subscriber_id) in enumerate(pairs):
            topic = f"crossing/{number:05}"
            subscriber = client(broker.port, subscriber_id)
            subscriber.sendall(packet(0x82, b"\x00\x01" + string(topic) + b"\x00"))
            expect(subscriber, 5)
            subscriber.setblocking(False)
            publish = packet(0x30, string(topic) + b"x" * arguments.size) * arguments.batch
            by_fd[subscriber.fileno()] = [subscriber, client(broker.port, publisher_id), publish, 0]
            poll.register(subscriber.fileno(), select.EPOLLIN)
        messages, count_from, cpu_from = 0, None, 0
        began = time.monotonic()
        for entry in by_fd.values():
            entry[1].sendall(entry[2] * arguments.window)
        while True:
            for fd, _ in poll.poll():
                entry = by_fd[fd]
                entry[3] += len(entry[0].recv(1 << 16))
                whole = entry[3] // len(entry[2])
                if whole > 0:
                    entry[3] -= whole * len(entry[2])
                    messages += whole * arguments.batch
                    entry[1].sendall(entry[2] * whole)
            now = time.monotonic()
            if count_from is None and now - began > 0.5:
                count_from, cpu_from, messages = now, cpu_ns(broker.process.pid), 0
            elif count_from is not None and now - count_from > arguments.seconds:
                return (cpu_ns(broker.process.pid) - cpu_from) / messages, messages / (now - count_from)
    finally:
        broker.stop()


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def machine(load):
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    return f"{os.cpu_count()} x {cpu}, kernel {platform.release()}, load average before {' '.join(f'{value:.2f}' for value in load)}"


def table(chosen, runs, load):
    figures = {name: [run for run in runs if run["homes"] == name] for name in ("local", "crossing")}
    lines = [
        f"# What it costs to cross cores: {chosen.window} in flight, each {chosen.batch} PUBLISH, {time.strftime('%Y-%m-%d')}", "",
        f"`{shlex.join(['perf/crossing.py', *sys.argv[1:]])}`", "",
        f"Medians of {chosen.rounds} rounds, least and most in parentheses. {chosen.pairs} pairs, QoS 0, {chosen.size} bytes, broker on "
        f"processors {chosen.cpus}, {chosen.seconds:g} s each. Machine: {machine(load)}.", "",
        "| homes of a pair | CPU per message, ns | messages/s |", "|---|---|---|",
    ]
    for name, each in figures.items():
        cpu, rate = spread([run["cpu_ns"] for run in each], ",.0f"), spread([run["messages_per_s"] for run in each], ",.0f")
        lines.append(f"| {name} | {cpu} | {rate} |")
    # Round by round, so that a machine that drifts cancels out.
    costs = [100 * (crossing["cpu_ns"] / local["cpu_ns"] - 1) for local, crossing in zip(figures["local"], figures["crossing"])]
    lines += ["", f"Crossing costs {spread(costs, '+.0f')} %.", ""]
    return "\n".join(lines)


def main():
    chosen = options()
    load = os.getloadavg()
    # Before anything is measured, because a directory that cannot be made would cost all of it.
    archive = Path(chosen.archive)
    archive.mkdir(parents=True, exist_ok=True)
    ids = homes(chosen.warm, 2 * chosen.pairs)
    here, there = ids[0], ids[1]
    half = chosen.pairs // 2
    # Half of the pairs on each core, and half in each direction.
    local = [(here[2 * n], here[2 * n + 1]) for n in range(half)] + [(there[2 * n], there[2 * n + 1]) for n in range(half)]
    crossing = [(here[n], there[n]) for n in range(half)] + [(there[half + n], here[half + n]) for n in range(half)]
    runs = []
    for number in range(chosen.rounds):
        for name, pairs in (("local", local), ("crossing", crossing)):
            cpu, rate = measure(chosen, pairs, chosen)
            runs.append({"round": number, "homes": name, "cpu_ns": cpu, "messages_per_s": rate})
    text = table(chosen, runs, load)
    stem = f"crossing-window-{chosen.window}-batch-{chosen.batch}"
    (archive / f"{stem}.md").write_text(text)
    (archive / f"{stem}.json").write_text(json.dumps(runs, indent=1))
    print(text)


if __name__ == "__main__":
    main()
