"""MQTT.js in Chromium, over WebSocket and over WebSocket in TLS."""

import pytest
from browser import Browser
from certificates import fingerprint_of_key
from doors import House

pytestmark = pytest.mark.ours

ROUND = ["connect", "subscribe", "qos 0", "qos 1", "qos 2", "large", "many", "retained", "will", "end"]


@pytest.fixture(scope="module")
def house(cores, tmp_path_factory):
    running = House(tmp_path_factory.mktemp("house"), cores)
    yield running
    assert running.broker.stop() == 0


@pytest.fixture(scope="module")
def browser(house, tmp_path_factory):
    running = Browser(tmp_path_factory.mktemp("browser"), [fingerprint_of_key(house.papers.server[0])])
    yield running
    running.stop()


@pytest.mark.parametrize("version", [4, 5], ids=["v311", "v5"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_page_does_a_full_round(house, browser, name, scheme, version):
    broker = f"{scheme}://{house.doors[scheme]}/mqtt"
    result = browser.result("round.html", broker=broker, version=version, root=name)
    assert (result["error"], result["done"]) == (None, ROUND)


def test_a_page_is_told_when_the_path_is_another(house, browser, name):
    result = browser.result("round.html", broker=f"ws://{house.doors['ws']}/other", version=5, root=name)
    assert result["error"] and result["done"] == []


def test_a_page_does_not_believe_a_certificate_that_nobody_vouches_for(house, name, tmp_path):
    browser = Browser(tmp_path, [fingerprint_of_key(house.papers.other[0])])
    try:
        broker = f"wss://{house.doors['wss']}/mqtt"
        result = browser.result("round.html", broker=broker, version=5, root=name)
    finally:
        browser.stop()
    assert result["error"] and result["done"] == []
