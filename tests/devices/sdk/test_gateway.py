"""A gateway that is written with ThingsBoard's SDK: children, their telemetry, attributes and commands."""

from plant import CUSTOMER_NOBODY, Refused, until
from sdk_client import Inbox

T0 = 1_760_000_000_123


def child_of(api, name):
    """A child, as soon as the API knows it."""

    def look():
        try:
            return api.by_name(name)
        except Refused:
            return None

    return until(look, f"child {name}")


def test_a_child_is_made_when_it_is_connected_with_its_type(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_connect_device(name, f"thermo-{name}")
    child = child_of(api, name)
    assert child.found["type"] == f"thermo-{name}"
    assert child.found["additionalInfo"]["lastConnectedGateway"] == gateway.id


def test_telemetry_of_children_is_theirs_and_not_the_gateways(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_send_telemetry(name, [{"ts": T0, "values": {"t": 21}}, {"ts": T0 + 1, "values": {"t": 22}}])
    client.gw_send_telemetry(f"{name}-b", {"h": 40})
    one, two = child_of(api, name), child_of(api, f"{name}-b")
    until(lambda: one.latest("t")["t"] == 22, "telemetry of the first child")
    until(lambda: two.latest("h")["h"] == 40, "telemetry of the second child")
    assert one.history("t")["t"] == [(T0, 21), (T0 + 1, 22)]
    assert gateway.latest("t")["t"] is None


def test_a_gateway_has_telemetry_of_its_own(connect, gateway):
    client = connect(gateway.token, gateway=True)
    client.send_telemetry({"own": 1})
    until(lambda: gateway.latest("own")["own"] == 1, "telemetry of the gateway")


def test_attributes_of_children_are_kept_and_answered(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_connect_device(name)
    client.gw_send_attributes(name, {"fw": "v1", "n": 2})
    child = child_of(api, name)
    until(lambda: child.attributes("CLIENT_SCOPE") == {"fw": "v1", "n": 2}, "attributes")
    child.set(interval=60, mode="eco")
    answers = Inbox()
    client.gw_request_client_attributes(name, ["fw", "n"], answers)
    answer = answers.take()[0]
    assert (answer["device"], answer["values"]) == (name, {"fw": "v1", "n": 2})
    client.gw_request_shared_attributes(name, ["interval"], answers)
    answer = answers.take()[0]
    assert (answer["device"], answer["value"]) == (name, 60)


def test_changes_of_a_childs_shared_attributes_reach_the_gateway(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_connect_device(name)
    pushes = Inbox()
    client.gw_subscribe_to_all_device_attributes(name, pushes)
    child = child_of(api, name)
    child.set(interval=60)
    assert pushes.take() == ({"device": name, "data": {"interval": 60}},)
    api.delete(f"/api/plugins/telemetry/{child.id}/SHARED_SCOPE?keys=interval")
    assert pushes.take() == ({"device": name, "data": {"deleted": ["interval"]}},)


def test_a_command_for_a_child_is_answered_through_its_gateway(connect, gateway, api, name, ask):
    client = connect(gateway.token, gateway=True)

    def handle(sdk, call):
        sdk.gw_send_rpc_reply(call["device"], call["data"]["id"], {"did": call["data"]})

    client.gw_set_server_side_rpc_request_handler(handle)
    client.gw_connect_device(name)
    child = child_of(api, name)
    answer = ask(child.rpc, "reboot", {"hard": True})
    assert answer.result() == {"did": {"id": 0, "method": "reboot", "params": {"hard": True}}}


def test_a_child_that_was_disconnected_gets_nothing_any_more(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    pushes = Inbox()
    client.gw_connect_device(name)
    client.gw_connect_device(f"{name}-b")
    client.gw_subscribe_to_all_attributes(pushes)
    gone, stays = child_of(api, name), child_of(api, f"{name}-b")
    client.gw_disconnect_device(name)
    # What the gateway says afterwards is heard after it.
    client.send_telemetry({"fence": 1})
    until(lambda: gateway.latest("fence")["fence"] == 1, "telemetry after the disconnection")
    gone.set(interval=1)
    stays.set(interval=2)
    assert pushes.take() == ({"device": stays.name, "data": {"interval": 2}},)


def test_a_gateway_hears_that_its_child_was_deleted_or_renamed(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    calls = Inbox()
    client.set_server_side_rpc_request_handler(calls)
    client.gw_connect_device(name)
    child = child_of(api, name)
    child.save(name=f"{name}-new")
    assert calls.take()[1] == {"method": "gateway_device_renamed", "params": {name: f"{name}-new"}}
    api.delete(f"/api/device/{child.id}")
    assert calls.take()[1] == {"method": "gateway_device_deleted", "params": f"{name}-new"}


def test_both_kinds_of_limits_are_told_to_a_gateway(connect, gateway):
    client = connect(gateway.token, gateway=True)
    answers = Inbox()
    client.send_rpc_call("getSessionLimits", {}, answers)
    limits = answers.take()[1]
    for kind in ("rateLimits", "gatewayRateLimits"):
        assert set(limits[kind]) == {"messages", "telemetryMessages", "telemetryDataPoints"}


def test_a_child_is_claimed_through_its_gateway(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_connect_device(name)
    client.gw_connect_device(f"{name}-b")
    one, two = child_of(api, name), child_of(api, f"{name}-b")
    client.gw_claim(name, "sesame", 60_000)
    # The claim is heard before what the gateway says of the same child after it.
    client.gw_send_telemetry(name, {"after": 1})
    until(lambda: one.latest("after")["after"] == 1, "telemetry after the claim")
    mine, user = api.customer()
    refused = user.post(f"/api/customer/device/{two.name}/claim", {"secretKey": "sesame"}, 400)
    assert "FAILURE" in str(refused), "nobody has offered the other child"
    claimed = user.post(f"/api/customer/device/{name}/claim", {"secretKey": "sesame"})
    assert claimed["response"] == "SUCCESS" and claimed["device"]["name"] == name
    assert api.get(f"/api/device/{one.id}")["customerId"]["id"] == mine["id"]["id"]
    assert api.get(f"/api/device/{gateway.id}")["customerId"]["id"] == CUSTOMER_NOBODY


def test_a_child_that_was_never_heard_of_is_made_and_claimed(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    client.gw_claim(name, "sesame", 60_000)
    child = child_of(api, name)
    client.gw_send_telemetry(name, {"after": 1})
    until(lambda: child.latest("after")["after"] == 1, "telemetry after the claim")
    mine, user = api.customer()
    claimed = user.post(f"/api/customer/device/{name}/claim", {"secretKey": "sesame"})
    assert claimed["response"] == "SUCCESS"
    assert api.get(f"/api/device/{child.id}")["customerId"]["id"] == mine["id"]["id"]


def test_fifty_children_speak_through_one_gateway(connect, gateway, api, name):
    client = connect(gateway.token, gateway=True)
    children = [f"{name}-{at}" for at in range(50)]
    for round_ in range(4):
        for at, child in enumerate(children):
            client.gw_send_telemetry(child, {"ts": T0 + round_, "values": {"v": at * 10 + round_}})
    for at, child in enumerate(children):
        found = child_of(api, child)
        until(lambda found=found: len(found.history("v")["v"]) == 4, "four points of each child")
        assert found.history("v")["v"] == [(T0 + round_, at * 10 + round_) for round_ in range(4)]
