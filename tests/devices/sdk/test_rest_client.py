"""A back-end script that is written with ThingsBoard's REST client for Python."""

import pytest
from plant import new_name
from tb_rest_client.models import Device, DeviceProfile
from tb_rest_client.rest import ApiException
from tb_rest_client.rest_client import RestClient

T0 = 1_760_000_000_123


@pytest.fixture(scope="module")
def rest(plant):
    client = RestClient(plant.url)
    client.login(*plant.password())
    return client


@pytest.fixture
def made(rest):
    """A device that this client has made."""
    return rest.save_device(Device(name=new_name(), type="default"))


def refused(call):
    with pytest.raises(ApiException) as caught:
        call()
    return caught.value.status


def test_the_client_logs_in_and_is_somebody(rest, plant):
    assert rest.get_token()
    user = rest.get_user()
    assert (user.email, user.authority) == (plant.password()[0], "TENANT_ADMIN")


def test_a_device_is_made_read_changed_and_deleted(rest, made):
    assert rest.get_device_by_id(made.id).name == made.name
    assert rest.get_tenant_device(made.name).id.id == made.id.id
    made.label = "kitchen"
    changed = rest.save_device(made)
    assert (changed.id.id, changed.label) == (made.id.id, "kitchen")
    assert rest.get_device_credentials_by_device_id(made.id).credentials_type == "ACCESS_TOKEN"
    rest.delete_device(made.id)
    assert refused(lambda: rest.get_device_by_id(made.id)) == 404


def test_devices_are_listed_in_pages(rest):
    root = new_name("page")
    for at in range(5):
        rest.save_device(Device(name=f"{root}-{at}", type="default"))
    page = rest.get_tenant_devices(page_size=2, page=0, text_search=root)
    assert (page.total_elements, page.total_pages, page.has_next) == (5, 3, True)


def test_telemetry_is_written_read_and_deleted(rest, made):
    rest.save_entity_telemetry(made.id, "ANY", [{"ts": T0, "values": {"t": 1}}, {"ts": T0 + 1, "values": {"t": 2}}])
    assert rest.get_timeseries_keys_v1(made.id) == ["t"]
    latest = rest.get_latest_timeseries(made.id, keys="t", use_strict_data_types=True)
    assert str(latest).count("2") >= 1
    found = rest.get_timeseries(made.id, T0, T0 + 10, keys="t", limit=10, agg="NONE", order_by="ASC")
    assert len(found["t"]) == 2
    rest.delete_entity_timeseries(made.id, keys="t", delete_all_data_for_keys=True)
    assert not rest.get_timeseries(made.id, T0, T0 + 10, keys="t", limit=10, agg="NONE").get("t")


def test_attributes_are_written_read_and_deleted(rest, made):
    rest.save_device_attributes(made.id, "SHARED_SCOPE", {"interval": 5})
    rest.save_entity_attributes_v2(made.id, "SERVER_SCOPE", {"site": "north"})
    shared = rest.get_attributes_by_scope(made.id, "SHARED_SCOPE", keys="interval")
    assert [(one.key if hasattr(one, "key") else one["key"]) for one in shared] == ["interval"]
    rest.delete_entity_attributes(made.id, "SHARED_SCOPE", keys="interval")
    assert rest.get_attributes_by_scope(made.id, "SHARED_SCOPE", keys="interval") == []
    assert refused(lambda: rest.save_device_attributes(made.id, "CLIENT_SCOPE", {"x": 1})) == 400


def test_a_command_is_answered_and_one_for_nobody_is_refused(rest, api, ask, connect):
    device = api.device()
    client = connect(device.token)
    client.set_server_side_rpc_request_handler(lambda request, call: client.send_rpc_reply(request, {"got": call}))
    answer = rest.handle_two_way_device_rpc_request(device.id, {"method": "ping", "params": {"a": 1}})
    assert answer == {"got": {"method": "ping", "params": {"a": 1}}}


def test_a_profile_is_made_and_found(rest):
    name = new_name("profile")
    profile = rest.save_device_profile(DeviceProfile(
        name=name, type="DEFAULT", transport_type="DEFAULT", provision_type="DISABLED",
        profile_data={
            "configuration": {"type": "DEFAULT"}, "transportConfiguration": {"type": "DEFAULT"},
            "provisionConfiguration": {"type": "DISABLED"}, "alarms": [],
        },
    ))
    assert rest.get_device_profile_by_id(profile.id).name == name
    found = rest.get_device_profiles(page_size=100, page=0, text_search=name)
    assert [one.name for one in found.data] == [name]
