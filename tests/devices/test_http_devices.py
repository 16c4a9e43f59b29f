"""Devices that speak HTTP: the token is in the path."""

import hashlib

import pytest
import requests
from plant import HTTP_S, Api
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
