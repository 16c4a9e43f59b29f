"""ThingsBoard's device API over MQTT as paho-mqtt speaks it, in 3.1.1 and 5.0, against the registry and the store."""

import hashlib
import json

import pytest
from plant import new_name, until
from thing import ATTRIBUTES, CLAIM, COMMAND, REPLY, REQUEST, TELEMETRY, V5, Client, Thing

T0 = 1_760_000_000_123


def code(version, three, five):
    """What paho makes of a CONNACK: it tells 3.x codes as those of 5.0 that mean the same."""
    return five if version == V5 else {0: 0, 2: 0x85, 3: 0x88, 5: 0x87}[three]


# ---- who is let in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "client_id", "three", "five"),
    [
        ("T", None, "", 0, 0),
        ("T", "anything", "anything", 0, 0),
        ("bad", None, "", 5, 0x86),
        ("bad", "bad", "x", 5, 0x86),
        (None, None, "x", 2, 0x85),
        (None, None, "", 5, 0x87),
        ("provision", None, "", 0, 0),
        ("T", None, "provision", 0, 0),
    ],
    ids=["token", "token-and-more", "no-token", "no-login", "only-id", "nothing", "provision", "provision-id"],
)
def test_who_is_let_in(things, device, version, user, password, client_id, three, five):
    user = device.token if user == "T" else user
    thing = things(user, version, password=password, client_id=client_id)
    assert thing.connack.reason == code(version, three, five)
    assert not thing.connack.session_present


def test_one_old_token_locks_nobody_out_who_has_the_same_address(things, device, version):
    for _ in range(40):
        assert things("old", version).connack.reason == code(version, 5, 0x86)
    assert things(device.token, version).connack.reason == 0


@pytest.mark.parametrize(
    ("stored", "login", "is_welcome"),
    [
        ({"clientId": "C"}, {"client_id": "C"}, True),
        ({"clientId": "C"}, {"client_id": "X"}, False),
        ({"userName": "U"}, {"user": "U", "client_id": "any", "password": "any"}, True),
        ({"userName": "U", "password": "P"}, {"user": "U", "password": "P", "client_id": "any"}, True),
        ({"userName": "U", "password": "P"}, {"user": "U", "password": "X"}, False),
        ({"userName": "U", "password": "P"}, {"user": "U"}, False),
        ({"clientId": "C", "userName": "U"}, {"user": "U", "client_id": "C", "password": "any"}, True),
        ({"clientId": "C", "userName": "U"}, {"user": "U", "client_id": "X"}, False),
        ({"clientId": "C", "userName": "U", "password": "P"}, {"user": "U", "client_id": "C", "password": "P"}, True),
        ({"clientId": "C", "userName": "U", "password": "P"}, {"user": "U", "client_id": "C", "password": "X"}, False),
    ],
)
def test_every_form_of_mqtt_basic(api, things, name, version, stored, login, is_welcome):
    def own(value):
        return f"{value}-{name}"

    value = {part: stored[part] if part == "password" else own(stored[part]) for part in stored}
    api.post("/api/device-with-credentials", {
        "device": {"name": name, "type": "default"},
        "credentials": {"credentialsType": "MQTT_BASIC", "credentialsValue": json.dumps(value)},
    })
    login = {part: login[part] if part == "password" else own(login[part]) for part in login}
    thing = things(login.pop("user", None), version, **login)
    assert (thing.connack.reason == 0) == is_welcome


def test_a_second_connection_of_a_device_takes_over(things, device, version):
    first = things(device.token, version)
    second = things(device.token, version)
    assert first.farewell().announced == (version == V5)
    assert second.say(TELEMETRY, {"a": 1}) == 0


def test_a_device_of_another_transport_is_refused(api, things, version):
    profile = api.profile(transport={"type": "COAP"})
    device = api.device(deviceProfileId=profile["id"])
    assert things(device.token, version).connack.reason == code(version, 3, 0x88)


# ---- telemetry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", [TELEMETRY, "v2/t", "v2/t/j"], ids=["v1", "v2", "v2-json"]
)
def test_telemetry_is_acknowledged_when_it_can_be_read(things, device, version, topic):
    thing = things(device.token, version)
    assert thing.say(topic, [{"a": 1}, {"ts": T0, "values": {"b": "x", "c": None}}]) == 0
    assert device.latest("a", "b", "c") == {"a": 1, "b": "x", "c": None}
    assert device.history("b")["b"] == [(T0, "x")]


@pytest.mark.parametrize(
    ("payload", "stored"),
    [
        ("5", 5), ("-7", -7), ("5.0", 5.0), ("1e3", 1000), ("1.5e3", 1500), ("1e-3", 0.001), ("-0.0", 0.0),
        ("9999999.0", 9999999.0), ("10000000.0", 10000000.0), ("1e-17", "0.00000000000000001"),
        ("1e308", "1" + "0" * 308), ("01", 1), ("null", None), ("12345678901.5", 12345678901.5),
        ("0.1234567890123456", 0.1234567890123456), ("0.12345678901234567", "0.12345678901234567"),
        ("9223372036854775807", 9223372036854775807), ("9223372036854775808", "9223372036854775808"),
        ("1e20", "100000000000000000000"), ('"0042"', 42), ('"1.50"', 1.5), ('"2.0"', 2.0), ('".5"', 0.5),
        ('"5."', "5."), ('"1e3"', "1e3"), ('"-5"', -5), ('"+5"', "+5"), ('"--5"', "--5"), ('" 5"', " 5"),
        ('"-"', "-"), ('""', ""), ('"0x1F"', "0x1F"), ('"1,5"', "1,5"), ('"NaN"', "NaN"), ('"true"', "true"),
        ('"00000000000000000000001"', 1), ('"9223372036854775808"', "9223372036854775808"),
        ('"89883030000000000001"', "89883030000000000001"), ('"8944123412341234"', 8944123412341234),
        ("true", True), ("false", False), ('{"a":1}', {"a": 1}), ("[1,2]", [1, 2]),
    ],
)
def test_values_have_the_types_of_the_table(things, device, payload, stored):
    thing = things(device.token)
    assert thing.say(TELEMETRY, f'{{"v":{payload}}}') == 0
    found = device.latest("v")["v"]
    if isinstance(stored, dict | list) and isinstance(found, str):
        found = json.loads(found)
    assert (found, type(found)) == (stored, type(stored))


def test_what_cannot_be_read_is_refused_with_a_reason_or_the_end(things, device, version):
    thing = things(device.token, version)
    if version == V5:
        assert thing.say(TELEMETRY, "nonsense{") == 0x99
        assert thing.say(TELEMETRY, {"a": 1}) == 0, "the connection stays"
    else:
        thing.send(TELEMETRY, "nonsense{", 1)
        thing.farewell()


def test_a_profile_can_ask_for_acknowledgements_of_what_cannot_be_read(api, things, version):
    profile = api.profile(transport={"type": "MQTT", "sendAckOnValidationException": True})
    thing = things(api.device(deviceProfileId=profile["id"]).token, version)
    assert thing.say(TELEMETRY, "nonsense{") == (0x99 if version == V5 else 0)


def test_unknown_topics_are_acknowledged_and_named(things, device, version):
    thing = things(device.token, version)
    assert thing.say("foo/bar", "x") == (0x90 if version == V5 else 0)
    assert thing.say("v1/gateway/telemetry", {"A": [{"t": 1}]}) == (0x90 if version == V5 else 0)


def test_qos_2_is_spoken_to_its_end(things, device, version):
    thing = things(device.token, version)
    assert thing.say(TELEMETRY, {"twice": 1}, qos=2) == 0
    assert device.latest("twice") == {"twice": 1}
    assert len(device.history("twice")["twice"]) == 1


def test_a_profile_may_have_topics_of_its_own(api, things, version):
    profile = api.profile(transport={
        "type": "MQTT", "deviceTelemetryTopic": "meter/+/values", "deviceAttributesTopic": "meter/facts",
        "deviceAttributesSubscribeTopic": "meter/facts",
    })
    device = api.device(deviceProfileId=profile["id"])
    thing = things(device.token, version)
    assert thing.say("meter/7/values", {"kwh": 1.5}) == 0
    assert thing.say("meter/facts", {"serial": "x1"}) == 0
    assert device.latest("kwh") == {"kwh": 1.5}
    assert device.attributes("CLIENT_SCOPE") == {"serial": "x1"}
    assert thing.say(TELEMETRY, {"kwh": 2}) == (0x90 if version == V5 else 0), "no longer a topic of its devices"


def field(number, wire, data):
    return bytes([number << 3 | wire]) + data


def test_a_profile_may_have_a_protobuf_schema(api, things, version):
    schema = 'syntax = "proto3"; package my; message T { optional int32 level = 1; optional string mode = 2; }'
    profile = api.profile(transport={
        "type": "MQTT",
        "transportPayloadTypeConfiguration": {
            "transportPayloadType": "PROTOBUF", "deviceTelemetryProtoSchema": schema,
            "deviceAttributesProtoSchema": schema,
        },
    })
    device = api.device(deviceProfileId=profile["id"])
    thing = things(device.token, version)
    payload = field(1, 0, b"\x2a") + field(2, 2, b"\x03eco")
    assert thing.say(TELEMETRY, payload) == 0
    assert device.latest("level", "mode") == {"level": 42, "mode": "eco"}
    assert thing.say(ATTRIBUTES, payload) == 0
    assert device.attributes("CLIENT_SCOPE") == {"level": 42, "mode": "eco"}
    assert thing.say("v2/t/j", {"level": 43}) == 0, "JSON where the topic says so"
    assert device.latest("level") == {"level": 43}


@pytest.mark.parametrize(("keeping", "latest", "points"), [("HISTORY", 2, 2), ("LATEST", 2, 0), ("FORWARD", None, 0)])
def test_a_profile_says_what_is_kept(api, plant, things, name, keeping, latest, points):
    profile = api.profile(transport={"type": "DEFAULT"}, telemetryKeeping=keeping)
    device = api.device(name, deviceProfileId=profile["id"])
    thing = things(device.token)
    listener = Client(plant.plain, f"listener-{name}")
    try:
        listener.connect()
        listener.subscribe(f"thingsboard/+/{name}/telemetry", 1)
        assert thing.say(TELEMETRY, {"v": 1}) == 0
        assert thing.say(TELEMETRY, {"v": 2}) == 0
        assert [json.loads(listener.message().payload) for _ in range(2)] == [{"v": 1}, {"v": 2}]
    finally:
        listener.close()
    assert device.latest("v") == {"v": latest}
    assert len(device.history("v")["v"]) == points


# ---- attributes ----------------------------------------------------------------------------------------------------


def test_attributes_are_asked_for_without_a_subscription(things, device, version):
    device.set(k=1)
    thing = things(device.token, version)
    assert thing.say(ATTRIBUTES, {"fw": "x"}) == 0
    assert thing.request(42, sharedKeys=["k"]) == {"shared": {"k": 1}}
    assert thing.request(43) == {"client": {"fw": "x"}, "shared": {"k": 1}}
    assert thing.request(44, sharedKeys=["none"]) == {}


def test_answers_have_the_spelling_of_their_question(things, device, version):
    device.set(k=1)
    thing = things(device.token, version)
    for short in ("v2/a/{}/7", "v2/a/{}/j/7"):
        thing.say(short.format("req"), {"sharedKeys": "k"}, qos=0)
        assert thing.hear(short.format("res")) == {"shared": {"k": 1}}


def test_a_number_that_is_none_is_refused(things, device, version):
    thing = things(device.token, version)
    if version == V5:
        assert thing.say(f"{REQUEST}/abc", {}) == 0x99
    else:
        thing.send(f"{REQUEST}/abc", "{}", 1)
        thing.farewell()


@pytest.mark.parametrize("topic", [ATTRIBUTES, "v2/a", "v2/a/j"])
def test_changes_are_pushed_where_they_were_subscribed(things, device, version, topic):
    thing = things(device.token, version)
    assert thing.subscribe(topic, 1) == 1
    device.set(k=1, m="x")
    assert thing.hear(topic) == {"k": 1, "m": "x"}
    device.set(k=1)
    assert thing.hear(topic) == {"k": 1}, "although it has not changed"
    device.set("SERVER_SCOPE", hidden=1)
    device.api.delete(f"/api/plugins/telemetry/{device.id}/SHARED_SCOPE?keys=k")
    assert thing.hear(topic) == {"deleted": ["k"]}
    thing.unsubscribe(topic)
    device.set(k=2)
    assert thing.request(1, sharedKeys=["k"]) == {"shared": {"k": 2}}, "the push would have come before"


def test_what_subscriptions_are_granted(things, device, version):
    thing = things(device.token, version)
    refused = 0x8F if version == V5 else 0x80
    filters = [
        (f"{COMMAND}/+", 2, 1), ("v2/a", 0, 0), ("#", 1, 1), ("v2/fw/response/+", 0, 0), (TELEMETRY, 1, refused),
        ("thingsboard/#", 1, refused), ("$share/g/v2/a", 1, refused), ("$SYS/#", 0, refused),
    ]
    granted = [thing.subscribe(topic_filter, qos) for topic_filter, qos, _ in filters]
    assert granted == [expected for _, _, expected in filters]


def test_a_device_hears_nothing_of_others_whatever_it_subscribes(things, device, api, version):
    thing, other = things(device.token, version), things(api.device().token, version)
    thing.subscribe("#", 1)
    assert other.say(TELEMETRY, {"secret": 1}) == 0
    assert other.say(ATTRIBUTES, {"secret": 1}) == 0
    device.set(fence=1)
    assert thing.hear(ATTRIBUTES) == {"fence": 1}


# ---- commands and calls --------------------------------------------------------------------------------------------


def test_the_first_command_of_a_device_has_number_0(things, device, version, ask):
    thing = things(device.token, version)
    thing.subscribe(f"{COMMAND}/+", 1)
    answer = ask(device.rpc, "setGpio", {"pin": 7})
    assert thing.take_command() == (0, "setGpio", {"pin": 7})
    thing.reply(0, {"ok": True})
    assert answer.result() == {"ok": True}
    assert device.rpc("blink", way="oneway") is None
    assert thing.take_command() == (1, "blink", None)


def test_an_answer_that_is_not_json_is_not_acceptable(things, device, version, ask):
    thing = things(device.token, version)
    thing.subscribe(f"{COMMAND}/+", 1)
    answer = ask(device.rpc, "m", status=406)
    number, _, _ = thing.take_command()
    thing.reply(number, "ok")
    answer.result()


def test_a_command_waits_until_the_device_subscribes(things, device, version, ask):
    thing = things(device.token, version)
    rpc_id = device.persistent("late")
    answer = ask(device.rpc, "now", timeout=20_000)
    thing.subscribe("v2/r/req/+", 1)
    numbers = {}
    for _ in range(2):
        topic, call = thing.hear()
        numbers[call["method"]] = int(topic.removeprefix("v2/r/req/"))
    thing.reply(numbers["late"], {"late": 1})
    thing.reply(numbers["now"], {"now": 1})
    assert answer.result() == {"now": 1}
    assert device.until_command(rpc_id, "SUCCESSFUL")["response"] == {"late": 1}


def test_calls_of_a_device_are_answered_at_once(things, device, version):
    thing = things(device.token, version)
    thing.say(f"{COMMAND}/1", {"method": "getSessionLimits", "params": {}})
    limits = thing.hear(f"{REPLY}/1")
    assert limits == {
        "maxPayloadSize": 65_536, "maxInflightMessages": 100,
        "rateLimits": {"messages": None, "telemetryMessages": None, "telemetryDataPoints": None},
    }
    thing.say("v2/r/req/2", {"method": "getCurrentTime"})
    assert thing.hear("v2/r/res/2")["time"] > T0
    thing.say(f"{COMMAND}/3", {"method": "x"})
    assert thing.hear(f"{REPLY}/3") == {"error": "unknown method: x"}


def test_a_new_token_ends_the_session(things, device, version):
    thing = things(device.token, version)
    device.api.post("/api/device/credentials", {**device.credentials, "credentialsId": new_name("token")})
    assert thing.farewell().announced == (version == V5)
    assert things(device.token, version).connack.reason != 0


def test_a_device_that_is_deleted_is_sent_away_and_unknown(things, device, version):
    thing = things(device.token, version)
    device.api.delete(f"/api/device/{device.id}")
    assert thing.farewell().announced == (version == V5)
    assert things(device.token, version).connack.reason != 0


def test_presence_is_told_as_attributes(things, device, version):
    assert device.attributes("SERVER_SCOPE")["active"] is False
    thing = things(device.token, version)
    assert thing.say(TELEMETRY, {"a": 1}) == 0
    found = until(lambda: (now := device.attributes("SERVER_SCOPE")) and now["active"] and now, "active device")
    assert found["lastConnectTime"] > T0 and found["lastActivityTime"] > T0
    thing.disconnect()
    until(lambda: device.attributes("SERVER_SCOPE").get("lastDisconnectTime", 0) > T0, "lastDisconnectTime")


# ---- claims and provisioning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["", '{"secretKey":"abc","durationMs":60000}'], ids=["empty", "secret"])
def test_a_claim_is_acknowledged(things, device, version, payload):
    assert things(device.token, version).say(CLAIM, payload) == 0


PROVISION = "/provision/request"
PROVISIONED = "/provision/response"


@pytest.fixture
def applicant(things, version):
    """Somebody who wants credentials."""
    return things("provision", version)


def provision(applicant, key, secret, **fields):
    applicant.say(PROVISION, {"provisionDeviceKey": key, "provisionDeviceSecret": secret, **fields})
    return applicant.hear(PROVISIONED)


def test_the_three_credentials_of_provisioning(applicant, api, name, authority):
    _, key, secret = api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    assert applicant.subscribe(PROVISIONED, 1) == 1
    token = provision(applicant, key, secret, deviceName=f"{name}-a", token=f"mine-{name}")
    assert token == {"credentialsValue": f"mine-{name}", "credentialsType": "ACCESS_TOKEN", "status": "SUCCESS"}
    login = {"clientId": f"c-{name}", "username": f"u-{name}", "password": "p"}
    basic = provision(applicant, key, secret, deviceName=f"{name}-b", credentialsType="MQTT_BASIC", **login)
    assert basic["credentialsValue"] == {"clientId": f"c-{name}", "userName": f"u-{name}", "password": "p"}
    certificate = authority.sign(name, usage="clientAuth")[0].read_text()
    x509 = provision(
        applicant, key, secret, deviceName=f"{name}-c", credentialsType="X509_CERTIFICATE", hash=certificate
    )
    assert (x509["credentialsType"], x509["status"]) == ("X509_CERTIFICATE", "SUCCESS")
    made = provision(applicant, key, secret)
    assert len(made["credentialsValue"]) == 20, "a name and a token are made up"


def test_refusals_of_provisioning(applicant, api, device):
    _, key, secret = api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    refused = {"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}
    assert provision(applicant, key, "wrong") == refused
    assert provision(applicant, "wrong", secret) == refused
    failed = {"errorMsg": "Failed to provision device!", "status": "FAILURE"}
    assert provision(applicant, key, secret, deviceName=device.name) == failed
    assert provision(applicant, key, secret, deviceName=new_name(), token=device.token) == failed, "not its own"


def test_without_a_secret_provisioning_ends(applicant, version):
    sent = applicant.send(PROVISION, '{"provisionDeviceKey":"k"}', 1)
    assert applicant.published(sent) == (0x83 if version == V5 else 0)
    applicant.farewell()


# ---- firmware ------------------------------------------------------------------------------------------------------


IMAGE = bytes(range(256)) * 40


@pytest.fixture
def updating(api):
    """A device and the info of the package that it is to install."""
    profile = api.profile()["id"]
    device = api.device(deviceProfileId=profile)
    info = api.package(profile, IMAGE)
    return device, info


@pytest.mark.parametrize("kind", ["fw", "sw"])
def test_an_image_comes_in_chunks_and_ends_with_an_empty_one(api, things, version, kind):
    profile = api.profile()["id"]
    device = api.device(deviceProfileId=profile)
    word = {"fw": "FIRMWARE", "sw": "SOFTWARE"}[kind]
    info = api.package(profile, IMAGE, word)
    device.save(**{f"{word.lower()}Id": info["id"]})
    thing = things(device.token, version)
    parts, number = [], 0
    while not parts or parts[-1]:
        assert thing.say(f"v2/{kind}/request/9/chunk/{number}", "4000" if number == 0 else "") == 0
        message = thing.message()
        assert message.topic == f"v2/{kind}/response/9/chunk/{number}"
        parts.append(message.payload)
        number += 1
    assert [len(part) for part in parts] == [4000, 4000, 2240, 0]
    assert b"".join(parts) == IMAGE


def test_without_a_size_the_whole_image_comes(things, updating, version):
    device, info = updating
    device.save(firmwareId=info["id"])
    thing = things(device.token, version)
    thing.say("v2/fw/request/1/chunk/0", "")
    thing.expect("v2/fw/response/1/chunk/0", IMAGE)


def test_a_large_image_comes_whole_and_the_connection_stays(api, things, version):
    image = IMAGE * 2_048
    assert len(image) == 20 << 20, "more than may wait for a connection that is silent about it"
    profile = api.profile()["id"]
    device = api.device(deviceProfileId=profile)
    device.save(firmwareId=api.package(profile, image)["id"])
    thing = things(device.token, version)
    thing.send("v2/fw/request/1/chunk/0", "", 1)
    assert thing.say(TELEMETRY, {"a": 1}) == 0, "it speaks while the image is on its way"
    message = thing.message()
    assert message.topic == "v2/fw/response/1/chunk/0"
    assert message.payload == image
    assert thing.say(TELEMETRY, {"a": 2}) == 0, "the connection stays"
    assert device.latest("a") == {"a": 2}


def test_an_assignment_sets_attributes_and_is_pushed(things, updating, version):
    device, info = updating
    thing = things(device.token, version)
    thing.subscribe(ATTRIBUTES, 1)
    device.save(firmwareId=info["id"])
    heard = {}
    until(lambda: heard.update(thing.hear(ATTRIBUTES)) or "fw_checksum" in heard, "attributes of the package")
    assert (heard["fw_title"], heard["fw_version"]) == (info["title"], "1.1")
    assert (heard["fw_size"], heard["fw_checksum_algorithm"]) == (len(IMAGE), "SHA256")
    assert heard["fw_checksum"] == hashlib.sha256(IMAGE).hexdigest()
    device.save(firmwareId=None)
    gone = set()
    until(lambda: gone.update(thing.hear(ATTRIBUTES).get("deleted", [])) or "fw_checksum" in gone, "deletions")


def test_where_nothing_is_assigned_an_error_is_told_and_the_connection_stays(things, device, version):
    thing = things(device.token, version)
    thing.send("v2/fw/request/1/chunk/0", "4", 0)
    thing.expect("v2/fw/error", "NOT_FOUND")
    assert thing.say(TELEMETRY, {"a": 1}) == 0


# ---- gateways ------------------------------------------------------------------------------------------------------


def test_children_are_made_by_their_first_telemetry(things, gateway, api, name, version):
    thing = things(gateway.token, version)
    assert thing.say("v1/gateway/telemetry", {name: [{"t": 1}, {"ts": T0, "values": {"u": 2}}], f"{name}-b": 5}) == 0
    child = api.by_name(name)
    assert child.found["type"] == "default"
    assert child.latest("t", "u") == {"t": 1, "u": 2}
    assert child.found["additionalInfo"]["lastConnectedGateway"] == gateway.id


def test_a_gateways_wrong_message_ends_it_as_the_table_says(things, gateway, name, version):
    thing = things(gateway.token, version)
    sent = thing.send("v1/gateway/telemetry", json.dumps({name: {"t": 1}}), 1)
    assert thing.published(sent) == (0x83 if version == V5 else 0)
    thing.farewell()


def test_a_gateway_speaks_for_its_children(things, gateway, api, name, version, ask):
    thing = things(gateway.token, version)
    assert thing.say("v1/gateway/connect", {"device": name, "type": f"thermo-{name}"}) == 0
    child = api.by_name(name)
    assert child.found["type"] == f"thermo-{name}"
    child.set(k=60)
    assert thing.hear("v1/gateway/attributes") == {"device": name, "data": {"k": 60}}
    thing.say("v1/gateway/attributes/request", {"id": 1, "device": name, "client": False, "keys": ["k"]}, qos=0)
    assert thing.hear("v1/gateway/attributes/response") == {"id": 1, "device": name, "value": 60}
    answer = ask(child.rpc, "reboot", {"in": 5})
    call = thing.hear("v1/gateway/rpc")
    assert call == {"device": name, "data": {"id": 0, "method": "reboot", "params": {"in": 5}}}
    assert thing.say("v1/gateway/rpc", {"device": name, "id": 0, "data": {"ok": True}}) == 0
    assert answer.result() == {"ok": True}


def test_many_children_of_all_cores_in_one_message(things, gateway, api, name):
    thing = things(gateway.token)
    children = {f"{name}-{at}": [{"v": at}] for at in range(100)}
    assert thing.say("v1/gateway/telemetry", children) == 0
    for child, samples in children.items():
        assert api.by_name(child).latest("v") == samples[0], "acknowledged is stored, wherever its home is"


def test_the_deletion_of_a_child_is_told_when_the_gateway_subscribes(things, gateway, api, name, version):
    thing = things(gateway.token, version)
    assert thing.say("v1/gateway/connect", {"device": name}) == 0
    api.delete(f"/api/device/{api.by_name(name).id}")
    thing.subscribe(f"{COMMAND}/+", 1)
    assert thing.take_command()[1:] == ("gateway_device_deleted", name)


# ---- across dialects -----------------------------------------------------------------------------------------------


def test_what_devices_say_is_heard_on_canonical_topics(plant, things, device, gateway, name, version):
    listener = Client(plant.plain, f"listener-{name}", version)
    try:
        listener.connect()
        assert listener.subscribe("thingsboard/#", 1) == 1
        thing, box = things(device.token, version), things(gateway.token, version)
        assert thing.say(TELEMETRY, '{"t": 21.50}') == 0
        root = until_topic(listener, f"/{device.name}/telemetry", b'{"t": 21.50}').rpartition(f"/{device.name}")[0]
        assert thing.say(ATTRIBUTES, {"fw": "x"}) == 0
        until_topic(listener, f"{root}/{device.name}/attributes", b'{"fw": "x"}')
        assert box.say("v1/gateway/telemetry", {name: [{"t": 1}]}) == 0
        until_topic(listener, f"{root}/{name}/telemetry", None)
    finally:
        listener.close()


def until_topic(listener, end, payload):
    """The topic of the first message whose topic ends so; other tests' devices are heard, too."""
    while True:
        message = listener.message()
        if message.topic.endswith(end):
            assert payload is None or message.payload == payload
            return message.topic


def test_a_plain_listener_is_not_the_way_to_a_device(plant, things, device, name, version):
    thing = things(device.token, version)
    thing.subscribe("#", 1)
    stranger = Thing(plant.plain, version, None, client_id=f"stranger-{name}")
    try:
        for topic in (ATTRIBUTES, f"{COMMAND}/1", "v2/a"):
            assert stranger.say(topic, {"evil": 1}) in (0, 0x10)
        device.set(fence=1)
        assert thing.hear(ATTRIBUTES) == {"fence": 1}
    finally:
        stranger.close()
