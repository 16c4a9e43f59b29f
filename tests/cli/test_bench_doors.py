"""`ringmq-bench` through every door of the real broker: the ledger holds, and handshakes are counted as what they are."""

import pytest
from doors import House
from test_bench import SCENARIOS, Bench

TRANSPORTS = {"tls": ["-S"], "ws": ["--ws"], "wss": ["-S", "--ws"]}
WORDS = {"tls": "over TLS", "ws": "over WebSocket", "wss": "over WebSocket in TLS"}


@pytest.fixture(scope="module", params=[1, 2], ids=["1-core", "2-cores"])
def house(request, tmp_path_factory):
    running = House(tmp_path_factory.mktemp("house"), request.param)
    yield running
    assert running.broker.stop() == 0


@pytest.fixture
def bench(house, tmp_path):
    """Makes load generators for doors by name."""
    return lambda name: Bench(house.doors[name], tmp_path)


@pytest.mark.parametrize("door", TRANSPORTS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_message_arrives_once_through_every_door(bench, door, qos):
    report = bench(door).report(
        "pairs", "-c", 5, "-q", qos, "-L", 3000, "--duration", 0, "--threads", 2, *TRANSPORTS[door]
    )
    assert (report["expected"], report["lost"], report["duplicated"], report["reordered"]) == (3000, 0, 0, 0)
    assert report["load"].endswith(WORDS[door])


@pytest.mark.parametrize("door", TRANSPORTS)
def test_a_crowd_that_knocks_at_once_gets_in(bench, door):
    """More handshakes than a core takes steps of in a turn, and half of the clients live at the other core."""
    load = ["pairs", "-c", 100, "-s", 16, "-L", 10_000, "--duration", 0, *TRANSPORTS[door]]
    report = bench(door).report(*load)
    assert (report["expected"], report["lost"]) == (10_000, 0)


@pytest.mark.parametrize("door", TRANSPORTS)
def test_large_payloads_pass_full_sockets(bench, door):
    report = bench(door).report(
        "fan-out", "-c", 3, "-q", 1, "-s", 300_000, "--window", 8, "--batch", 2, "-L", 40, "--duration", 0,
        *TRANSPORTS[door],
    )
    assert (report["expected"], report["lost"]) == (120, 0)


@pytest.mark.parametrize("door", TRANSPORTS)
def test_a_scenario_is_played_through_every_door(bench, door):
    report = bench(door).report("replay", SCENARIOS / "power-cut.jsonl", *TRANSPORTS[door])
    assert report["expected"] > 0 and report["lost"] == 0


@pytest.mark.parametrize("door", TRANSPORTS)
def test_idle_connections_get_in_and_stay(bench, door):
    report = bench(door).report("idle", "-c", 40, "--duration", 0.2, "--settle", 0, *TRANSPORTS[door])
    assert (report["ready"], report["departed"]) == (40, 0)


@pytest.mark.parametrize("door", ["tls", "wss"])
@pytest.mark.parametrize("newest", ["1.2", "1.3"])
def test_handshakes_are_full_or_resumed_as_told(bench, door, newest):
    load = ["conn", "-c", 20, "--storms", 2, "--hold", 0, "--tls-max", newest, *TRANSPORTS[door]]
    first = bench(door).report(*load)
    assert (first["connects"], first["failed"]) == (60, 0)
    assert (first["tls"]["full"], first["tls"]["resumed"]) == (60, 0)
    assert first["tls"]["suite"].startswith(f"TLS {newest} TLS")
    assert first["opening"]["count"] == 60
    second = bench(door).report(*load, "--resume")
    assert (second["tls"]["full"], second["tls"]["resumed"]) == (20, 40)


def test_the_table_has_a_line_about_handshakes(house, bench):
    pid = house.broker.process.child.pid
    ended = bench("tls").run("conn", "-c", 20, "--churn", "--duration", 0.5, "-S", "--pid", pid)
    assert ended.returncode == 0, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if "handshakes" in line)
    assert "0 resumed" in line and "per second of one broker core" in line and "TLS 1.3" in line


def test_without_tls_there_are_no_handshakes(bench):
    report = bench("ws").report("conn", "-c", 5, "--ws")
    assert (report["connects"], report["tls"], report["opening"]["count"]) == (5, None, 5)


def test_certificates_are_checked_when_asked_for_and_shown_when_needed(house, bench):
    load = ["pairs", "-c", 1, "-L", 10, "--duration", 0, "-S", "--cacertfile"]
    ca = house.papers.tls["ca_certs"]
    assert bench("tls").report(*load, ca)["lost"] == 0
    refused = bench("tls").run(*load, house.papers.stranger[0])
    assert refused.returncode == 1 and "TLS failed: invalid peer certificate" in refused.stderr
    certificate, key = house.papers.ann
    assert bench("known").report(*load, ca, "--certfile", certificate, "--keyfile", key)["lost"] == 0
    refused = bench("known").run(*load, ca)
    assert refused.returncode == 1 and "TLS failed" in refused.stderr


def test_another_path_and_a_plain_listener_are_refused_in_words(house, bench):
    load = ["pairs", "-c", 1, "-L", 10, "--duration", 0]
    refused = bench("ws").run(*load, "--ws", "--ws-path", "/other")
    assert refused.returncode == 1 and "404" in refused.stderr
    refused = bench("tcp").run(*load, "-S")
    assert refused.returncode == 1, refused
