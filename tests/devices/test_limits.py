"""How much devices may say: what is too often is refused with a reason or left unread, and no connection ends for it."""

import json

import pytest
from plant import Api, Plant, until
from thing import ATTRIBUTES, COMMAND, REPLY, TELEMETRY, V5, V311, Thing

RATES = """
[devices]
device_telemetry_messages = "5:1,1000:60"
device_telemetry_values = "500:1"
gateway_telemetry_messages = "5:2"
gateway_device_messages = "4:3600"
gateway_device_telemetry_messages = "3:3600"
"""


@pytest.fixture(scope="module")
def limited(cores):
    """A plant whose devices may not say much."""
    running = Plant(cores, more=RATES)
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


@pytest.fixture
def rest(limited):
    return limited.api()


@pytest.fixture
def connect(limited):
    made = []

    def connected(device, version=V5):
        made.append(Thing(limited.devices, version, device.token))
        return made[-1]

    yield connected
    for thing in made:
        thing.close()


def test_the_limits_are_told_as_they_are_configured(rest, connect):
    thing = connect(rest.device())
    thing.say(f"{COMMAND}/1", {"method": "getSessionLimits", "params": {}})
    assert thing.hear(f"{REPLY}/1")["rateLimits"] == {
        "messages": None, "telemetryMessages": "5:1,1000:60", "telemetryDataPoints": "500:1",
    }


def test_what_is_too_often_is_refused_in_5_0_and_the_rest_is_kept(rest, connect):
    device = rest.device()
    thing = connect(device)
    sent = [thing.send(TELEMETRY, json.dumps({"ts": 1_000 + at, "values": {"n": at}}), 1) for at in range(100)]
    codes = [thing.published(mid) for mid in sent]
    assert set(codes) == {0, 0x97}
    kept = [value for _, value in device.history("n")["n"]]
    assert kept == [at for at, code in enumerate(codes) if code == 0], "what was acknowledged, and nothing else"


def test_a_3_1_1_device_waits_and_loses_nothing(rest, connect):
    device = rest.device()
    thing = connect(device, version=4)
    sent = [thing.send(TELEMETRY, json.dumps({"ts": 1_000 + at, "values": {"n": at}}), 1) for at in range(12)]
    for mid in sent:
        assert thing.published(mid) == 0
    assert [value for _, value in device.history("n")["n"]] == list(range(12))


def test_who_comes_back_or_speaks_http_finds_what_he_has_left(rest, limited, connect):
    gateway = rest.gateway()
    me = Api(f"{limited.url}/api/v1/{gateway.token}")
    thing = connect(gateway)
    assert [thing.say(TELEMETRY, {"n": at}) for at in range(2)] == [0, 0]
    thing.close()
    thing = connect(gateway)
    assert [thing.say(TELEMETRY, {"n": at}) for at in (2, 3)] == [0, 0x97], "three in an hour"
    message = me.refusal("POST", "/telemetry", {"n": 4}, status=429, code=33)
    assert message == "Too many requests for current device!"
    assert gateway.latest("n") == {"n": 2}
    assert limited.figure("dropped_over_rate_total") > 0


def test_who_connects_too_often_is_refused_and_the_one_that_is_there_stays(rest, connect):
    # paho names return code 3 by its word of 5.0.
    for version, refusal in ((V5, 0x9F), (V311, 0x88)):
        gateway = rest.gateway()
        first = connect(gateway, version)
        for topic in (ATTRIBUTES, f"{COMMAND}/+", ATTRIBUTES):
            assert first.subscribe(topic, 1) == 1
        second = connect(gateway, version)
        assert second.connack.reason == refusal
        assert first.say(TELEMETRY, {"n": 1}) == 0


def test_one_device_does_not_spend_what_another_may(rest, connect):
    greedy, modest = connect(rest.device()), connect(rest.device())
    for mid in [greedy.send(TELEMETRY, f'{{"n":{at}}}', 1) for at in range(50)]:
        greedy.published(mid)
    assert modest.say(TELEMETRY, {"n": 1}) == 0


def test_a_gateway_is_told_of_the_child_that_was_not_heard(rest, connect, name):
    thing = connect(rest.gateway())
    codes = [thing.say("v1/gateway/telemetry", {name: [{"n": at}]}) for at in range(20)]
    assert codes[0] == 0 and 0x97 in codes
    told = until(lambda: thing.hear("v1/gateway/disconnect"), "word of the child")
    assert told == {"device": name, "reason": 150}
    thing.say(f"{COMMAND}/1", {"method": "getSessionLimits", "params": {}})
    while True:
        topic, limits = thing.hear()
        if topic == f"{REPLY}/1":
            break
    assert limits["gatewayRateLimits"]["telemetryMessages"] == "5:2"
