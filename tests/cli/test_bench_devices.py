"""`ringmq-bench telemetry` with devices of ThingsBoard's API: it makes them, and its ledger is kept where others hear them."""

import pytest
from plant import Plant
from test_bench import Bench


@pytest.fixture(scope="module")
def plant():
    running = Plant(1)
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.close()


@pytest.fixture
def telemetry(plant, tmp_path):
    """Runs the workload on devices that it has made; returns its report."""
    bench = Bench(plant.devices, tmp_path)
    password = plant.data / "admin-password"

    def report(keeping, *arguments):
        return bench.report(
            "telemetry", "--dialect", "thingsboard", "-c", 20, "-L", 2000, "--duration", 0, "--window", 8,
            "-u", f"{keeping}-%i", "--keep-telemetry", keeping,
            "--provision", plant.url, "--admin-password-file", password, *arguments,
        )

    return report


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("keeping", ["history", "latest", "forward"])
def test_what_devices_say_is_heard_and_kept_as_their_profile_says(plant, telemetry, keeping, qos):
    report = telemetry(keeping, "-q", qos, "--subscribers", 1, "--sub-port", plant.plain.port)
    assert (report["expected"], report["lost"], report["duplicated"], report["reordered"]) == (2000, 0, 0, 0)
    device = plant.api().by_name(f"device of {keeping}-7")
    nothing, reading = {"temperature": None, "humidity": None}, {"temperature": 21.57, "humidity": 48}
    assert device.latest("temperature", "humidity") == (nothing if keeping == "forward" else reading)
    # Values of the same millisecond are one point.
    assert bool(device.history("mark")["mark"]) == (keeping == "history")


def test_without_a_subscriber_acknowledgements_are_counted(telemetry):
    assert telemetry("history", "-q", 1)["acknowledged"]["count"] == 2000


def test_tokens_may_come_from_a_file(plant, tmp_path):
    api = plant.api()
    devices = [api.device() for _ in range(3)]
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{device.token}\n" for device in devices))
    report = Bench(plant.devices, tmp_path).report(
        "telemetry", "--dialect", "thingsboard", "-c", 3, "--tokens", tokens, "-q", 1, "-L", 30, "--duration", 0,
        "--window", 4, "--subscribers", 1, "--sub-port", plant.plain.port,
    )
    assert (report["lost"], report["expected"]) == (0, 30)
    assert all(device.latest("humidity") == {"humidity": 48} for device in devices)


def test_a_wrong_password_makes_no_devices(plant, tmp_path):
    password = tmp_path / "password"
    password.write_text("wrong")
    ended = Bench(plant.devices, tmp_path).run(
        "telemetry", "--provision", plant.url, "--admin-password-file", password, "-c", 1
    )
    assert ended.returncode == 1 and "Invalid username or password" in ended.stderr
