"""Clients of the SDK that end with the test."""

import pytest
from sdk_client import Connected, ConnectedGateway


@pytest.fixture
def connect(plant):
    """Connects devices, and gateways with `gateway=True`."""
    made = []

    def connected(user, gateway=False, at=plant, **options):
        made.append((ConnectedGateway if gateway else Connected)(at, user, **options))
        return made[-1]

    yield connected
    for client in made:
        client.close()
