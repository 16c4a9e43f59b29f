"""The broker that the real clients talk to, and names that no other test uses."""

import itertools
import os

import pytest
from broker import Broker, ForeignBroker
from client import V5, V31, V311, Client

NUMBERS = itertools.count(1)


TARGET = os.environ.get("RINGMQ_TARGET")


@pytest.fixture(scope="session", params=["foreign"] if TARGET else [1, 2], ids=lambda cores: f"cores-{cores}")
def cores(request):
    """How many cores the broker runs on."""
    return request.param


@pytest.fixture(scope="session")
def broker(cores):
    """One broker for all tests with this number of cores; it must survive them all and end with exit code 0."""
    running = ForeignBroker(TARGET) if TARGET else Broker(cores=cores)
    yield running
    assert running.stop() == 0


@pytest.fixture(autouse=True)
def only_ours(request):
    if request.node.get_closest_marker("ours") and TARGET:
        pytest.skip("holds for RingMQ only")


@pytest.fixture
def name():
    """A short name that is unique in this run: a topic root and a prefix of client ids."""
    return f"t{os.getpid()}x{next(NUMBERS)}"


@pytest.fixture(params=[V31, V311, V5], ids=["v31", "v311", "v5"])
def version(request):
    """Every protocol version in turn, for tests that ask for it."""
    return request.param


@pytest.fixture
def clients(broker, name):
    """Makes clients with ids of this test, and ends them with it."""
    made = []

    def make(suffix, version=V5, **options):
        made.append(Client(broker.address, f"{name}{suffix}", version, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
