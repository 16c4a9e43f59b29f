"""What MQTT itself promises to devices, as paho-mqtt sees it: retained messages, Receive Maximum, sessions, wills, and whole
images for many at a time."""

import json
import random

import pytest
from plant import Plant, until
from thing import ATTRIBUTES, COMMAND, TELEMETRY, V5, V311, Client, Thing

IMAGE = random.Random(11).randbytes(2_000_000)


@pytest.fixture
def watcher(plant):
    """A client of the plain listener that sees what devices say."""
    made = Client(plant.plain, "watcher", V5)
    made.connect()
    made.subscribe("thingsboard/#", 1)
    yield made
    made.close()


def canonical(device, what="telemetry"):
    return f"thingsboard/default/{device.name}/{what}"


def test_what_a_device_says_with_retain_is_kept_as_telemetry_and_not_retained(things, device, version, watcher, plant):
    thing = things(device.token, version)
    assert thing.publish(TELEMETRY, '{"a":1}', 1, retain=True) == 0
    assert device.latest("a") == {"a": 1}
    watcher.expect(canonical(device), '{"a":1}', retain=False)
    late = Client(plant.plain, "late", V5)
    late.connect()
    late.subscribe(canonical(device), 1)
    assert thing.publish(TELEMETRY, '{"a":2}', 1) == 0
    late.expect(canonical(device), '{"a":2}', retain=False)
    late.close()


def test_pushes_and_commands_are_no_retained_messages(things, device, version):
    device.set(k=1)
    thing = things(device.token, version)
    thing.subscribe(ATTRIBUTES, 1)
    thing.subscribe(f"{COMMAND}/+", 1)
    device.set(k=2)
    thing.expect(ATTRIBUTES, '{"k":2}', retain=False)
    device.persistent("m", 1, "oneway")
    assert thing.message().retain is False


def test_a_device_that_takes_two_at_a_time_gets_all_in_order(things, device):
    thing = things(device.token, V5, manual_ack=True, ReceiveMaximum=2)
    thing.subscribe(ATTRIBUTES, 1)
    thing.subscribe(f"{COMMAND}/+", 1)
    expected, commands = [], []
    for number in range(6):
        device.set(k=number)
        commands.append(device.persistent("m", number, "oneway"))
        expected += [{"k": number}, {"method": "m", "params": number}]
    heard = []

    def hear():
        message = thing.message()
        heard.append(json.loads(message.payload))
        return message

    waiting = [hear(), hear()]
    # Whatever comes third comes behind an acknowledgement: an answer at QoS 0 passes by.
    assert [device.command(one)["status"] for one in commands[1:]] == ["SENT"] * 5
    while waiting:
        thing.acknowledge(waiting.pop(0))
        if len(heard) < len(expected):
            waiting.append(hear())
    assert heard == expected
    for one in commands:
        device.until_command(one, "DELIVERED")


def test_a_session_of_a_device_ends_with_its_connection_and_is_told_so(things, device):
    thing = things(device.token, V5, client_id="lasting", clean=False, SessionExpiryInterval=3600)
    assert thing.connack.properties.SessionExpiryInterval == 0
    thing.subscribe(ATTRIBUTES, 1)
    thing.drop()
    device.set(k=1)
    again = things(device.token, V5, client_id="lasting", clean=False, SessionExpiryInterval=3600)
    assert not again.connack.session_present
    device.set(k=2)
    assert again.request(1, sharedKeys=["k"]) == {"shared": {"k": 2}}, "and no push before it"


@pytest.mark.parametrize(
    ("version", "ends"),
    [(V311, "drops"), (V311, "leaves"), (V5, "drops"), (V5, "leaves"), (V5, "leaves-with-will")],
)
def test_a_will_is_said_as_the_device_would_say_it(things, device, version, watcher, ends):
    will = {"topic": TELEMETRY, "payload": '{"online":false}', "qos": 1, "retain": True}
    thing = things(device.token, version, will=will)
    assert thing.say(TELEMETRY, {"online": True}) == 0
    watcher.expect(canonical(device), '{"online": true}')
    if ends == "drops":
        thing.drop()
    else:
        thing.disconnect(0x04 if ends == "leaves-with-will" else None)
    if ends != "leaves":
        watcher.expect(canonical(device), '{"online":false}', retain=False)
    again = things(device.token, version)
    assert again.say(TELEMETRY, {"fence": 1}) == 0
    watcher.expect(canonical(device), '{"fence": 1}')
    assert device.latest("online") == {"online": ends == "leaves"}


def test_a_device_that_takes_only_small_packets_is_told_that_an_image_is_too_large(api, things):
    profile = api.profile()["id"]
    device = api.device(deviceProfileId=profile)
    device.save(firmwareId=api.package(profile, IMAGE)["id"])
    thing = things(device.token, V5, MaximumPacketSize=10_000)
    assert thing.say("v2/fw/request/1/chunk/0", "") == 0x97
    thing.expect("v2/fw/error", "PAYLOAD_TOO_LARGE")
    assert thing.say("v2/fw/request/1/chunk/0", "9000") == 0
    thing.expect("v2/fw/response/1/chunk/0", IMAGE[:9_000])


def test_many_devices_that_want_a_whole_image_at_once_all_get_it(cores, version):
    """There is room for two on each core; the others wait for their turn."""
    running = Plant(cores, more=f"[devices]\npackage_bytes_max = {4_000_000 * cores}\n")
    made = []
    try:
        api = running.api()
        profile = api.profile()["id"]
        info = api.package(profile, IMAGE)
        for _ in range(12):
            device = api.device(deviceProfileId=profile)
            device.save(firmwareId=info["id"])
            made.append(Thing(running.devices, version, device.token))
        for thing in made:
            thing.send("v2/fw/request/1/chunk/0", "", 1)
        for thing in made:
            thing.expect("v2/fw/response/1/chunk/0", IMAGE)
            assert thing.say(TELEMETRY, {"a": 1}) == 0
        until(lambda: running.figure("packages_waiting") == 0, "end of all waiting")
        assert running.figure("packages_refused_total") == 0
        for thing in made:
            thing.close()
        assert running.stop() == 0
    finally:
        running.close()
