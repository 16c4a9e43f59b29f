"""`ringmq-bench` against the real broker: every workload keeps its ledger, and says what happened in every form.

No figure of speed is looked at: these tests hold what is counted, not how fast.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest
from broker import Address, environment

RUN_S = 60
SCENARIOS = pathlib.Path(__file__).parents[2] / "bench" / "scenarios"


def bench_binary():
    """The path of the load generator under test."""
    path = os.environ.get("RINGMQ_BENCH_BIN")
    if not path:
        raise RuntimeError("RINGMQ_BENCH_BIN names no binary: run these tests with tests/run, or set it")
    return os.path.abspath(path)


class Bench:
    """Runs the load generator against one broker."""

    def __init__(self, address, folder):
        self.address = address
        self.folder = folder

    def command(self, workload, *arguments):
        target = ["-h", self.address.host, "-p", str(self.address.port)]
        return [bench_binary(), workload, *map(str, arguments), *target]

    def run(self, workload, *arguments):
        return subprocess.run(
            self.command(workload, *arguments),
            capture_output=True, text=True, timeout=RUN_S, check=False, cwd=self.folder, env=environment(),
        )

    def report(self, workload, *arguments):
        """The report of a run that must succeed."""
        ended = self.run(workload, *arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def start(self, workload, *arguments):
        return subprocess.Popen(
            self.command(workload, *arguments),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, env=environment(),
        )


@pytest.fixture
def bench(serve, tmp_path):
    return Bench(serve(cores=1).address, tmp_path)


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def packet(first, body):
    assert len(body) < 128
    return bytes([first, len(body)]) + body


class Probe:
    """A client that says what it is told and shows what comes."""

    def __init__(self, address, client_id, clean=True):
        self.socket = socket.create_connection((address.host, address.port), timeout=20)
        flags = b"\x02" if clean else b"\x00"
        self.socket.sendall(packet(0x10, text("MQTT") + b"\x04" + flags + b"\x00\x00" + text(client_id)))
        connack = self.next()
        assert connack[0] == 0x20 and connack[2][1] == 0, connack
        self.session_present = connack[2][0] == 1

    def subscribe(self, topic):
        self.socket.sendall(packet(0x82, b"\x00\x01" + text(topic) + b"\x00"))
        assert self.next()[0] == 0x90

    def ping(self):
        self.socket.sendall(b"\xc0\x00")

    def next(self):
        """First byte, topic if it is a PUBLISH, and body of the next packet."""
        first = self._read(1)[0]
        length, shift = 0, 0
        while True:
            byte = self._read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = self._read(length)
        size = int.from_bytes(body[:2], "big")
        return first, body[2:2 + size].decode(errors="replace"), body

    def _read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the broker closed the connection"
            data += more
        return data


class Liar:
    """Stands between the load generator and a broker, and spoils the PUBLISH packets that the broker sends."""

    def __init__(self, target, spoil):
        self.target = target
        self.spoil = spoil
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self.listener.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            broker = socket.create_connection((self.target.host, self.target.port))
            threading.Thread(target=self._copy, args=(client, broker), daemon=True).start()
            threading.Thread(target=self._relay, args=(broker, client), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _relay(self, broker, client):
        """Whole packets; the spoiler gets each PUBLISH and says which packets leave in its place."""
        stream = broker.makefile("rb")
        with contextlib.suppress(OSError):
            count, held = 0, []
            while first := stream.read(1):
                length = stream.read(1)
                assert length[0] < 128, "these tests send small packets"
                whole = first + length + stream.read(length[0])
                leaving = [whole]
                if first[0] >> 4 == 3:
                    leaving = self.spoil(count, whole, held)
                    count += 1
                client.sendall(b"".join(leaving))
            client.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def drop_tenth(count, whole, _held):
    return [] if count % 10 == 9 else [whole]


def repeat_tenth(count, whole, _held):
    return [whole, whole] if count % 10 == 9 else [whole]


def swap_tenth(count, whole, held):
    """The tenth comes before the ninth."""
    if count % 10 == 8:
        held.append(whole)
        return []
    return [whole, held.pop()] if count % 10 == 9 else [whole]


@pytest.fixture
def spoiled(serve, tmp_path):
    """Load generators whose broker has somebody in front of it."""
    liars = []

    def behind(spoil):
        liars.append(Liar(serve(cores=1).address, spoil))
        return Bench(liars[-1].address, tmp_path)

    yield behind
    for liar in liars:
        liar.close()


@pytest.mark.parametrize("spoil, expected", [
    (drop_tenth, {"lost": 10, "duplicated": 0, "reordered": 0}),
    (repeat_tenth, {"lost": 0, "duplicated": 10, "reordered": 0}),
    (swap_tenth, {"lost": 0, "duplicated": 0, "reordered": 10}),
])
@pytest.mark.parametrize("workload", [
    ["pairs", "-c", 1],
    ["fan-in", "-c", 1],
    ["fan-out", "-c", 1],
    ["shared", "-c", 1, "--subscribers", 1],
    ["telemetry", "-c", 1, "--subscribers", 1, "-I", 1, "--binary"],
])
def test_the_ledger_sees_what_a_broker_drops_repeats_or_swaps(spoiled, workload, spoil, expected):
    bench = spoiled(spoil)
    report = bench.report(*workload, "-L", 100, "--duration", 0, "--stall", 0.2)
    assert report["expected"] == 100
    assert {name: report[name] for name in expected} == expected, report


def test_a_retained_message_that_is_missing_leaves_its_subscriber_incomplete(spoiled):
    bench = spoiled(drop_tenth)
    report = bench.report("retained", "-c", 50, "-s", 16, "--publishers", 1, "--subscribers", 2)
    assert (report["expected"], report["lost"], report["replay"]["complete"]) == (100, 10, 0), report


def test_a_message_that_a_session_lost_is_missed_when_its_subscriber_is_back(spoiled):
    bench = spoiled(drop_tenth)
    report = bench.report("pairs", "-c", 1, "-q", 1, "-L", 50, "--duration", 0, "--offline-subscribers")
    assert (report["expected"], report["lost"], report["replay"]["complete"]) == (50, 5, 0), report


def test_a_scenario_misses_what_it_is_owed(spoiled, tmp_path):
    scenario = tmp_path / "owed.jsonl"
    scenario.write_text("\n".join([
        '{"who":"board","do":"connect"}',
        '{"who":"board","do":"subscribe","filter":"m/#"}',
        '{"at":0.5,"who":"meter","do":"connect"}',
        '{"at":0.5,"who":"meter","do":"publish","topic":"m/%i","every":0.01,"times":30}',
    ]))
    report = spoiled(drop_tenth).report("replay", scenario)
    assert (report["expected"], report["lost"]) == (30, 3), report


def assert_complete(report, expected):
    assert report["expected"] == expected, report
    ledger = [report[name] for name in ("lost", "duplicated", "reordered", "foreign", "refused", "unexpected")]
    assert ledger == [0] * 6, report
    assert report["departed"] == 0, report
    assert report["interrupted"] is False


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("workload, deliveries", [
    (["pairs", "-c", 3], 300),
    (["fan-in", "-c", 3, "--subscribers", 2], 300),
    (["fan-out", "-c", 4, "--threads", 2], 1200),
    (["shared", "-c", 3, "--subscribers", 5, "--groups", 2], 600),
    (["telemetry", "-c", 3, "--subscribers", 2, "-I", 2, "-u", "token-%i"], 600),
])
def test_every_workload_counts_every_message_in_every_qos(bench, workload, deliveries, qos, version):
    report = bench.report(*workload, "-q", qos, "-V", version, "-L", 300, "--duration", 0)
    assert_complete(report, deliveries)
    assert report["latency"]["count"] == deliveries
    messages = 300 if qos > 0 else 0
    assert report["acknowledged"]["count"] == messages


def test_devices_that_nobody_listens_to_are_acknowledged(bench):
    report = bench.report("telemetry", "-c", 5, "-I", 2, "-q", 1, "-L", 100, "--duration", 0)
    assert_complete(report, 0)
    assert report["acknowledged"]["count"] == 100


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [4, 5])
def test_retained_messages_are_fetched_completely_and_cleared(bench, qos, version):
    report = bench.report(
        "retained", "-c", 200, "--publishers", 4, "--subscribers", 3, "-q", qos, "-V", version,
    )
    assert_complete(report, 600)
    replay = report["replay"]
    assert (replay["kept"], replay["complete"], replay["flag_missing"]) == (200, 3, 0)
    probe = Probe(bench.address, "after")
    probe.subscribe("bench/retained/#")
    probe.ping()
    assert probe.next()[0] == 0xD0, "nothing is retained any more"


def test_retained_messages_stay_when_they_are_to_be_kept(bench):
    bench.report("retained", "-c", 1, "--publishers", 1, "--subscribers", 1, "--keep")
    probe = Probe(bench.address, "after")
    probe.subscribe("bench/retained/#")
    first, topic, _ = probe.next()
    assert (first, topic) == (0x31, "bench/retained/0/0000000000")


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("workload, deliveries", [
    (["pairs", "-c", 3, "-q", 1], 300),
    (["fan-in", "-c", 3, "-q", 2], 300),
    (["fan-out", "-c", 2, "-q", 1], 600),
    (["telemetry", "-c", 3, "-q", 1, "--subscribers", 1, "-I", 2], 300),
])
def test_subscribers_that_were_away_fetch_everything(bench, workload, deliveries, version):
    report = bench.report(*workload, "-V", version, "-L", 300, "--duration", 0, "--offline-subscribers")
    assert_complete(report, deliveries)
    replay = report["replay"]
    assert replay["kept"] == 300
    assert replay["complete"] == replay["subscribers"]
    assert replay["sessions_missing"] == 0
    assert report["acknowledged"]["count"] == 300


@pytest.mark.parametrize("keep", [[], ["--keep"]])
def test_lasting_sessions_are_ended_unless_they_are_to_be_kept(bench, keep):
    bench.report("pairs", "-c", 1, "-q", 1, "-L", 10, "--duration", 0, "-C", "false", "--prefix", "x", *keep)
    assert Probe(bench.address, "x-s0", clean=False).session_present is bool(keep)


def test_connects_are_counted_wave_by_wave(bench):
    report = bench.report("conn", "-c", 40, "--storms", 2, "--share", 50, "--hold", 0)
    assert [(wave["clients"], wave["welcomed"]) for wave in report["waves"]] == [(40, 40), (20, 20), (20, 20)]
    assert (report["connects"], report["failed"], report["departed"]) == (80, 0, 0)
    assert report["welcome"]["count"] == 80


def test_churning_clients_come_and_go(bench):
    report = bench.report("conn", "-c", 5, "--churn", "--duration", 0.5)
    assert report["connects"] > 5
    assert (report["failed"], report["departed"]) == (0, 0)


def test_idle_connections_are_held(bench):
    report = bench.report("idle", "-c", 30, "-t", "idle/%i", "--duration", 0, "--settle", 0)
    assert (report["ready"], report["departed"]) == (30, 0)


class Doorman:
    """Welcomes whoever connects, and remembers from which addresses they came."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self.listener.getsockname())
        self.came_from = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, (host, _) = self.listener.accept()
            except OSError:
                return
            self.came_from.append(host)
            threading.Thread(target=self._welcome, args=(client,), daemon=True).start()

    @staticmethod
    def _welcome(client):
        with contextlib.suppress(OSError), client:
            if client.recv(65536)[:1] == b"\x10":
                client.sendall(bytes.fromhex("20 02 00 00"))
            while client.recv(65536):
                pass


def test_connections_come_from_the_source_addresses_in_turn(tmp_path):
    doorman = Doorman()
    with doorman.listener:
        report = Bench(doorman.address, tmp_path).report(
            "idle", "-c", 4, "--ifaddr", "127.0.0.2,127.0.0.3", "--duration", 0, "--settle", 0,
        )
    assert (report["ready"], report["departed"]) == (4, 0)
    assert sorted(doorman.came_from) == ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]


def test_a_scenario_is_played_and_nothing_owed_is_missing(bench):
    report = bench.report("replay", SCENARIOS / "power-cut.jsonl")
    assert report["lost"] == 0, report
    assert [report[name] for name in ("foreign", "refused", "unexpected", "departed")] == [0] * 4, report
    # 50 meters: six readings, five, and one state each; the room hears readings, the archive everything.
    assert report["acknowledged"]["count"] == 50 * 12
    assert report["expected"] > 50 * 11
    assert "power cut" in report["load"]


def test_a_scenario_with_a_mistake_names_its_line(bench, tmp_path):
    scenario = tmp_path / "wrong.jsonl"
    scenario.write_text('{"who":"a","do":"connect"}\n\n{"who":"a","do":"publish"}\n')
    ended = bench.run("replay", scenario)
    assert ended.returncode == 2
    assert "line 3: `topic` is needed" in ended.stderr


def test_the_letters_of_emqtt_bench_mean_what_they_mean_there(bench):
    probe = Probe(bench.address, "probe")
    probe.subscribe("letters/#")
    report = bench.report(
        "pairs", "-c", 1, "-R", 100, "-I", 1, "-t", "letters/%i/%c/%u", "-s", 33, "-q", 1, "-F", 5,
        "-n", 7, "-u", "ann-%i", "--prefix", "me", "-L", 10, "--duration", 0,
    )
    assert_complete(report, 10)
    assert report["open_loop"] is True
    first, topic, body = probe.next()
    assert topic == "letters/7/me-p7/ann-7"
    assert len(body) - 2 - len(topic) == 33, (first, body)


def test_a_report_is_a_table_a_file_and_a_page(bench, tmp_path):
    ended = bench.run(
        "pairs", "-c", 2, "--duration", 1.3, "--warmup", 0, "--json", "report.json", "--html", "report.html",
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "", "no progress line without a terminal"
    assert "0 lost, 0 duplicated, 0 reordered" in ended.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["series"]) == 1
    assert report["series"][0]["received_per_s"] > 0
    assert report["distribution"][-1]["quantile"] == 1.0
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page and "0 lost, 0 duplicated" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "the page needs nothing from elsewhere"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_report_that_says_so(bench, tmp_path, number):
    probe = Probe(bench.address, "probe")
    probe.subscribe("bench/pair/0")
    running = bench.start("pairs", "-c", 2, "-I", 5, "--duration", 600, "--warmup", 0, "--json", "report.json")
    assert probe.next()[1] == "bench/pair/0", "the traffic has begun"
    running.send_signal(number)
    out, err = running.communicate(timeout=RUN_S)
    assert running.returncode == 0, err
    assert out.startswith("INTERRUPTED")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"] is True
    assert (report["lost"], report["departed"]) == (0, 0), report
    assert report["expected"] > 0


def test_connects_that_are_interrupted_are_reported_too(bench):
    probe = Probe(bench.address, "probe")
    probe.subscribe("$SYS/broker/clients/connected")
    running = bench.start("conn", "-c", 50, "--hold", 600, "--json")
    while int(probe.next()[2].rsplit(b"connected", 1)[1]) < 20:
        pass
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=RUN_S)
    assert running.returncode == 0, err
    report = json.loads(out)
    assert report["interrupted"] is True
    assert report["connects"] >= 20


def test_nobody_listening_and_wrong_options_have_exit_codes_of_their_own(bench, serve):
    gone = serve(cores=1)
    assert gone.stop() == 0
    nobody = Bench(gone.address, bench.folder).run("pairs", "-c", 1)
    assert nobody.returncode == 1
    assert "Connection refused" in nobody.stderr
    assert bench.run("pairs", "-s", 3).returncode == 2
    assert bench.run("pairs", "-I", 5, "--window", 3).returncode == 2
