"""What openssl s_client is offered, accepted and refused with."""

import re
import subprocess

import pytest
from doors import House

pytestmark = pytest.mark.ours

RUN_S = 10
# CONNECT of a 3.1.1 client without a name, and DISCONNECT.
GREETING = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00" + b"\xe0\x00"
CONNACK = b"\x20\x02\x00\x00"
# Everything that openssl knows, however old.
ALL = "ALL:@SECLEVEL=0"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    running = House(tmp_path_factory.mktemp("house"), 1)
    yield running
    assert running.broker.stop() == 0


class Visit:
    """One run of s_client that says CONNECT and DISCONNECT and waits for the broker to close."""

    def __init__(self, house, *arguments, door="tls"):
        command = [
            "openssl", "s_client", "-connect", str(house.doors[door]), "-CAfile", house.papers.tls["ca_certs"],
            "-verify_return_error", "-ign_eof", "-nocommands", *map(str, arguments),
        ]
        done = subprocess.run(command, input=GREETING, capture_output=True, timeout=RUN_S, check=False)
        self.output = done.stdout.decode("latin-1")
        self.errors = done.stderr.decode()
        self.is_welcome = CONNACK in done.stdout
        agreed = re.search(r"^(New|Reused), (\S+), Cipher is (\S+)$", self.output, re.MULTILINE)
        assert agreed, self.errors
        self.how, self.version, self.cipher = agreed.groups()


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(house, option):
    visit = Visit(house, option, "-cipher", ALL)
    assert not visit.is_welcome and visit.cipher == "(NONE)"
    # By the broker, and not by openssl itself.
    assert "SSL alert number" in visit.errors


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"],
)
def test_tls_1_2_is_accepted_with_every_sound_suite(house, cipher):
    visit = Visit(house, "-tls1_2", "-cipher", cipher)
    assert visit.is_welcome, visit.errors
    assert (visit.version, visit.cipher) == ("TLSv1.2", cipher)


@pytest.mark.parametrize(
    "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_tls_1_3_is_accepted_with_every_suite(house, suite):
    visit = Visit(house, "-tls1_3", "-ciphersuites", suite)
    assert visit.is_welcome, visit.errors
    assert (visit.version, visit.cipher) == ("TLSv1.3", suite)


# The key exchange of the first has no forward secrecy, the mode of the second no authenticated encryption.
@pytest.mark.parametrize(
    "cipher",
    ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"],
)
def test_static_rsa_and_old_modes_are_refused(house, cipher):
    visit = Visit(house, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert not visit.is_welcome and visit.cipher == "(NONE)"
    assert "SSL alert number 40" in visit.errors


def test_without_a_wish_the_newest_version_is_spoken(house):
    visit = Visit(house)
    assert visit.is_welcome and visit.version == "TLSv1.3"


def test_mqtt_is_agreed_on_by_name_and_other_protocols_are_refused(house):
    visit = Visit(house, "-alpn", "h2,mqtt")
    assert visit.is_welcome and "ALPN protocol: mqtt" in visit.output
    visit = Visit(house, "-alpn", "h2")
    assert not visit.is_welcome
    assert "SSL alert number 120" in visit.errors


@pytest.mark.parametrize("asked, shown", [("localhost", "localhost"), ("other.test", "other.test"), ("else.test", "localhost")])
def test_each_host_name_has_its_certificate(house, asked, shown):
    visit = Visit(house, "-servername", asked)
    assert visit.is_welcome
    assert re.search(rf"^subject=.*CN ?= ?{shown}$", visit.output, re.MULTILINE), visit.output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed(house, version, tmp_path):
    ticket = tmp_path / "ticket"
    first = Visit(house, version, "-sess_out", ticket)
    assert first.is_welcome and first.how == "New"
    second = Visit(house, version, "-sess_in", ticket)
    assert second.is_welcome and second.how == "Reused"


def test_a_client_certificate_is_asked_for_where_it_is_needed(house):
    certificate, key = house.papers.ann
    visit = Visit(house, "-cert", certificate, "-key", key, door="known")
    assert visit.is_welcome
    assert "CN = Ours" in visit.output.partition("Acceptable client certificate CA names")[2]
    visit = Visit(house, door="known")
    assert not visit.is_welcome
    # certificate_required in TLS 1.3. Source: RFC 8446 section 6.
    assert "SSL alert number 116" in visit.errors
