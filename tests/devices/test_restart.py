"""What survives when the broker ends, in an orderly way or killed, in the middle of commands, downloads and gateways."""

import pytest
import requests
from plant import HTTP_S, Api, Plant, new_name, until
from thing import ATTRIBUTES, CLAIM, COMMAND, TELEMETRY, V5, Thing

T0 = 1_760_000_000_123
IMAGE = bytes(range(256)) * 40


class House:
    """A plant of this test's own, and how it goes down."""

    def __init__(self, cores, how):
        self.plant = Plant(cores)
        self.how = how
        self.api = self.plant.api()
        self.things = []

    def connect(self, device, version=V5, **login):
        self.things.append(Thing(self.plant.devices, version, device.token, **login))
        assert self.things[-1].connack.reason == 0
        return self.things[-1]

    def restart(self):
        """Ends the broker and starts it again; all connections are gone."""
        if self.how == "term":
            assert self.plant.stop() == 0
        else:
            self.plant.kill()
        for thing in self.things:
            thing.farewell()
        self.things.clear()
        self.plant.start()
        # Tokens may end with the process that has given them.
        self.api.login(*self.plant.password())

    def close(self):
        for thing in self.things:
            thing.close()
        self.plant.close()


@pytest.fixture(params=["term", "kill"])
def house(cores, request):
    made = House(cores, request.param)
    yield made
    made.close()


def test_devices_their_credentials_and_what_they_said_are_there_again(house):
    api = house.api
    device = api.device(new_name())
    thing = house.connect(device)
    points = [{"ts": T0 + at, "values": {"n": at, "text": f"x{at}"}} for at in range(300)]
    assert thing.say(TELEMETRY, points) == 0
    assert thing.say(ATTRIBUTES, {"fw": "v1.2", "map": {"a": [1]}}) == 0
    device.set(interval=30, mode="eco")
    device.set("SERVER_SCOPE", site="north")
    before = api.get(f"/api/device/{device.id}")
    house.restart()
    assert api.get(f"/api/device/{device.id}") == before
    assert device.history("n")["n"] == [(T0 + at, at) for at in range(300)]
    assert device.latest("n", "text") == {"n": 299, "text": "x299"}
    thing = house.connect(device)
    expected = {"client": {"fw": "v1.2", "map": {"a": [1]}}, "shared": {"interval": 30, "mode": "eco"}}
    assert thing.request(1) == expected
    assert device.attributes("SERVER_SCOPE", "site") == {"site": "north"}


def test_deleted_is_deleted(house):
    device, gone = house.api.device(), house.api.device()
    device.set(a=1, b=2)
    house.connect(device).say(TELEMETRY, {"t": 1, "u": 2})
    house.api.delete(f"/api/plugins/telemetry/{device.id}/SHARED_SCOPE?keys=a")
    house.api.delete(f"{device.path}/timeseries/delete?keys=t&deleteAllDataForKeys=true")
    house.api.delete(f"/api/device/{gone.id}")
    house.restart()
    assert device.attributes("SHARED_SCOPE") == {"b": 2}
    assert device.latest("t", "u") == {"t": None, "u": 2}
    house.api.refusal("GET", f"/api/device/{gone.id}", status=404)


@pytest.mark.parametrize("state", ["queued", "sent", "delivered"])
def test_a_command_that_is_kept_is_delivered_after_a_restart(house, state):
    device = house.api.device()
    if state == "queued":
        rpc_id = device.persistent("m", {"a": 1})
    else:
        thing = house.connect(device, manual_ack=state == "sent")
        thing.subscribe(f"{COMMAND}/+", 1)
        rpc_id = device.persistent("m", {"a": 1})
        thing.take_command()
        if state == "delivered":
            device.until_command(rpc_id, "DELIVERED")
    house.restart()
    assert device.command(rpc_id)["status"] in ("QUEUED", "SENT", "DELIVERED")
    thing = house.connect(device)
    thing.subscribe(f"{COMMAND}/+", 1)
    if state == "delivered":
        # It has been acknowledged, so it is not sent again; its answer is still welcome.
        number = 0
    else:
        number, method, params = thing.take_command()
        assert (method, params) == ("m", {"a": 1})
    thing.reply(number, {"ok": True})
    assert device.until_command(rpc_id, "SUCCESSFUL")["response"] == {"ok": True}


def test_results_of_commands_are_remembered(house):
    device = house.api.device()
    thing = house.connect(device)
    thing.subscribe(f"{COMMAND}/+", 1)
    rpc_id = device.persistent("m")
    thing.reply(thing.take_command()[0], {"ok": True})
    done = device.until_command(rpc_id, "SUCCESSFUL")
    house.restart()
    assert device.command(rpc_id) == done


def test_a_download_goes_on_after_a_restart(house):
    profile = house.api.profile()["id"]
    device = house.api.device(deviceProfileId=profile)
    info = house.api.package(profile, IMAGE)
    device.save(firmwareId=info["id"])
    parts = []
    thing = house.connect(device)
    for number in range(3):
        if number == 1:
            house.restart()
            thing = house.connect(device)
            assert thing.request(1, sharedKeys=["fw_checksum"]) == {"shared": {"fw_checksum": info["checksum"]}}
        assert thing.say(f"v2/fw/request/1/chunk/{number}", "4000") == 0
        parts.append(thing.message().payload)
    assert b"".join(parts) == IMAGE


def test_children_of_a_gateway_are_there_again_and_hear_again(house):
    gateway = house.api.gateway()
    name = new_name()
    thing = house.connect(gateway)
    assert thing.say("v1/gateway/connect", {"device": name, "type": "thermo"}) == 0
    assert thing.say("v1/gateway/attributes", {name: {"fw": "v1"}}) == 0
    assert thing.say("v1/gateway/telemetry", {name: [{"ts": T0, "values": {"t": 1}}]}) == 0
    child = house.api.by_name(name)
    rpc_id = child.persistent("m")
    assert thing.hear("v1/gateway/rpc")["data"]["method"] == "m"
    house.restart()
    assert house.api.by_name(name).id == child.id
    assert (child.found["type"], child.latest("t"), child.attributes("CLIENT_SCOPE")) == ("thermo", {"t": 1}, {"fw": "v1"})
    # Whether the acknowledgement of the command was on the disk when the broker was killed is nobody's promise.
    is_delivered = child.command(rpc_id)["status"] == "DELIVERED"
    thing = house.connect(gateway)
    assert thing.say("v1/gateway/connect", {"device": name}) == 0
    if not is_delivered:
        assert thing.hear("v1/gateway/rpc")["data"]["method"] == "m"
    child.set(k=1)
    assert thing.hear("v1/gateway/attributes") == {"device": name, "data": {"k": 1}}
    assert thing.say("v1/gateway/rpc", {"device": name, "id": 0, "data": {"ok": True}}) == 0
    child.until_command(rpc_id, "SUCCESSFUL")


def test_a_device_that_was_provisioned_stays_so(house):
    _, key, secret = house.api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")
    applicant = Thing(house.plant.devices, V5, "provision")
    house.things.append(applicant)
    name = new_name()
    body = {"deviceName": name, "provisionDeviceKey": key, "provisionDeviceSecret": secret}
    applicant.say("/provision/request", body)
    token = applicant.hear("/provision/response")["credentialsValue"]
    house.restart()
    device = house.api.by_name(name)
    assert device.token == token
    assert house.connect(device).say(TELEMETRY, {"a": 1}) == 0


def test_cores_may_change_and_devices_move_with_them(house):
    devices = [house.api.device() for _ in range(20)]
    for at, device in enumerate(devices):
        house.connect(device).say(TELEMETRY, {"ts": T0, "values": {"n": at}})
        device.set(k=at)
    text = house.plant.configuration.read_text()
    house.plant.configuration.write_text(
        text.replace('cores = "1"', 'cores = "TWO"').replace('cores = "2"', 'cores = "1"').replace("TWO", "2")
    )
    house.restart()
    for at, device in enumerate(devices):
        assert (device.latest("n"), device.attributes("SHARED_SCOPE")) == ({"n": at}, {"k": at})
        assert house.connect(device).request(1) == {"shared": {"k": at}}


def test_who_has_spoken_is_active_and_was_heard_when_it_was_heard(house):
    api = house.api
    on_mqtt, over_http = api.device(), api.device()
    me = Api(f"{house.plant.url}/api/v1/{over_http.token}")
    thing = house.connect(on_mqtt)
    for at in range(3):
        assert thing.say(TELEMETRY, {"n": at}) == 0
        me.post("/telemetry", {"n": at})
    before = [presence(device) for device in (on_mqtt, over_http)]
    house.restart()
    for device, was in zip((on_mqtt, over_http), before):
        found = presence(device)
        assert (was["active"], found["active"], found["inactivityAlarmTime"]) == (True, True, 0)
        # After a kill the last word may be missing that came too soon behind one that was kept: within half of the silence.
        lag_ms = was["lastActivityTime"] - found["lastActivityTime"]
        assert 0 <= lag_ms <= (0 if house.how == "term" else 300_000)


def presence(device):
    return device.attributes("SERVER_SCOPE", "active", "lastActivityTime", "inactivityAlarmTime")


def test_a_claim_waits_over_a_restart(house):
    device = house.api.device()
    assert house.connect(device).say(CLAIM, {"secretKey": "abc", "durationMs": 3_600_000}) == 0
    customer = house.api.customer()[1]
    house.restart()
    claimed = customer.post(f"/api/customer/device/{device.name}/claim", {"secretKey": "abc"})
    assert claimed["response"] == "SUCCESS"


def test_a_rollout_that_was_cut_off_reaches_all_devices_and_none_of_them_twice(house):
    """A package of a profile is told to its devices after the answer; whether the restart comes before the first of them, in
    the middle or behind the last is chance, and must make no difference."""
    api = house.api
    profile = api.profile()
    devices = [api.device(deviceProfileId=profile["id"]) for _ in range(150)]
    info = api.package(profile["id"], IMAGE)
    own = api.package(profile["id"], IMAGE, version="own")
    devices[0].save(firmwareId=own["id"])
    saved = api.post("/api/deviceProfile", {**profile, "firmwareId": info["id"]})
    house.restart()
    assert api.get(f"/api/deviceProfile/{profile['id']['id']}")["firmwareId"] == info["id"]
    versions = [until_told(device) for device in devices]
    assert versions == ["own"] + ["1.1"] * 149
    until(lambda: metric(house.plant, "ringmq_rollouts_waiting") == 0, "end of the rollout")
    told = [len(device.history("target_fw_version")["target_fw_version"]) for device in devices]
    assert told == [1] * 150, "each of them once"
    house.restart()
    assert metric(house.plant, "ringmq_rollout_devices_total") == 0, "what is done is not begun again"
    api.post("/api/deviceProfile", {**saved, "firmwareId": None, "version": None})
    house.restart()
    for device in devices[1:]:
        until(lambda device=device: "fw_version" not in device.attributes("SHARED_SCOPE"), "withdrawal")
    assert devices[0].attributes("SHARED_SCOPE", "fw_version") == {"fw_version": "own"}


def until_told(device):
    return until(lambda: device.attributes("SHARED_SCOPE", "fw_version"), "package")["fw_version"]


def metric(plant, name):
    lines = requests.get(f"{plant.url}/metrics", timeout=HTTP_S).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def test_versions_and_times_of_records_outlive_a_restart(house):
    api = house.api
    profile = api.profile()
    profile = api.post("/api/deviceProfile", {**profile, "description": "d"})
    device = api.device(deviceProfileId=profile["id"])
    device.save(label="x")
    info = api.package(profile["id"], IMAGE)
    paths = [
        f"/api/deviceProfile/{profile['id']['id']}", f"/api/device/{device.id}", f"/api/device/{device.id}/credentials",
        f"/api/otaPackage/{info['id']['id']}",
    ]
    before = [api.get(path) for path in paths]
    assert [one["version"] for one in before[:3]] == [2, 2, 1]
    assert all(one["createdTime"] > T0 for one in before)
    house.restart()
    assert [api.get(path) for path in paths] == before


def test_what_a_record_was_sent_with_is_there_again(house):
    api = house.api
    about = {"description": "x", "additionalInfo": {"description": "y", "n": 1}}
    profile = api.profile(transport={"type": "LWM2M"}, profileData={"alarms": [{"id": "a"}]}, **about)
    customer = api.post("/api/customer", {"title": new_name(), "city": "Bonn", **about})
    user = api.post("/api/user", {
        "email": f"{new_name()}@example.org", "authority": "TENANT_ADMIN", "firstName": "Ann", "phone": "+1", **about,
    })
    package = api.package(api.profile()["id"], IMAGE, additionalInfo=about["additionalInfo"])
    assert (package["fileName"], package["contentType"]) == ("image.bin", "application/octet-stream")
    paths = {
        f"/api/deviceProfile/{profile['id']['id']}": profile,
        f"/api/customer/{customer['id']['id']}": customer,
        f"/api/user/{user['id']['id']}": user,
        f"/api/otaPackage/{package['id']['id']}": package,
    }
    assert (profile["description"], profile["transportType"]) == ("x", "LWM2M")
    assert customer["city"] == "Bonn" and user["phone"] == "+1"
    before = {path: api.get(path) for path in paths}
    assert before == paths
    house.restart()
    assert {path: api.get(path) for path in paths} == before
