"""What an operator may decide otherwise: commands, claims, presence, certificates, and pages of other origins."""

import pytest
import requests
from doors import Door
from plant import HTTP_S, TIMEOUT_S, Plant, until
from test_certificates import register
from thing import CLAIM, COMMAND, TELEMETRY, V5, Thing

OTHERWISE = """
rpc_timeout_ms = 600_000
rpc_timeout_min_ms = 300_000
allowed_origins = "https://a.example, http://b.example:81"

[devices]
command_ack_ms = 2000
command_retries_max = 0
command_closes = true
claiming_allowed = false
claim_duration_s = 3600
presence_in_telemetry = true
certificate_terms_count = false
device_messages = "20:1"
gateway_device_messages = "30:1"
gateway_messages = "40:1"
"""


@pytest.fixture(scope="module")
def other(cores, authority):
    """A plant whose operator has decided otherwise."""
    running = Plant(cores, authority.sign("localhost", names=["DNS:localhost", "IP:127.0.0.1"]), more=OTHERWISE)
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


@pytest.fixture
def rest(other):
    return other.api()


@pytest.fixture
def connect(other):
    made = []

    def connected(device, **options):
        made.append(Thing(other.devices, V5, device.token, **options))
        return made[-1]

    yield connected
    for thing in made:
        thing.close()


def test_a_device_gets_as_long_as_the_operator_says(rest):
    device = rest.device()

    def lasts(**timeout):
        kept = device.command(device.persistent("m", **timeout))
        return kept["expirationTime"] - kept["createdTime"]

    # The home notes when it was made a little after the API has reckoned when it ends.
    assert round(lasts(), -5) == 600_000
    assert round(lasts(timeout=1), -5) == 300_000
    assert round(lasts(timeout=900_000), -5) == 900_000


def test_a_command_that_is_never_acknowledged_ends_the_connection_and_goes_to_the_next_one(rest, connect):
    device = rest.device()
    deaf = connect(device, manual_ack=True)
    deaf.subscribe(f"{COMMAND}/+", 1)
    command = device.persistent("reboot", timeout=60_000)
    assert deaf.hear()[1]["method"] == "reboot"
    assert deaf.farewell().announced
    assert device.command(command)["status"] == "QUEUED"
    thing = connect(device)
    thing.subscribe(f"{COMMAND}/+", 1)
    assert thing.take_command()[1] == "reboot"
    device.until_command(command, "DELIVERED")


def test_a_device_is_claimed_if_an_attribute_says_so(rest, connect):
    device = rest.device()
    thing = connect(device)
    _, customer = rest.customer()
    claim = f"/api/customer/device/{device.name}/claim"
    assert thing.say(CLAIM, {"secretKey": "s"}) == 0
    assert customer.post(claim, {"secretKey": "s"}, status=400) == "FAILURE"
    device.set("SERVER_SCOPE", claimingAllowed=True)
    assert thing.say(CLAIM, {"secretKey": "s"}) == 0
    assert customer.post(claim, {"secretKey": "s"})["response"] == "SUCCESS"
    assert device.attributes("SERVER_SCOPE", "claimingAllowed") == {}
    customer.delete(claim)
    assert device.attributes("SERVER_SCOPE", "claimingAllowed") == {"claimingAllowed": True}


def test_presence_is_telemetry_too(rest, connect):
    device = rest.device()
    thing = connect(device)
    assert thing.say(TELEMETRY, {"t": 1}) == 0
    told = device.latest("active", "lastConnectTime", "lastActivityTime", "lastDisconnectTime")
    assert told["active"] is True and told["lastConnectTime"] <= told["lastActivityTime"]
    assert told["lastDisconnectTime"] is None
    thing.disconnect()
    until(lambda: device.latest("lastDisconnectTime")["lastDisconnectTime"], "time of the end")


def test_a_certificate_counts_beyond_its_term(rest, other, authority, name):
    device = rest.device()
    pair = authority.sign(name, usage="clientAuth", is_over=True)
    register(device, pair[0])
    door = Door(other.secure, tls={"ca_certs": str(authority.certificate)}).with_certificate(pair)
    thing = Thing(door, V5, None)
    assert thing.connack.reason == 0
    thing.close()


def test_a_certificate_counts_within_its_term_unless_it_is_said_otherwise(things, device, authority, secure, name):
    pair = authority.sign(name, usage="clientAuth", is_over=True)
    register(device, pair[0])
    assert things(None, at=secure(pair)).connack.reason == 0x87


def test_pages_of_origins_that_are_named_may_use_the_api(other):
    def allowed(method, origin):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = requests.request(method, f"{other.url}/api/auth/login", headers=headers, timeout=HTTP_S)
        return answer.headers.get("access-control-allow-origin")

    for method in ("OPTIONS", "POST"):
        assert allowed(method, "http://b.example:81") == "http://b.example:81"
        assert allowed(method, "https://c.example") is None
    assert "access-control-allow-origin" not in requests.get(f"{other.url}/metrics", timeout=TIMEOUT_S).headers


def test_a_device_is_told_the_limits_over_http_as_well(rest, other):
    def limits(device):
        body = {"method": "getSessionLimits", "params": {}}
        return requests.post(f"{other.url}/api/v1/{device.token}/rpc", json=body, timeout=HTTP_S).json()

    told = limits(rest.device())
    assert (told["maxPayloadSize"], told["maxInflightMessages"]) == (65_536, 100)
    assert told["rateLimits"]["messages"] == "20:1"
    told = limits(rest.gateway())
    assert (told["rateLimits"]["messages"], told["gatewayRateLimits"]["messages"]) == ("30:1", "40:1")
