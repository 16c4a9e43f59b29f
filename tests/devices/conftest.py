"""One plant for all tests with the same number of cores, and what they make in it."""

import concurrent.futures

import pytest
from certificates import Authority
from doors import Door
from plant import Plant, new_name
from thing import V5, V311, Thing


@pytest.fixture(scope="session", params=[1, 2], ids=lambda cores: f"cores-{cores}")
def cores(request):
    """How many cores the broker runs on."""
    return request.param


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Who has signed the certificate of the listener in TLS."""
    return Authority(tmp_path_factory.mktemp("authority"), "an authority")


@pytest.fixture(scope="session")
def plant(cores, authority):
    """One broker for all tests with this number of cores; it must survive them all and end with exit code 0."""
    running = Plant(cores, authority.sign("localhost", names=["DNS:localhost", "IP:127.0.0.1"]))
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


@pytest.fixture
def secure(plant, authority):
    """The listener in TLS, for a pair of certificate and key, or for somebody without one."""

    def door(pair=None):
        plain = Door(plant.secure, tls={"ca_certs": str(authority.certificate)})
        return plain.with_certificate(pair) if pair else plain

    return door


@pytest.fixture(scope="session")
def api(plant):
    """A back-end script that has logged in."""
    return plant.api()


@pytest.fixture
def device(api):
    """A new device with an access token."""
    return api.device()


@pytest.fixture
def gateway(api):
    """A new device that may speak for others."""
    return api.gateway()


@pytest.fixture
def name():
    """A name that no other test uses."""
    return new_name()


@pytest.fixture
def ask():
    """Calls something that waits, such as a command, while the test plays the device; the result is a future."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request):
    """Both versions that devices speak, in turn."""
    return request.param


@pytest.fixture
def things(plant):
    """Connects devices by their user name; they end with the test."""
    made = []

    def connect(user, version=V5, at=None, **login):
        made.append(Thing(at or plant.devices, version, user, **login))
        return made[-1]

    yield connect
    for thing in made:
        thing.close()
