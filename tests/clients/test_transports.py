"""Real clients through every door: what passes over plain TCP passes through TLS and WebSocket too."""

import itertools
import signal
import ssl
import subprocess

import pytest
from broker import binary, free_address
from client import V5, V31, V311, Client
from doors import Door, DoorBroker, House, listener, pair_of
from mosquitto import Subscriber, publish, try_publish

pytestmark = pytest.mark.ours

RUN_S = 20
DOORS = ["tls", "known", "ws", "wss"]
NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def house(cores, tmp_path_factory):
    running = House(tmp_path_factory.mktemp("house"), cores)
    yield running
    assert running.broker.stop() == 0


@pytest.fixture(params=DOORS)
def door(house, request):
    """Every door in turn, for a client that has what it needs there."""
    found = house.doors[request.param]
    return found.with_certificate(house.papers.ann) if request.param == "known" else found


@pytest.fixture
def clients():
    """Makes clients at doors, and ends them with the test."""
    made = []

    def make(door, version=V5, client_id=None):
        made.append(Client(door, client_id or f"d{next(NAMES)}", version))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def subscriber():
    started = []

    def start(door, version, *arguments):
        started.append(Subscriber(door, version, *arguments))
        return started[-1]

    yield start
    for child in started:
        child.kill()


@pytest.mark.parametrize("version", [V31, V311, V5], ids=["v31", "v311", "v5"])
def test_messages_of_every_qos_pass_to_and_from_plain_tcp(house, door, clients, name, version):
    inside, outside = clients(door, version), clients(house.doors["tcp"], version)
    for client in (inside, outside):
        client.connect()
        assert client.subscribe(f"{name}/{client.id}", 2) == 2
    for qos in (0, 1, 2):
        assert inside.publish(f"{name}/{outside.id}", f"out {qos}", qos) == 0
        outside.expect(f"{name}/{outside.id}", f"out {qos}", qos=qos)
        assert outside.publish(f"{name}/{inside.id}", f"in {qos}", qos) == 0
        inside.expect(f"{name}/{inside.id}", f"in {qos}", qos=qos)
    inside.disconnect()


# Around the lengths at which WebSocket frames and TLS records change their form.
@pytest.mark.parametrize("size", [0, 100, 125, 126, 16_384, 65_535, 65_536, 300_000])
def test_payloads_of_any_size_arrive_unchanged(door, clients, name, size):
    client = clients(door)
    client.connect()
    client.subscribe(name, 1)
    payload = bytes(itertools.islice(itertools.cycle(range(256)), size))
    client.publish(name, payload, 1)
    client.expect(name, payload)


def test_a_thousand_messages_arrive_in_order(door, clients, name):
    sender, receiver = clients(door), clients(door)
    for client in (sender, receiver):
        client.connect()
    receiver.subscribe(name, 1)
    sent = [sender.send(name, f"{number}", 1) for number in range(1_000)]
    assert all(sender.published(mid) == 0 for mid in sent)
    assert receiver.payloads(1_000) == [f"{number}" for number in range(1_000)]


def test_retained_messages_and_wills_pass(door, clients, name):
    watcher, lost = clients(door), clients(door)
    lost.connect(will={"topic": f"{name}/will", "payload": "gone", "qos": 1, "retain": True})
    lost.publish(f"{name}/kept", "kept", 1, retain=True)
    watcher.connect()
    watcher.subscribe(f"{name}/#", 1)
    watcher.expect(f"{name}/kept", "kept", retain=True)
    lost.drop()
    watcher.expect(f"{name}/will", "gone", qos=1)
    late = clients(door)
    late.connect()
    late.subscribe(f"{name}/will", 1)
    late.expect(f"{name}/will", "gone", retain=True)


def test_a_session_begun_at_one_door_goes_on_at_any_other(house, door, clients, name):
    first = clients(house.doors["tcp"], client_id=f"{name}c")
    first.connect(SessionExpiryInterval=60)
    first.subscribe(name, 1)
    first.disconnect()
    sender = clients(door)
    sender.connect()
    sender.publish(name, "missed", 1)
    second = clients(door, client_id=f"{name}c")
    assert second.connect(clean=False, SessionExpiryInterval=60).session_present
    second.expect(name, "missed")
    # The newcomer takes over from the one before it, whatever door that came through.
    third = clients(house.doors["wss"], client_id=f"{name}c")
    assert third.connect(clean=False, SessionExpiryInterval=0).session_present
    second.farewell()


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_mosquitto_clients_pass_with_their_certificate(house, subscriber, name, version):
    door = house.doors["known"].with_certificate(house.papers.ann)
    for qos in (0, 1, 2):
        listener = subscriber(door, version, "-t", f"{name}/{qos}", "-q", qos)
        publish(door, version, "-t", f"{name}/{qos}", "-m", "hello", "-q", qos)
        listener.expect(f"{name}/{qos}", "hello", qos=qos)


def test_mosquitto_clients_see_whom_they_speak_to(house, subscriber, name):
    door = house.doors["tls"]
    listener = subscriber(door, "mqttv5", "-t", name, "-q", 1)
    publish(door, "mqttv5", "-t", name, "-m", "hello", "-q", 1)
    listener.expect(name, "hello")
    # Another authority than the broker's is no reason to believe it.
    door = Door(door, tls={"ca_certs": str(house.papers.stranger[0])})
    refused = try_publish(door, "mqttv5", "-t", name, "-m", "x")
    assert refused.returncode != 0 and b"TLS error" in refused.stderr


@pytest.mark.parametrize("who", ["nobody", "stranger", "bob"])
def test_a_door_for_known_clients_lets_nobody_else_in(house, name, who):
    door = house.doors["known"]
    if who != "nobody":
        # Signed by others, and signed by ours but taken back.
        door = door.with_certificate(getattr(house.papers, who))
    refused = try_publish(door, "mqttv5", "-t", name, "-m", "x", "-q", 1)
    assert refused.returncode != 0, refused


def reload(house, expected):
    """Has the broker read its files again, and waits for the line that says what came of those of the door `tls`."""
    house.broker.process.signal(signal.SIGHUP)
    place = str(house.doors["tls"])
    house.broker.process.wait_line(lambda line: place in line and expected in line)


def test_a_new_certificate_is_shown_after_sighup_and_nobody_is_cut(house, clients, name):
    door = house.doors["tls"]

    def shown():
        return ssl.get_server_certificate((door.host, door.port))

    stays = clients(door)
    stays.connect()
    stays.subscribe(name, 1)
    before = shown()
    house.show(house.papers.authority.sign("renewed", names=["DNS:localhost", "IP:127.0.0.1"]))
    reload(house, "holds for new connections")
    renewed = shown()
    assert renewed != before
    comes = clients(door)
    comes.connect()
    comes.publish(name, "still here", 1)
    stays.expect(name, "still here")
    # A key that does not fit changes nothing.
    house.shown_key.write_bytes(house.papers.ann[1].read_bytes())
    reload(house, "stays in use")
    assert shown() == renewed
    house.show(house.papers.server)
    reload(house, "holds for new connections")
    assert shown() == before


def test_certificates_of_a_first_try_are_good_for_mosquitto(tmp_path, name):
    papers = tmp_path / "papers"
    made = subprocess.run([binary(), "cert", papers], capture_output=True, text=True, timeout=RUN_S, check=False)
    assert made.returncode == 0, made.stderr
    address = free_address()
    pair = (papers / "server.pem", papers / "server.key")
    text = listener(address, "mqtts", **pair_of(pair), client_ca=papers / "ca.pem")
    broker = DoorBroker(tmp_path, text, [address])
    try:
        door = Door(address, tls={"ca_certs": str(papers / "ca.pem")})
        ours = door.with_certificate((papers / "client.pem", papers / "client.key"))
        publish(ours, "mqttv5", "-t", name, "-m", "x", "-q", 1)
        assert try_publish(door, "mqttv5", "-t", name, "-m", "x", "-q", 1).returncode != 0
    finally:
        assert broker.stop() == 0
