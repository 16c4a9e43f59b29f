"""ThingsBoard's device API as mosquitto_pub and mosquitto_sub speak it."""

import json

import pytest
from mosquitto import Subscriber, publish, try_publish
from plant import until
from thing import ATTRIBUTES, COMMAND, REPLY, TELEMETRY

T0 = 1_760_000_000_123


@pytest.fixture(params=["mqttv311", "mqttv5"])
def spoken(request):
    """Both versions that devices speak, as mosquitto calls them."""
    return request.param


@pytest.fixture
def listen(plant, spoken):
    """Starts subscribers, which end with the test."""
    started = []

    def subscriber(*arguments, at=None):
        started.append(Subscriber(at or plant.devices, spoken, *arguments))
        return started[-1]

    yield subscriber
    for one in started:
        one.kill()


@pytest.mark.parametrize("qos", [0, 1])
def test_telemetry_from_the_command_line(plant, device, spoken, qos):
    publish(plant.devices, spoken, "-u", device.token, "-t", TELEMETRY, "-q", qos, "-m", '{"t":21.5,"on":true}')
    until(lambda: device.latest("t", "on") == {"t": 21.5, "on": True}, "telemetry")


def test_many_lines_are_many_messages(plant, device, spoken):
    lines = "".join(json.dumps({"ts": T0 + at, "values": {"n": at}}) + "\n" for at in range(200))
    publish(plant.devices, spoken, "-u", device.token, "-t", TELEMETRY, "-q", 1, "-l", stdin=lines.encode())
    assert [value for _, value in device.history("n")["n"]] == list(range(200))


def test_a_file_is_one_message(plant, device, spoken, tmp_path):
    path = tmp_path / "telemetry.json"
    path.write_text(json.dumps([{"ts": T0 + at, "values": {"n": at}} for at in range(500)]))
    publish(plant.devices, spoken, "-u", device.token, "-t", TELEMETRY, "-q", 1, "-f", path)
    assert len(device.history("n")["n"]) == 500


def test_a_wrong_token_is_an_error(plant, spoken):
    done = try_publish(plant.devices, spoken, "-u", "nobody", "-t", TELEMETRY, "-q", 1, "-m", "{}")
    assert done.returncode != 0 and b"onnection" in done.stderr


def test_attributes_are_pushed_to_a_subscriber(device, spoken, listen):
    subscriber = listen("-u", device.token, "-t", ATTRIBUTES, "-q", 1)
    device.set(interval=60)
    assert json.loads(subscriber.message()["payload"]) == {"interval": 60}


def test_a_command_reaches_a_subscriber_and_the_next_connection_answers(plant, device, spoken, listen, ask):
    subscriber = listen("-u", device.token, "-t", f"{COMMAND}/+", "-q", 1, "-C", 1)
    answer = ask(device.rpc, "m", {"a": 1}, timeout=20_000)
    message = subscriber.message()
    number = message["topic"].rpartition("/")[2]
    assert json.loads(message["payload"]) == {"method": "m", "params": {"a": 1}}
    subscriber.expect_end()
    publish(plant.devices, spoken, "-u", device.token, "-t", f"{REPLY}/{number}", "-q", 1, "-m", '{"ok":true}')
    assert answer.result() == {"ok": True}


def test_what_devices_say_is_heard_on_the_plain_listener(plant, device, spoken, listen):
    subscriber = listen("-t", f"thingsboard/+/{device.name}/telemetry", "-q", 1, at=plant.plain)
    publish(plant.devices, spoken, "-u", device.token, "-t", TELEMETRY, "-q", 1, "-m", '{"t":1}')
    assert subscriber.message()["payload"] in ('{"t":1}', {"t": 1})


def test_a_gateway_from_the_command_line(plant, gateway, api, spoken, name):
    payload = json.dumps({name: [{"ts": T0, "values": {"t": 21}}]})
    publish(plant.devices, spoken, "-u", gateway.token, "-t", "v1/gateway/telemetry", "-q", 1, "-m", payload)
    assert api.by_name(name).history("t")["t"] == [(T0, 21)]
