"""A device that is written with ThingsBoard's SDK: telemetry, attributes, calls both ways, claims."""

from plant import CUSTOMER_NOBODY, until
from sdk_client import Inbox

T0 = 1_760_000_000_123


def test_telemetry_of_one_sample_is_the_latest_and_in_the_history(connect, device):
    client = connect(device.token)
    client.send_telemetry({"temperature": 21.5, "on": True, "mode": "eco", "count": 7, "map": {"a": [1]}})
    until(lambda: device.latest("temperature")["temperature"] == 21.5, "temperature")
    assert device.latest("on", "mode", "count", "map") == {"on": True, "mode": "eco", "count": 7, "map": {"a": [1]}}
    assert [value for _, value in device.history("count")["count"]] == [7]


def test_telemetry_with_times_is_kept_at_these_times_and_the_newest_is_the_latest(connect, device):
    client = connect(device.token)
    client.send_telemetry([{"ts": T0 + at, "values": {"level": at}} for at in (0, 2, 1)])
    until(lambda: device.latest("level")["level"] == 2, "level")
    assert device.history("level")["level"] == [(T0, 0), (T0 + 1, 1), (T0 + 2, 2)]


def test_much_telemetry_comes_in_several_messages_and_all_of_it_arrives(connect, device):
    client = connect(device.token)
    client.send_telemetry([{"ts": T0 + at, "values": {"wave": at, "text": "x" * 50}} for at in range(2_000)])
    until(lambda: len(device.history("wave")["wave"]) == 2_000, "2,000 points")


def test_telemetry_at_qos_0_arrives(connect, device):
    client = connect(device.token, quality_of_service=0)
    client.send_telemetry({"quick": 1})
    until(lambda: device.latest("quick")["quick"] == 1, "quick")


def test_client_attributes_are_what_the_device_has_sent(connect, device):
    client = connect(device.token)
    client.send_attributes({"fw": "v1.2", "cfg": {"a": 1}, "n": 7, "on": False})
    until(lambda: len(device.attributes("CLIENT_SCOPE")) == 4, "four attributes")
    assert device.attributes("CLIENT_SCOPE") == {"fw": "v1.2", "cfg": {"a": 1}, "n": 7, "on": False}


def test_attributes_can_be_requested_by_scope_and_by_key(connect, device):
    device.set(interval=30, mode="eco")
    client = connect(device.token)
    client.send_attributes({"fw": "v1.2", "n": 7})
    until(lambda: len(device.attributes("CLIENT_SCOPE")) == 2, "attributes")
    answers = Inbox()
    client.request_attributes(["fw", "unknown"], ["interval"], answers)
    assert answers.take() == ({"client": {"fw": "v1.2"}, "shared": {"interval": 30}}, None)
    client.request_attributes(shared_keys=["mode"], callback=answers)
    assert answers.take() == ({"shared": {"mode": "eco"}}, None)
    client.request_attributes(callback=answers)
    expected = {"client": {"fw": "v1.2", "n": 7}, "shared": {"interval": 30, "mode": "eco"}}
    assert answers.take() == (expected, None)


def test_changes_of_shared_attributes_are_pushed_to_their_subscribers(connect, device):
    client = connect(device.token)
    one, every = Inbox(), Inbox()
    client.subscribe_to_attribute("interval", one)
    client.subscribe_to_all_attributes(every)
    device.set(interval=60, mode="fast")
    assert one.take() == ({"interval": 60, "mode": "fast"}, None)
    assert every.take() == ({"interval": 60, "mode": "fast"}, None)
    device.api.delete(f"/api/plugins/telemetry/{device.id}/SHARED_SCOPE?keys=mode")
    assert every.take() == ({"deleted": ["mode"]}, None)


def test_after_an_unsubscription_only_others_hear(connect, device):
    client = connect(device.token)
    gone, stays = Inbox(), Inbox()
    subscription = client.subscribe_to_attribute("interval", gone)
    client.subscribe_to_attribute("fence", stays)
    client.unsubscribe_from_attribute(subscription)
    device.set(interval=60)
    device.set(fence=1)
    assert stays.take() == ({"fence": 1}, None)
    assert gone._calls.empty()


def test_a_two_way_command_is_answered_by_its_handler(connect, device, ask):
    client = connect(device.token)
    client.set_server_side_rpc_request_handler(
        lambda request, call: client.send_rpc_reply(request, {"id": request, "echo": call})
    )
    answer = ask(device.rpc, "setGpio", {"pin": 7, "on": True})
    assert answer.result() == {"id": "0", "echo": {"method": "setGpio", "params": {"pin": 7, "on": True}}}
    assert device.rpc("again")["id"] == "1", "numbers of a device go on"


def test_a_one_way_command_arrives_without_an_answer(connect, device):
    client = connect(device.token)
    calls = Inbox()
    client.set_server_side_rpc_request_handler(calls)
    assert device.rpc("blink", {"times": 3}, way="oneway") is None
    assert calls.take()[1] == {"method": "blink", "params": {"times": 3}}


def answering(sdk):
    """Answers every command, from the very first on."""
    sdk.set_server_side_rpc_request_handler(lambda request, call: sdk.send_rpc_reply(request, {"did": call["method"]}))


def test_a_persistent_command_waits_for_the_device_and_ends_with_its_answer(connect, device):
    rpc_id = device.persistent("reboot", {"hard": True})
    assert device.command(rpc_id)["status"] == "QUEUED"
    connect(device.token, prepare=answering)
    done = device.until_command(rpc_id, "SUCCESSFUL")
    assert done["response"] == {"did": "reboot"}
    assert done["request"]["body"] == {"method": "reboot", "params": '{"hard":true}'}


def test_the_session_limits_are_told_to_who_asks(connect, device):
    client = connect(device.token)
    assert client.max_payload_size > 8_196, "what the server has told, no longer the default of the SDK"
    answers = Inbox()
    client.send_rpc_call("getSessionLimits", {}, answers)
    limits = answers.take()[1]
    assert limits["maxPayloadSize"] == 65_536 and limits["maxInflightMessages"] == 100
    assert set(limits["rateLimits"]) == {"messages", "telemetryMessages", "telemetryDataPoints"}


def test_a_call_of_the_device_is_answered_or_refused_at_once(connect, device):
    client = connect(device.token)
    answers = Inbox()
    client.send_rpc_call("getCurrentTime", {}, answers)
    assert "error" not in str(answers.take()[1])
    client.send_rpc_call("makeCoffee", {"sugar": 2}, answers)
    assert "makeCoffee" in answers.take()[1]["error"]


def test_a_wrong_token_is_refused_with_its_reason(connect):
    assert connect("nobody-has-this-token").reason == 0x86


def test_mqtt_basic_credentials_open_the_door(connect, api, name):
    value = f'{{"clientId":"{name}","userName":"u-{name}","password":"secret"}}'
    api.post("/api/device-with-credentials", {
        "device": {"name": name, "type": "default"},
        "credentials": {"credentialsType": "MQTT_BASIC", "credentialsValue": value},
    })
    client = connect(f"u-{name}", password="secret", client_id=name)
    client.send_telemetry({"in": 1})
    made = api.by_name(name)
    until(lambda: made.latest("in")["in"] == 1, "telemetry")
    assert connect(f"u-{name}", password="wrong", client_id=name).reason == 0x86


def test_a_new_token_ends_the_session_and_only_the_new_one_is_good(connect, device):
    client = connect(device.token)
    device.api.post("/api/device/credentials", {**device.credentials, "credentialsId": f"{device.token}-new"})
    until(lambda: not client.is_connected(), "end of the connection")
    client.stop()
    assert connect(f"{device.token}-new").reason == 0


def test_a_device_claims_and_its_secret_counts(connect, device, api):
    client = connect(device.token)
    client.claim("open sesame", 60_000)
    # The claim is heard before what the device says after it.
    client.send_telemetry({"after": 1})
    until(lambda: device.latest("after")["after"] == 1, "telemetry after the claim")
    mine, user = api.customer()
    claimed = user.post(f"/api/customer/device/{device.name}/claim", {"secretKey": "open sesame"})
    assert claimed["response"] == "SUCCESS" and claimed["device"]["name"] == device.name
    assert api.get(f"/api/device/{device.id}")["customerId"]["id"] == mine["id"]["id"]


def test_a_wrong_secret_for_a_claim_of_the_sdk_claims_nothing(connect, device, api):
    client = connect(device.token)
    client.claim("open sesame", 60_000)
    client.send_telemetry({"after": 1})
    until(lambda: device.latest("after")["after"] == 1, "telemetry after the claim")
    _, user = api.customer()
    refused = user.post(f"/api/customer/device/{device.name}/claim", {"secretKey": "close sesame"}, 400)
    assert "FAILURE" in str(refused)
    assert api.get(f"/api/device/{device.id}")["customerId"]["id"] == CUSTOMER_NOBODY


def test_a_device_that_is_deleted_is_sent_away(connect, device):
    client = connect(device.token)
    device.api.delete(f"/api/device/{device.id}")
    until(lambda: not client.is_connected(), "end of the connection")
