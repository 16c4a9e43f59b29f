"""Firmware that ThingsBoard's SDK downloads and checks, whole and in chunks."""

import random

import pytest
from plant import until
from sdk_client import Inbox

IMAGE = random.Random(7).randbytes(150_000)


def states(device):
    return [value for _, value in device.history("fw_state")["fw_state"]]


@pytest.fixture
def new_profile(api):
    """A profile of its own, so that packages belong to the test."""
    return api.profile()


def updated(connect, device, info, chunk_size):
    """What the SDK hands over after it has downloaded and checked `info`."""
    client = connect(device.token, chunk_size=chunk_size)
    received = Inbox()
    client.set_on_firmware_received_callback(received)
    client.get_firmware_update()
    _, data, version = received.take("firmware", 30)
    assert version == info["version"]
    until(lambda: device.latest("fw_state")["fw_state"] == "VERIFIED", "report of the device")
    return data


@pytest.mark.parametrize("chunk_size", [0, 4_096, 65_536], ids=["whole", "chunks", "largest-chunks"])
def test_the_firmware_of_a_device_arrives_as_it_was_uploaded(connect, api, new_profile, chunk_size):
    device = api.device(deviceProfileId=new_profile["id"])
    info = api.package(new_profile["id"], IMAGE)
    device.save(firmwareId=info["id"])
    assert updated(connect, device, info, chunk_size) == IMAGE


# The SDK drops zeros at the beginning of the short sums, so it would refuse one image in 256 whatever the server says. The
# sums of this one begin with none.
@pytest.mark.parametrize(
    "algorithm", ["MD5", "SHA256", "SHA384", "SHA512", "CRC32", "MURMUR3_32", "MURMUR3_128"]
)
def test_the_sdk_agrees_with_every_checksum(connect, api, new_profile, algorithm):
    device = api.device(deviceProfileId=new_profile["id"])
    info = api.package(new_profile["id"], IMAGE[:20_000], algorithm=algorithm)
    device.save(firmwareId=info["id"])
    assert updated(connect, device, info, 4_096) == IMAGE[:20_000]


def test_the_firmware_of_a_profile_is_that_of_its_devices(connect, api, new_profile):
    device = api.device(deviceProfileId=new_profile["id"])
    info = api.package(new_profile["id"], IMAGE[:9_000])
    api.post("/api/deviceProfile", {**new_profile, "firmwareId": info["id"]})
    assert updated(connect, device, info, 4_000) == IMAGE[:9_000]


def test_an_assignment_reaches_a_device_that_is_connected(connect, api, new_profile):
    device = api.device(deviceProfileId=new_profile["id"])
    info = api.package(new_profile["id"], IMAGE[:9_000])
    client = connect(device.token, chunk_size=4_000)
    received = Inbox()
    client.set_on_firmware_received_callback(received)
    device.save(firmwareId=info["id"])
    assert received.take("firmware", 30)[1] == IMAGE[:9_000]
    assert device.latest("target_fw_version")["target_fw_version"] == "1.1"
    assert {"QUEUED", "INITIATED", "DOWNLOADING", "DOWNLOADED", "VERIFIED"} <= set(states(device))
