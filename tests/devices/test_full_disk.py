"""A disk without space: what would have to be kept is refused at once and by name, the rest goes on."""

import os
import shutil
import subprocess
import time

import pytest
import requests
from plant import HTTP_S, Api, Plant, new_name, until

DISK_BYTES = 64 << 20
RESERVE_BYTES = 8 << 20
FULL = "The disk is full: nothing new is kept until there is space, and nothing was changed"
# What is refused at once takes no time that anybody waits for; what waits for the disk takes ten seconds.
AT_ONCE_S = 5


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def small(disk, cores):
    """A plant whose data are on it."""
    running = Plant(cores, data=disk / "data", store=f"reserve_bytes = {RESERVE_BYTES}")
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


def fill(disk):
    """Leaves less than the broker wants to have, and returns what to remove to have it back."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - RESERVE_BYTES // 2)
    return ballast


def test_what_would_have_to_be_kept_is_refused_at_once(small, disk):
    api = small.api()
    profile = api.profile()
    device, other = api.device(deviceProfileId=profile["id"]), api.device()
    device.set(k=1)
    me = Api(f"{small.url}/api/v1/{device.token}")
    me.post("/telemetry", {"t": 1})
    ballast = fill(disk)
    # The watch looks when something is written, or wants to be.
    until(lambda: requests.post(f"{me.url}/telemetry", json={"t": 1}, timeout=HTTP_S).status_code == 507, "refusal")
    refused = [
        (me, "/telemetry", {"t": 2}),
        (me, "/attributes", {"a": 2}),
        (api, "/api/device", {"name": new_name()}),
        (api, "/api/device", {**device.found, "label": "x"}),
        (api, "/api/deviceProfile", {**profile, "description": "x"}),
        (api, f"{device.path}/timeseries/ANY", {"t": 2}),
        (api, f"/api/plugins/telemetry/{device.id}/SHARED_SCOPE", {"k": 2}),
        (api, f"/api/rpc/oneway/{device.id}", {"method": "m", "params": {}, "persistent": True}),
        (api, "/api/customer", {"title": new_name()}),
    ]
    began = time.monotonic()
    for who, path, body in refused:
        assert who.refusal("POST", path, body, 507, 46) == FULL, path
    assert time.monotonic() - began < AT_ONCE_S
    # What is kept can be read, and taken away.
    assert (device.latest("t"), device.attributes("SHARED_SCOPE")) == ({"t": 1}, {"k": 1})
    api.delete(f"/api/device/{other.id}")
    api.refusal("GET", f"/api/device/{other.id}", status=404)
    metrics = requests.get(f"{small.url}/metrics", timeout=HTTP_S).text
    counted = [line for line in metrics.splitlines() if line.startswith('ringmq_api_refused_total{what="full"}')]
    assert float(counted[0].split()[1]) >= len(refused)
    ballast.unlink()
    until(lambda: requests.post(f"{me.url}/telemetry", json={"t": 3}, timeout=HTTP_S).status_code == 200, "space again")
    assert device.latest("t") == {"t": 3}
    assert device.save(label="x")["label"] == "x"
