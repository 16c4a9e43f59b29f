"""Devices that speak HTTP: the token is in the path."""

import hashlib
import json

import pytest
import requests
from client import Client
from plant import HTTP_S, TIMEOUT_S, Api, Plant, until
from thing import ATTRIBUTES, COMMAND

JSON = {"content-type": "application/json"}


@pytest.fixture
def me(plant, device):
    """The HTTP API of one device; paths begin behind its token."""
    return Api(f"{plant.url}/api/v1/{device.token}")


def test_telemetry_in_all_its_forms(me, device):
    assert me.post("/telemetry", {"a": 1}) is None
    me.post("/telemetry", {"ts": 1_760_000_000_000, "values": {"b": "x"}})
    me.post("/telemetry", [{"c": True}, {"d": 1.5}])
    assert device.latest("a", "b", "c", "d") == {"a": 1, "b": "x", "c": True, "d": 1.5}


def test_attributes_are_kept_and_asked_for(me, device):
    device.set(k=1, m=2)
    assert me.post("/attributes", {"fw": "v1", "n": 7}) is None
    assert me.get("/attributes") == {"client": {"fw": "v1", "n": 7}, "shared": {"k": 1, "m": 2}}
    assert me.get("/attributes?clientKeys=fw&sharedKeys=m") == {"client": {"fw": "v1"}, "shared": {"m": 2}}
    assert me.get("/attributes?sharedKeys=none") == {}


def test_changes_of_attributes_are_waited_for(me, device, ask, things):
    waiting = ask(me.get, "/attributes/updates?timeout=20000")
    until_change(device, waiting)
    assert waiting.result() == {"k": 1}
    assert things(device.token).subscribe(ATTRIBUTES, 1) == 1, "a connection beside it is welcome"


def until_change(device, waiting):
    """Writes until the waiting request has heard it: nobody outside can see when it has begun to wait."""
    while not waiting.done():
        device.set(k=1)


@pytest.mark.parametrize("path", ["/attributes/updates", "/rpc"])
def test_a_wait_is_over_when_the_device_is_deleted_or_has_another_token(me, plant, device, ask, name, path):
    path = f"{path}?timeout=300000"
    waiting = ask(lambda: requests.get(me.url + path, timeout=HTTP_S).status_code)
    until(lambda: plant.figure("device_listeners_outside"), "poll")
    device.api.post("/api/device/credentials", {**device.credentials, "credentialsId": name})
    # 401 if it was about to wait just then.
    assert waiting.result(TIMEOUT_S) in (408, 401)
    me.get(path, 401)
    renamed = Api(f"{plant.url}/api/v1/{name}")
    until(lambda: not plant.figure("device_listeners_outside"), "end of the poll")
    waiting = ask(renamed.get, path, 403)
    until(lambda: plant.figure("device_listeners_outside"), "poll")
    device.api.delete(f"/api/device/{device.id}")
    assert waiting.result(TIMEOUT_S) == "Device was deleted!"


def test_a_wait_for_nothing_ends_with_408(me):
    me.get("/attributes/updates?timeout=10", 408)
    me.get("/rpc?timeout=10", 408)


def test_a_command_is_fetched_and_answered(me, device, ask):
    answer = ask(device.rpc, "m", {"a": 1}, timeout=20_000)
    call = me.get("/rpc?timeout=20000")
    assert (call["method"], call["params"]) == ("m", {"a": 1})
    assert me.post(f"/rpc/{call['id']}", {"ok": True}) is None
    assert answer.result() == {"ok": True}


def test_a_call_is_answered(me):
    assert "error" not in str(me.post("/rpc", {"method": "getCurrentTime", "params": {}}))
    assert me.post("/rpc", {"method": "x", "params": {}}) == {"error": "unknown method: x"}


def test_a_claim_is_accepted(me):
    me.post("/claim", {"secretKey": "abc"})
    me.call("POST", "/claim")


def test_firmware_is_fetched_whole_and_in_chunks(plant, api):
    image = bytes(range(256)) * 30
    profile = api.profile()["id"]
    device = api.device(deviceProfileId=profile)
    info = api.package(profile, image)
    path = f"{plant.url}/api/v1/{device.token}/firmware"
    query = {"title": info["title"], "version": info["version"]}
    assert requests.get(path, query, timeout=HTTP_S).status_code == 404, "not assigned"
    device.save(firmwareId=info["id"])
    whole = requests.get(path, query, timeout=HTTP_S)
    assert hashlib.sha256(whole.content).hexdigest() == info["checksum"]
    assert whole.headers["content-disposition"].startswith("attachment") and whole.headers["x-filename"]
    parts = [requests.get(path, {**query, "size": 5_000, "chunk": at}, timeout=HTTP_S).content for at in range(2)]
    assert b"".join(parts) == image
    assert requests.get(path, {**query, "version": "9"}, timeout=HTTP_S).status_code == 400


def test_a_device_is_provisioned(plant, api, name):
    _, key, secret = api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    nobody = Api(f"{plant.url}/api/v1")
    body = {"deviceName": name, "provisionDeviceKey": key, "provisionDeviceSecret": secret}
    made = nobody.post("/provision", body)
    assert (made["status"], made["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
    assert api.by_name(name).token == made["credentialsValue"]
    refused = nobody.post("/provision", {**body, "provisionDeviceSecret": "wrong"})
    assert refused == {"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "telemetry"), ("POST", "attributes"), ("GET", "attributes"), ("GET", "rpc"), ("POST", "rpc"), ("POST", "claim")],
)
def test_an_unknown_token_is_refused(plant, method, path):
    body = '{"method":"m","params":{}}' if method == "POST" else None
    answer = requests.request(method, f"{plant.url}/api/v1/nobody/{path}", data=body, headers=JSON, timeout=HTTP_S)
    assert answer.status_code == 401


def test_what_cannot_be_read_is_refused(me, device):
    me.call("POST", "/telemetry", status=500, data="nonsense{", headers=JSON)
    assert device.latest("nonsense")["nonsense"] is None


def test_a_device_over_http_and_one_over_mqtt_are_the_same(me, device, things):
    thing = things(device.token)
    thing.subscribe(f"{COMMAND}/+", 1)
    me.post("/telemetry", {"over": "http"})
    assert device.latest("over") == {"over": "http"}
    device.rpc("m", way="oneway")
    assert thing.take_command()[1] == "m", "the connection was not taken over"


@pytest.fixture
def plain(plant, name):
    """An application that subscribes to canonical topics and knows nothing of devices."""
    listener = Client(plant.plain, f"listener-{name}")
    listener.connect()
    yield listener
    listener.close()


BATCH = '[{"ts":1760000000000,"values":{"a":1, "b":"x"}}]'


@pytest.mark.parametrize(
    ("way", "kind"), [("device", "telemetry"), ("device", "attributes"), ("rest", "telemetry"), ("ttl", "telemetry")]
)
@pytest.mark.parametrize("keeping", ["HISTORY", "LATEST", "FORWARD"])
def test_what_is_posted_reaches_subscribers_of_canonical_topics(plant, api, plain, name, way, kind, keeping):
    device = api.device(name, deviceProfileId=api.profile(telemetryKeeping=keeping)["id"])
    plain.subscribe(f"thingsboard/+/{name}/{kind}", 1)
    said = BATCH if kind == "telemetry" else '{"fw": "v1"}'
    path = {
        "device": f"{plant.url}/api/v1/{device.token}/{kind}",
        "rest": f"{plant.url}{device.path}/timeseries/ANY",
        "ttl": f"{plant.url}{device.path}/timeseries/ANY/3600",
    }[way]
    for text in (said, '{"last":1}'):
        answer = api.session.post(path, data=text, headers=JSON, timeout=HTTP_S)
        assert (answer.status_code, answer.content) == (200, b"")
    first, last = plain.message(), plain.message()
    assert (first.payload, first.qos, first.retain) == (said.encode(), 1, False), "as it was written, at QoS 1"
    assert last.payload == b'{"last":1}', "and once"
    assert first.topic == last.topic and first.topic.startswith("thingsboard/") and first.topic.endswith(f"/{name}/{kind}")


def test_an_application_that_is_away_gets_what_was_posted_meanwhile(plant, device, me, name):
    listener = Client(plant.plain, f"away-{name}")
    listener.connect(clean=False, SessionExpiryInterval=600)
    listener.subscribe(f"thingsboard/+/{device.name}/telemetry", 1)
    listener.disconnect()
    me.post("/telemetry", {"while": "away"})
    listener.close()
    back = Client(plant.plain, f"away-{name}")
    try:
        back.connect(clean=False, SessionExpiryInterval=600)
        assert json.loads(back.message().payload) == {"while": "away"}
    finally:
        back.close()


def test_what_is_larger_than_a_packet_is_kept_and_not_forwarded(plant, api, device, me, plain):
    plain.subscribe(f"thingsboard/+/{device.name}/telemetry", 1)
    before = unforwarded(plant)
    me.post("/telemetry", {"large": "x" * 70_000})
    me.post("/telemetry", {"small": 1})
    assert json.loads(plain.message().payload) == {"small": 1}
    assert len(device.latest("large")["large"]) == 70_000
    assert unforwarded(plant) == before + 1


def unforwarded(plant):
    return metric(plant, "ringmq_api_unforwarded_total")


def metric(plant, name):
    lines = requests.get(f"{plant.url}/metrics", timeout=HTTP_S).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_many_values_of_one_body_are_all_kept(me, device):
    """More than one core takes at once, and more than is read on the thread of all requests."""
    me.post("/telemetry", [{"ts": 1_000 + at, "values": {"n": at}} for at in range(20_000)])
    assert device.history("n")["n"] == [(1_000 + at, at) for at in range(20_000)]


def test_a_device_that_speaks_http_is_active_and_never_connected(api, me, device):
    me.post("/telemetry", {"a": 1})
    found = device.attributes("SERVER_SCOPE")
    assert found["active"] is True and found["lastActivityTime"] > 0
    assert "lastConnectTime" not in found and "lastDisconnectTime" not in found


@pytest.fixture
def watchful(cores):
    """A plant that minds who guesses."""
    running = Plant(cores)
    text = running.configuration.read_text()
    running.stop()
    running.configuration.write_text(text.replace("[limits]", "[devices]\nfailed_logins_count = true\n\n[limits]\nfailed_logins_per_address_max = 5"))
    running.start()
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


def test_whoever_guesses_tokens_is_shut_out(watchful):
    api = watchful.api()
    device = api.device()
    right, wrong = (Api(f"{watchful.url}/api/v1/{token}") for token in (device.token, "guess"))
    right.post("/telemetry", {"a": 1})
    for _ in range(5):
        wrong.call("POST", "/telemetry", {"a": 1}, status=401)
    for who in (wrong, right):
        answer = who.refusal("POST", "/telemetry", {"a": 1}, 429, 33)
        assert answer == "Too many wrong tokens from this address"
    assert metric(watchful, 'ringmq_api_refused_total{what="guesses"}') == 2
    assert metric(watchful, "ringmq_failed_logins_total") >= 5
    assert device.latest("a") == {"a": 1}, "those who have logged in are served"


def test_whoever_guesses_provision_keys_is_shut_out(watchful):
    _, key, secret = watchful.api().provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    nobody = Api(f"{watchful.url}/api/v1")
    body = {"deviceName": "x", "provisionDeviceKey": key, "provisionDeviceSecret": "wrong"}
    for _ in range(5):
        assert nobody.post("/provision", body)["status"] == "NOT_FOUND"
    nobody.refusal("POST", "/provision", {**body, "provisionDeviceSecret": secret}, 429, 33)
def test_json_as_firmware_writes_it_is_read_as_over_mqtt(plant, api):
    device = api.device()
    answer = requests.post(f"{plant.url}/api/v1/{device.token}/telemetry", data="{t:01;'u':x}", timeout=HTTP_S)
    assert answer.status_code == 200
    assert device.latest("t", "u") == {"t": 1, "u": "x"}


def test_parameters_of_a_command_arrive_as_they_were_spelled(api, things, ask):
    device = api.device()
    thing = things(device.token)
    thing.subscribe("v1/devices/me/rpc/request/+", 1)
    body = b'{"method":"m", "params": {"z": 1e3, "a": 123456789012345678901234567890}}'
    path = f"{api.url}/api/rpc/oneway/{device.id}"
    kind = {"Content-Type": "application/json"}
    asked = ask(api.session.post, path, data=body, headers=kind, timeout=HTTP_S)
    message = thing.message()
    assert message.payload == b'{"method":"m","params":{"z":1e3,"a":123456789012345678901234567890}}'
    assert asked.result().status_code == 200
