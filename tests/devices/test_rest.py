"""The HTTP API of devices as Python's `requests` speaks it: every row of its table, by number, with status and body."""

import hashlib
import json
import statistics
import uuid

import pytest
import requests
from plant import CUSTOMER_NOBODY, HTTP_S, Api, new_name, until
from thing import ATTRIBUTES, CLAIM, COMMAND, TELEMETRY

T0 = 1_760_000_000_000
UNKNOWN = "784f394c-42b6-435a-983c-b7beff2784f9"


def identity(found, kind):
    """The id of an entity, whose form is looked at."""
    assert found["entityType"] == kind
    return str(uuid.UUID(found["id"]))


# ---- 1, 2: logging in ----------------------------------------------------------------------------------------------


def test_01_a_login_gives_two_tokens(plant):
    user, password = plant.password()
    pair = Api(plant.url).post("/api/auth/login", {"username": user, "password": password})
    assert list(pair) == ["token", "refreshToken"] and pair["token"].count(".") == 2


def test_01_a_wrong_password_is_refused(plant):
    message = Api(plant.url).refusal(
        "POST", "/api/auth/login", {"username": plant.password()[0], "password": "wrong"}, 401, 10
    )
    assert message == "Invalid username or password"


def test_01_without_a_token_nothing_is_told(plant, device):
    nobody = Api(plant.url)
    nobody.refusal("GET", f"/api/device/{device.id}", status=401, code=10)
    nobody.session.headers["X-Authorization"] = "Bearer nonsense"
    nobody.refusal("GET", f"/api/device/{device.id}", status=401)


def test_01_a_token_may_stand_in_either_header(plant, api, device):
    other = Api(plant.url)
    other.session.headers["Authorization"] = f"Bearer {api.pair['token']}"
    assert other.get(f"/api/device/{device.id}")["name"] == device.name


def test_01_tokens_are_refreshed(plant, api):
    other = Api(plant.url)
    pair = other.post("/api/auth/token", {"refreshToken": api.pair["refreshToken"]})
    other.session.headers["X-Authorization"] = f"Bearer {pair['token']}"
    assert other.get("/api/auth/user")["authority"] == "TENANT_ADMIN"


def test_01_a_logout_is_accepted(plant):
    plant.api().post("/api/auth/logout")


def test_02_who_am_i(api, plant):
    user = api.get("/api/auth/user")
    assert (user["email"], user["authority"]) == (plant.password()[0], "TENANT_ADMIN")
    identity(user["id"], "USER")
    identity(user["tenantId"], "TENANT")


# ---- 3 to 7: devices -----------------------------------------------------------------------------------------------


def test_03_a_device_is_made_with_a_token_of_its_own(api, name):
    made = api.post("/api/device", {"name": name, "type": "default", "label": "x"})
    identity(made["id"], "DEVICE")
    identity(made["deviceProfileId"], "DEVICE_PROFILE")
    assert identity(made["customerId"], "CUSTOMER") == CUSTOMER_NOBODY
    assert (made["name"], made["type"], made["label"]) == (name, "default", "x")
    assert made["createdTime"] > T0
    assert len(api.get(f"/api/device/{made['id']['id']}/credentials")["credentialsId"]) == 20


def test_03_a_device_may_be_given_its_token(api, name):
    assert api.device(name, f"token-{name}").token == f"token-{name}"


def test_03_a_device_is_changed_by_saving_it(api, device):
    changed = device.save(label="kitchen", additionalInfo={"gateway": True, "description": "d"})
    assert changed["id"]["id"] == device.id
    found = api.get(f"/api/device/{device.id}")
    assert (found["label"], found["additionalInfo"]["description"]) == ("kitchen", "d")
    assert found["additionalInfo"]["gateway"] is True


def test_03_a_name_belongs_to_one_device(api, device):
    message = api.refusal("POST", "/api/device", {"name": device.name, "type": "default"}, 400, 31)
    assert message == "Device with such name already exists!"


def test_03_whoever_has_read_an_older_version_is_told_so(api, device):
    assert device.found["version"] == 1
    assert device.save(label="a")["version"] == 2
    path = "/api/device"
    message = api.refusal("POST", path, {**device.found, "version": 1, "label": "b"}, 409, 35)
    assert message == "Device was already changed by someone else"
    assert api.get(f"/api/device/{device.id}")["label"] == "a"
    anyway = {name: value for name, value in device.found.items() if name != "version"}
    assert api.post(path, {**anyway, "label": "c"})["version"] == 3
    assert api.get(f"/api/device/{device.id}/credentials")["version"] == 1


def test_03_a_taken_name_is_made_unique_if_that_is_wanted(api, device):
    path = "/api/device?nameConflictPolicy=UNIQUIFY&uniquifySeparator=-&uniquifyStrategy=INCREMENTAL"
    body = {"name": device.name, "type": "default"}
    assert [api.post(path, body)["name"] for _ in range(2)] == [f"{device.name}-1", f"{device.name}-2"]
    by_chance = api.post("/api/device?nameConflictPolicy=UNIQUIFY", body)["name"]
    assert by_chance.startswith(f"{device.name}_") and len(by_chance) > len(device.name) + 1
    free = new_name()
    assert api.post(path, {**body, "name": free})["name"] == free
    api.refusal("POST", "/api/device?nameConflictPolicy=FAIL", body, 400, 31)
    api.refusal("POST", "/api/device?nameConflictPolicy=NONSENSE", body, 400, 31)


def test_03_a_token_belongs_to_one_device(api, device, name):
    api.refusal("POST", f"/api/device?accessToken={device.token}", {"name": name, "type": "default"}, 400)
    api.get(f"/api/tenant/devices?deviceName={name}", 404)


def test_04_a_device_is_found_by_its_id(api, device):
    assert api.get(f"/api/device/{device.id}") == device.found


def test_04_an_unknown_id_is_not_found(api):
    assert api.refusal("GET", f"/api/device/{UNKNOWN}", status=404, code=32) == f"Device with id [{UNKNOWN}] is not found"


def test_04_what_is_no_id_is_refused(api):
    api.refusal("GET", "/api/device/nonsense", status=400)


def test_05_a_deleted_device_is_gone(api, device):
    assert api.delete(f"/api/device/{device.id}") is None
    api.refusal("GET", f"/api/device/{device.id}", status=404, code=32)


@pytest.mark.parametrize("path", ["/api/tenant/devices?deviceName=", "/api/tenant/device?deviceName="])
def test_06_a_device_is_found_by_its_name(api, device, path):
    assert api.get(path + device.name)["id"]["id"] == device.id
    api.refusal("GET", path + "nobody-has-this-name", status=404, code=32)


def test_07_devices_come_in_pages(api, name):
    made = {api.device(f"{name}-{at}").id for at in range(5)}
    seen = set()
    for at, (count, has_next) in enumerate([(2, True), (2, True), (1, False)]):
        page = api.get(f"/api/tenant/devices?pageSize=2&page={at}&textSearch={name}")
        assert (page["totalElements"], page["totalPages"], page["hasNext"]) == (5, 3, has_next)
        assert len(page["data"]) == count
        seen |= {one["id"]["id"] for one in page["data"]}
    assert seen == made


def test_07_pages_are_sorted_and_searched_by_type(api, name):
    profile = api.profile(f"type-{name}")
    for at in (1, 0, 2):
        api.device(f"{name}-{at}", deviceProfileId=profile["id"])
    path = f"/api/tenant/devices?pageSize=10&page=0&type=type-{name}&sortProperty=name&sortOrder="
    for order, expected in (("ASC", [0, 1, 2]), ("DESC", [2, 1, 0])):
        assert [one["name"] for one in api.get(path + order)["data"]] == [f"{name}-{at}" for at in expected]


def test_07_infos_say_more(api, device):
    page = api.get(f"/api/tenant/deviceInfos?pageSize=10&page=0&textSearch={device.name}")
    (info,) = page["data"]
    assert (info["name"], info["active"], info["deviceProfileName"]) == (device.name, False, "default")


def test_07_a_page_without_a_size_is_refused(api):
    api.refusal("GET", "/api/tenant/deviceInfos?page=0", status=400)


def test_infos_types_and_lists_of_ids(api, device):
    assert api.get(f"/api/device/info/{device.id}")["name"] == device.name
    assert [one["id"]["id"] for one in api.get(f"/api/devices?deviceIds={device.id}")] == [device.id]
    assert "default" in [one["type"] for one in api.get("/api/device/types")]


# ---- 8 to 10: credentials ------------------------------------------------------------------------------------------


def test_08_credentials_of_a_device(api, device):
    found = api.get(f"/api/device/{device.id}/credentials")
    assert found["deviceId"]["id"] == device.id
    assert (found["credentialsType"], found["credentialsValue"]) == ("ACCESS_TOKEN", None)
    uuid.UUID(found["id"]["id"])


def test_09_credentials_are_replaced(api, device, things, name):
    value = json.dumps({"clientId": "", "userName": f"u-{name}", "password": "p"})
    saved = api.post("/api/device/credentials", {
        **device.credentials, "credentialsType": "MQTT_BASIC", "credentialsId": None, "credentialsValue": value,
    })
    assert saved["credentialsType"] == "MQTT_BASIC" and isinstance(saved["credentialsValue"], str)
    assert things(device.token).connack.reason == 0x86
    assert things(f"u-{name}", password="p").connack.reason == 0


def test_09_credentials_have_versions_of_their_own(api, device, name):
    known = device.credentials
    changed = api.post("/api/device/credentials", {**known, "credentialsId": name})
    assert (known["version"], changed["version"]) == (1, 2)
    assert api.get(f"/api/device/{device.id}")["version"] == 1
    message = api.refusal("POST", "/api/device/credentials", {**known, "credentialsId": "other"}, 409, 35)
    assert message == "Entity was already changed by someone else"


def test_09_credentials_of_somebody_else_are_refused(api, device):
    other = api.device()
    message = api.refusal("POST", "/api/device/credentials", {**device.credentials, "credentialsId": other.token}, 400)
    assert "already" in message


def test_10_a_device_is_made_with_its_credentials(api, name, things):
    made = api.post("/api/device-with-credentials", {
        "device": {"name": name, "type": "default"},
        "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": f"mine-{name}"},
    })
    assert made["name"] == name
    assert things(f"mine-{name}").connack.reason == 0


# ---- 11 to 13, 18, 19: telemetry -----------------------------------------------------------------------------------


@pytest.fixture
def measured(device):
    """A device with 100 points, one every second; the value of a point is its number."""
    points = [{"ts": T0 + at * 1_000, "values": {"n": at, "half": at / 2}} for at in range(100)]
    device.api.post(f"{device.path}/timeseries/ANY", points)
    return device


def test_11_the_latest_values_are_text_unless_asked_for_as_they_are(api, measured):
    path = f"{measured.path}/values/timeseries?keys=n,half"
    assert api.get(path) == {
        "n": [{"ts": T0 + 99_000, "value": "99"}], "half": [{"ts": T0 + 99_000, "value": "49.5"}],
    }
    strict = api.get(path + "&useStrictDataTypes=true")
    assert (strict["n"][0]["value"], strict["half"][0]["value"]) == (99, 49.5)


def test_11_an_unknown_key_is_null_and_no_keys_are_all(api, measured):
    ((point,),) = api.get(f"{measured.path}/values/timeseries?keys=none").values()
    assert point["value"] is None and point["ts"] > T0
    assert set(api.get(f"{measured.path}/values/timeseries")) == {"n", "half"}


def test_11_an_unknown_device_has_no_telemetry(api):
    api.refusal("GET", f"/api/plugins/telemetry/DEVICE/{UNKNOWN}/values/timeseries?keys=a", status=404)


@pytest.mark.parametrize("path", ["values/timeseries", "values/timeseries/history"])
def test_12_history_has_a_range_an_order_and_a_limit(api, measured, path):
    query = f"{measured.path}/{path}?keys=n&useStrictDataTypes=true&startTs={T0 + 10_000}&endTs={T0 + 20_000}"
    numbers = [point["value"] for point in api.get(query + "&orderBy=ASC&limit=100")["n"]]
    assert numbers in (list(range(10, 20)), list(range(10, 21)))
    assert [point["value"] for point in api.get(query + "&limit=3")["n"]] == numbers[::-1][:3], "the newest first"


@pytest.mark.parametrize(
    ("how", "of"),
    [("MIN", min), ("MAX", max), ("AVG", statistics.fmean), ("SUM", sum), ("COUNT", len)],
)
def test_12_history_is_aggregated_by_interval(api, measured, how, of):
    query = f"?keys=n&useStrictDataTypes=true&startTs={T0}&endTs={T0 + 100_000}&interval=10000&agg={how}&orderBy=ASC"
    points = api.get(f"{measured.path}/values/timeseries{query}")["n"]
    assert [point["value"] for point in points] == [of(range(ten, ten + 10)) for ten in range(0, 100, 10)]
    assert [point["ts"] for point in points] == [T0 + 5_000 + ten * 1_000 for ten in range(0, 100, 10)]


def test_12_too_many_intervals_are_refused(api, measured):
    query = f"?keys=n&startTs={T0}&endTs={T0 + 100_000}&interval=100&agg=MAX"
    api.refusal("GET", f"{measured.path}/values/timeseries{query}", status=400)


def test_13_keys_of_telemetry(api, measured):
    assert sorted(api.get(f"{measured.path}/keys/timeseries")) == ["half", "n"]


@pytest.mark.parametrize(
    "body",
    [{"a": 1}, {"ts": T0, "values": {"a": 1}}, [{"a": 0}, {"ts": 1 << 51, "values": {"a": 1}}]],
    ids=["plain", "timed", "mixed"],
)
@pytest.mark.parametrize("path", ["timeseries/ANY", "timeseries/ANY/86400"])
def test_18_telemetry_is_written(api, device, body, path):
    assert api.post(f"{device.path}/{path}", body) is None
    assert device.latest("a") == {"a": 1}


def test_18_what_is_no_telemetry_is_refused(api, device):
    api.call("POST", f"{device.path}/timeseries/ANY", status=400, data="5", headers={"content-type": "application/json"})


def test_19_telemetry_is_deleted_in_a_range_or_altogether(api, measured):
    path = f"{measured.path}/timeseries/delete?keys=n"
    api.delete(f"{path}&startTs={T0}&endTs={T0 + 50_000}")
    assert [value for _, value in measured.history("n")["n"]][0] in (50, 51)
    assert measured.latest("n") == {"n": 99}
    api.delete(f"{path}&deleteAllDataForKeys=true")
    assert not measured.history("n")["n"]
    assert measured.latest("n") == {"n": None}
    assert len(measured.history("half")["half"]) == 100


def test_19_without_keys_nothing_is_deleted(api, measured):
    api.refusal("DELETE", f"{measured.path}/timeseries/delete?deleteAllDataForKeys=true", status=400)
    assert len(measured.history("n")["n"]) == 100


# ---- 14 to 17: attributes ------------------------------------------------------------------------------------------


def test_14_attributes_have_types_and_times(api, device):
    device.set("SERVER_SCOPE", a=5, b="x", c=True, d=1.5, e={"f": [1]})
    found = {one["key"]: one for one in api.get(f"{device.path}/values/attributes/SERVER_SCOPE?keys=a,b,c,d,e")}
    assert {key: one["value"] for key, one in found.items()} == {"a": 5, "b": "x", "c": True, "d": 1.5, "e": {"f": [1]}}
    assert all(one["lastUpdateTs"] > T0 for one in found.values())


def test_14_without_a_scope_all_are_meant(api, device):
    device.set("SERVER_SCOPE", a=1)
    device.set("SHARED_SCOPE", b=2)
    found = {one["key"]: one["value"] for one in api.get(f"{device.path}/values/attributes?keys=a,b")}
    assert found == {"a": 1, "b": 2}


def test_15_keys_of_attributes(api, device):
    device.set("SHARED_SCOPE", b=2)
    assert api.get(f"{device.path}/keys/attributes/SHARED_SCOPE") == ["b"]
    assert "b" in api.get(f"{device.path}/keys/attributes")


@pytest.mark.parametrize(
    "path",
    ["/api/plugins/telemetry/{}/{}", "/api/plugins/telemetry/DEVICE/{}/{}", "/api/plugins/telemetry/DEVICE/{}/attributes/{}"],
)
@pytest.mark.parametrize("scope", ["SHARED_SCOPE", "SERVER_SCOPE"])
def test_16_attributes_are_written(api, device, path, scope):
    assert api.post(path.format(device.id, scope), {"x": 5}) is None
    assert device.attributes(scope, "x") == {"x": 5}


def test_16_wrong_scopes_and_null_are_refused(api, device):
    path = f"/api/plugins/telemetry/{device.id}"
    assert api.refusal("POST", f"{path}/CLIENT_SCOPE", {"x": 1}, 400) == "Invalid scope: CLIENT_SCOPE"
    api.refusal("POST", f"{path}/NO_SCOPE", {"x": 1}, 400)
    api.refusal("POST", f"{path}/SHARED_SCOPE", {"x": None}, 400)
    assert device.attributes("SHARED_SCOPE") == {}


@pytest.mark.parametrize("path", ["/api/plugins/telemetry/{}/{}", "/api/plugins/telemetry/DEVICE/{}/{}"])
def test_17_attributes_are_deleted_and_devices_hear_it(api, device, things, path):
    device.set(x=1, y=2)
    thing = things(device.token)
    thing.subscribe(ATTRIBUTES, 1)
    assert api.delete(path.format(device.id, "SHARED_SCOPE") + "?keys=x") is None
    assert thing.hear(ATTRIBUTES) == {"deleted": ["x"]}
    assert device.attributes("SHARED_SCOPE") == {"y": 2}


def test_17_attributes_of_the_device_can_be_deleted(api, device, things):
    things(device.token).say(ATTRIBUTES, {"x": 1})
    api.delete(f"/api/plugins/telemetry/{device.id}/CLIENT_SCOPE?keys=x")
    assert device.attributes("CLIENT_SCOPE") == {}
    api.refusal("DELETE", f"/api/plugins/telemetry/{device.id}/CLIENT_SCOPE?keys=", status=400)


# ---- 20 to 22: commands --------------------------------------------------------------------------------------------


@pytest.fixture
def obedient(things, device):
    """A connection of `device` that hears commands."""
    thing = things(device.token)
    thing.subscribe(f"{COMMAND}/+", 1)
    return thing


@pytest.mark.parametrize("path", ["/api/rpc/twoway/", "/api/plugins/rpc/twoway/"])
@pytest.mark.parametrize("answer", [{"a": [1]}, 5, "text", None])
def test_20_a_two_way_command_returns_the_answer(api, device, obedient, ask, path, answer):
    called = ask(api.session.post, f"{api.url}{path}{device.id}", json={"method": "m", "params": 1}, timeout=HTTP_S)
    number, method, params = obedient.take_command()
    assert (method, params) == ("m", 1)
    obedient.reply(number, json.dumps(answer))
    found = called.result()
    assert (found.status_code, json.loads(found.text)) == (200, answer)


def test_20_nobody_answers_in_time(device, obedient, ask):
    waiting = ask(device.rpc, "m", status=504, timeout=5_000)
    obedient.take_command()
    waiting.result()


def test_20_the_older_paths_have_codes_of_their_own(api, device, obedient, ask):
    waiting = ask(api.post, f"/api/plugins/rpc/twoway/{device.id}", {"method": "m", "timeout": 5_000}, 408)
    obedient.take_command()
    waiting.result()
    away = api.device()
    api.post(f"/api/plugins/rpc/oneway/{away.id}", {"method": "m", "timeout": 5_000}, 409)


def test_20_what_cannot_be_called(api, device):
    headers = {"content-type": "application/json"}
    error = api.call("POST", f"/api/rpc/twoway/{device.id}", status=400, data="nonsense{", headers=headers)
    assert (error["errorCode"], error["message"]) == (31, "Invalid request body")
    text = api.post(f"/api/rpc/twoway/{UNKNOWN}", {"method": "m"}, 404)
    assert "Device with requested id wasn't found!" in str(text)


def test_21_a_one_way_command_returns_when_it_is_sent(device, obedient):
    assert device.rpc("m", {"a": 1}, way="oneway") is None
    assert obedient.take_command()[1:] == ("m", {"a": 1})


def test_21_a_one_way_command_for_nobody_is_told_so(device):
    device.rpc("m", way="oneway", status=504, timeout=5_000)


def test_22_a_command_that_is_kept_shows_its_states(api, device, obedient):
    rpc_id = device.persistent("m", {"a": 1}, additionalInfo={"why": "test"})
    number, _, params = obedient.take_command()
    assert params == {"a": 1}
    found = device.until_command(rpc_id, "DELIVERED")
    assert found["deviceId"]["id"] == device.id and identity(found["id"], "RPC") == rpc_id
    assert (found["response"], found["additionalInfo"]) == (None, {"why": "test"})
    body = found["request"]["body"]
    assert (body["method"], json.loads(body["params"])) == ("m", {"a": 1})
    obedient.reply(number, {"ok": True})
    assert device.until_command(rpc_id, "SUCCESSFUL")["response"] == {"ok": True}


def test_22_a_one_way_command_ends_when_it_is_delivered(device, obedient):
    rpc_id = device.persistent("m", way="oneway")
    obedient.take_command()
    assert device.until_command(rpc_id, "DELIVERED", "SUCCESSFUL")


def test_22_a_command_whose_time_is_over_has_expired(device):
    rpc_id = device.persistent("m", expirationTime=T0)
    assert device.until_command(rpc_id, "EXPIRED")


def test_22_kept_commands_come_in_pages_and_can_be_deleted(api, device):
    ids = {device.persistent(f"m{at}") for at in range(3)}
    path = f"/api/rpc/persistent/device/{device.id}?pageSize=2&page=0"
    page = api.get(path)
    assert (page["totalElements"], page["hasNext"], len(page["data"])) == (3, True, 2)
    assert {one["id"]["id"] for one in page["data"]} <= ids
    assert api.get(path + "&rpcStatus=SUCCESSFUL")["totalElements"] == 0
    assert api.get(path + "&rpcStatus=QUEUED")["totalElements"] == 3
    gone = ids.pop()
    api.delete(f"/api/rpc/persistent/{gone}")
    api.get(f"/api/rpc/persistent/{gone}", 404)
    assert api.get(path)["totalElements"] == 2


# ---- 23: packages --------------------------------------------------------------------------------------------------


IMAGE = b"firmware" * 1_000


def test_23_a_package_is_made_filled_found_and_deleted(api, name):
    profile = api.profile()["id"]
    info = api.package(profile, IMAGE, title=name)
    assert (info["title"], info["version"], info["type"]) == (name, "1.1", "FIRMWARE")
    assert (info["checksumAlgorithm"], info["dataSize"], info["hasData"]) == ("SHA256", len(IMAGE), True)
    package = f"/api/otaPackage/{info['id']['id']}"
    assert api.get(f"/api/otaPackage/info/{info['id']['id']}")["checksum"] == info["checksum"]
    assert api.get(package)["title"] == name
    answer = api.session.get(f"{api.url}{package}/download", timeout=HTTP_S)
    assert answer.content == IMAGE
    page = api.get(f"/api/otaPackages?pageSize=10&page=0&textSearch={name}")
    assert [one["title"] for one in page["data"]] == [name]
    of_profile = api.get(f"/api/otaPackages/{profile['id']}/FIRMWARE?pageSize=10&page=0")
    assert [one["title"] for one in of_profile["data"]] == [name]
    api.delete(package)
    api.refusal("GET", package, status=404)


def test_23_a_wrong_checksum_is_refused(api):
    info = api.post("/api/otaPackage", {
        "title": new_name(), "version": "1", "type": "FIRMWARE", "deviceProfileId": api.profile()["id"], "usesUrl": False,
    })
    path = f"/api/otaPackage/{info['id']['id']}?checksumAlgorithm=SHA256&checksum=00"
    message = api.refusal("POST", path, files={"file": ("x", IMAGE)})
    assert message.startswith("Wrong otaPackage file!")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA256", "SHA384", "SHA512", "CRC32", "MURMUR3_32", "MURMUR3_128"])
def test_23_every_checksum_is_made(api, algorithm):
    info = api.package(api.profile()["id"], b"123456789", algorithm=algorithm)
    # The last three as Guava shows them: the lowest byte first.
    known = {
        "CRC32": "2639f4cb", "MURMUR3_32": "82f3feb4", "MURMUR3_128": "a4cc66db5e64843c05a11e3ac7faf899",
    }
    sum_of = known.get(algorithm) or hashlib.new(algorithm, b"123456789").hexdigest()
    assert (info["checksumAlgorithm"], info["checksum"]) == (algorithm, sum_of)


def test_23_a_package_may_be_somewhere_else(api):
    info = api.post("/api/otaPackage", {
        "title": new_name(), "version": "1", "type": "FIRMWARE", "deviceProfileId": api.profile()["id"], "usesUrl": True,
        "url": "https://example.org/image.bin",
    })
    assert info["url"] == "https://example.org/image.bin"


def test_23_a_package_that_is_assigned_stays(api):
    profile = api.profile()["id"]
    info = api.package(profile, IMAGE)
    device = api.device(deviceProfileId=profile)
    assert device.save(firmwareId=info["id"])["firmwareId"] == info["id"]
    api.refusal("DELETE", f"/api/otaPackage/{info['id']['id']}", status=400)


# ---- 24: profiles --------------------------------------------------------------------------------------------------


def test_24_a_profile_is_made_changed_found_and_deleted(api, name):
    made = api.profile(name, {"type": "MQTT", "deviceTelemetryTopic": "a/b"})
    path = f"/api/deviceProfile/{identity(made['id'], 'DEVICE_PROFILE')}"
    assert made["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] == "a/b"
    assert api.get(path)["name"] == name
    assert api.post("/api/deviceProfile", {**made, "description": "d"})["id"] == made["id"]
    assert [one["name"] for one in api.get(f"/api/deviceProfiles?pageSize=10&page=0&textSearch={name}")["data"]] == [name]
    infos = api.get(f"/api/deviceProfileInfos?pageSize=10&page=0&textSearch={name}")["data"]
    assert [(one["name"], one["transportType"]) for one in infos] == [(name, "MQTT")]
    api.delete(path)
    api.refusal("GET", path, status=404)


def test_24_a_profile_has_a_time_and_a_version(api):
    made = api.profile(telemetryKeeping="LATEST", retentionDays=3)
    assert made["version"] == 1 and made["createdTime"] > T0
    silent = {name: value for name, value in made.items() if name not in ("telemetryKeeping", "retentionDays", "version")}
    saved = api.post("/api/deviceProfile", {**silent, "name": new_name()})
    assert (saved["version"], saved["createdTime"]) == (2, made["createdTime"])
    assert (saved["telemetryKeeping"], saved["retentionDays"]) == ("LATEST", 3), "what is not said stays"
    assert api.refusal("POST", "/api/deviceProfile", made, 409, 35) == "Device profile was already changed by someone else"
    assert api.post("/api/deviceProfile", {**saved, "retentionDays": None})["retentionDays"] is None


def test_24_a_new_profile_keeps_what_the_default_profile_keeps(api):
    default = api.get("/api/deviceProfileInfo/default")["id"]["id"]
    usual = api.get(f"/api/deviceProfile/{default}")
    try:
        api.post("/api/deviceProfile", {**usual, "telemetryKeeping": "LATEST", "retentionDays": 7})
        made = api.profile()
        assert (made["telemetryKeeping"], made["retentionDays"]) == ("LATEST", 7)
        device = api.device(type=new_name("type"))
        path = f"/api/deviceProfile/{device.found['deviceProfileId']['id']}"
        assert api.get(path)["telemetryKeeping"] == "LATEST"
    finally:
        api.post("/api/deviceProfile", {**usual, "version": None})


def test_24_there_is_a_default_profile_and_it_can_be_another(api):
    old = api.get("/api/deviceProfileInfo/default")
    assert old["name"] == "default"
    made = api.profile()
    try:
        assert api.post(f"/api/deviceProfile/{made['id']['id']}/default")["default"] is True
        assert api.get("/api/deviceProfileInfo/default")["id"] == made["id"]
    finally:
        api.post(f"/api/deviceProfile/{old['id']['id']}/default")


def test_24_a_profile_in_use_stays(api):
    profile = api.profile()
    api.device(deviceProfileId=profile["id"])
    api.refusal("DELETE", f"/api/deviceProfile/{profile['id']['id']}", status=400)


def test_24_a_schema_that_is_none_is_refused(api):
    transport = {
        "type": "MQTT",
        "transportPayloadTypeConfiguration": {
            "transportPayloadType": "PROTOBUF", "deviceTelemetryProtoSchema": "nonsense {",
        },
    }
    api.refusal("POST", "/api/deviceProfile", {
        "name": new_name(), "type": "DEFAULT", "transportType": "MQTT", "provisionType": "DISABLED",
        "profileData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": transport},
    })


# ---- 25: claims ----------------------------------------------------------------------------------------------------


@pytest.fixture
def customer(api):
    """A customer, and one of its users who has logged in."""
    return api.customer()


def test_25_a_customer_claims_with_the_secret_of_the_device(api, customer, things, device):
    assert things(device.token).say(CLAIM, {"secretKey": "abc", "durationMs": 60_000}) == 0
    mine, user = customer
    claimed = user.post(f"/api/customer/device/{device.name}/claim", {"secretKey": "abc"})
    assert claimed["response"] == "SUCCESS" and claimed["device"]["name"] == device.name
    assert api.get(f"/api/device/{device.id}")["customerId"]["id"] == mine["id"]["id"]
    again = user.post(f"/api/customer/device/{device.name}/claim", {"secretKey": "abc"}, 400)
    assert "CLAIMED" in str(again)
    user.delete(f"/api/customer/device/{device.name}/claim")
    assert api.get(f"/api/device/{device.id}")["customerId"]["id"] == CUSTOMER_NOBODY


def test_25_a_wrong_secret_claims_nothing(customer, things, device):
    assert things(device.token).say(CLAIM, {"secretKey": "abc"}) == 0
    assert "FAILURE" in str(customer[1].post(f"/api/customer/device/{device.name}/claim", {"secretKey": "x"}, 400))


def test_a_device_is_given_to_a_customer_and_taken_back(api, customer, device):
    mine = customer[0]["id"]["id"]
    assert api.post(f"/api/customer/{mine}/device/{device.id}")["customerId"]["id"] == mine
    assert customer[1].get(f"/api/device/{device.id}")["name"] == device.name
    assert api.delete(f"/api/customer/device/{device.id}")["customerId"]["id"] == CUSTOMER_NOBODY
    customer[1].refusal("GET", f"/api/device/{device.id}", status=403, code=20)


# ---- what surrounds it ---------------------------------------------------------------------------------------------


def test_the_api_describes_itself(api):
    found = requests.get(f"{api.url}/api/openapi.json", timeout=HTTP_S).json()
    assert found["openapi"].startswith("3.")
    described = set(found["paths"])
    for path in ("/api/auth/login", "/api/device", "/api/rpc/twoway/{deviceId}", "/api/v1/{deviceToken}/telemetry"):
        shape = [part if not part.startswith("{") else "{}" for part in path.split("/")]
        assert any([p if not p.startswith("{") else "{}" for p in one.split("/")] == shape for one in described), path


def test_an_unknown_path_is_not_found(api):
    assert api.session.get(f"{api.url}/api/nonsense", timeout=HTTP_S).status_code == 404


def test_what_a_device_says_is_there_when_it_is_acknowledged(device, things):
    thing = things(device.token)
    for at in range(20):
        assert thing.say(TELEMETRY, {"ts": T0 + at, "values": {"v": at}}) == 0
        assert device.latest("v") == {"v": at}
    until(lambda: len(device.history("v")["v"]) == 20, "history")
