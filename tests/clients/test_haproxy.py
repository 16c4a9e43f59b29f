"""A load balancer in front: the broker knows its clients by the address that the PROXY header tells."""

import socket

import pytest
from broker import free_address
from client import Client
from doors import Door, DoorBroker, Papers, listener, pair_of
from haproxy import Proxy, dial

pytestmark = pytest.mark.ours

FORMS = ["send-proxy-v2", "send-proxy"]
# An address that the load balancer does not use itself.
SOURCE = "127.0.0.77"


class Site:
    """A broker behind haproxy, over TCP and over TLS, in both forms of the header."""

    def __init__(self, folder, cores):
        self.papers = Papers(folder)
        plain, sealed, elsewhere = (free_address() for _ in range(3))
        # Whoever comes through a proxy is not of this machine.
        trusted = {"proxy_protocol_from": "127.0.0.1/32", "allow_anonymous": True}
        text = (
            listener(plain, "mqtt", **trusted)
            + listener(sealed, "mqtts", **pair_of(self.papers.server), **trusted)
            + listener(elsewhere, "mqtt", proxy_protocol_from="10.0.0.0/8", allow_anonymous=True)
        )
        self.direct, self.elsewhere = plain, elsewhere
        self.broker = DoorBroker(folder, text, [plain, sealed, elsewhere], cores)
        self.proxy = Proxy(folder, [(back, form) for back in (plain, sealed) for form in FORMS])
        self.plain = dict(zip(FORMS, self.proxy.fronts[:2], strict=True))
        self.sealed = dict(zip(FORMS, self.proxy.fronts[2:], strict=True))

    def expect_line(self, *parts):
        self.broker.process.wait_line(lambda line: all(part in line for part in parts))


@pytest.fixture(scope="module")
def site(cores, tmp_path_factory):
    running = Site(tmp_path_factory.mktemp("site"), cores)
    yield running
    running.proxy.stop()
    assert running.broker.stop() == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sealed", [False, True], ids=["tcp", "tls"])
def test_messages_pass_through_the_load_balancer(site, name, form, sealed):
    door = Door(site.sealed[form], tls=site.papers.tls) if sealed else Door(site.plain[form])
    client = Client(door, f"{name}c")
    try:
        client.connect(source=SOURCE)
        client.subscribe(name, 2)
        for qos in (0, 1, 2):
            client.publish(name, f"{qos}", qos)
            client.expect(name, f"{qos}", qos=qos)
        client.disconnect()
    finally:
        client.close()


@pytest.mark.parametrize("form", FORMS)
def test_the_log_names_the_client_and_not_the_load_balancer(site, form):
    with dial(site.plain[form], SOURCE) as client:
        own = client.getsockname()
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        site.expect_line(f"{own[0]}:{own[1]}")


def test_whoever_comes_without_a_header_is_refused(site):
    # From the load balancer's own address, but with MQTT at once.
    with socket.create_connection((site.direct.host, site.direct.port), timeout=6) as client:
        client.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")
        assert client.recv(1) == b""
    site.expect_line("PROXY")


def test_a_header_of_somebody_untrusted_is_not_believed(site):
    with dial(site.elsewhere, SOURCE) as client:
        try:
            client.sendall(b"PROXY TCP4 10.1.2.3 10.0.0.1 40000 1883\r\n")
            assert client.recv(1) == b""
        except ConnectionError:
            pass
    site.expect_line(SOURCE, "trusted")
