"""The SDK's client for devices that speak HTTP."""

import pytest
from tb_device_http import TBHTTPDevice


@pytest.fixture
def client(plant, device):
    http = TBHTTPDevice(plant.url, device.token)
    assert http.connect()
    yield http
    http.stop_publish_worker()


def test_telemetry_and_attributes_over_http_are_kept(client, device):
    client.send_telemetry({"t": 21.5}, queued=False)
    client.send_attributes({"fw": "v1"})
    assert device.latest("t")["t"] == 21.5
    assert device.attributes("CLIENT_SCOPE") == {"fw": "v1"}


def test_attributes_can_be_asked_for_over_http(client, device):
    device.set(interval=5)
    client.send_attributes({"fw": "v1"})
    assert client.request_attributes(["fw"], ["interval"]) == {"client": {"fw": "v1"}, "shared": {"interval": 5}}


def test_a_call_over_http_is_answered(client):
    assert "error" not in str(client.send_rpc("getCurrentTime"))


def test_a_device_is_provisioned_over_http(plant, api, name):
    _, key, secret = api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    made = TBHTTPDevice.provision(plant.url, name, key, secret)
    token = made["credentialsValue"] if isinstance(made, dict) else made.token
    assert api.by_name(name).token == token
