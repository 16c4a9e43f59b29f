"""Limits as ThingsBoard's SDK keeps them: it is told, and then says no more than it may."""

import pytest
from plant import Plant, until

RATES = """
[devices]
device_telemetry_messages = "50:1"
device_telemetry_values = "100:1"
gateway_telemetry_messages = "3:1"
"""


@pytest.fixture(scope="module")
def limited(cores):
    """A plant whose devices may not say much."""
    running = Plant(cores, more=RATES)
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


def test_the_sdk_takes_the_limits_over(limited, connect):
    client = connect(limited.api().device().token, at=limited)
    assert client._telemetry_rate_limit.has_limit()
    assert client._telemetry_rate_limit.get_minimal_limit() == 40, "four fifths, as it always takes"
    assert client._telemetry_dp_rate_limit.get_minimal_limit() == 80
    assert not client._messages_rate_limit.has_limit()


def test_the_sdk_keeps_the_limits_and_all_of_it_arrives(limited, connect):
    device = limited.api().device()
    client = connect(device.token, at=limited)
    for at in range(120):
        client.send_telemetry({"ts": 1_000 + at, "values": {"n": at}})
    until(lambda: len(device.history("n")["n"]) == 120, "120 points", 30)


def test_a_gateway_of_the_sdk_takes_the_limits_of_its_children_over(limited, connect):
    client = connect(limited.api().gateway().token, gateway=True, at=limited)
    limit = client._devices_connected_through_gateway_telemetry_messages_rate_limit
    assert limit.has_limit() and limit.get_minimal_limit() == 2
