"""Devices of a dialect, as somebody meets them who starts the binary for the first time: the example, the first password, the
API, and a device that is known and one that is not."""

import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import urllib.error
import urllib.request

import pytest
from broker import Process, free_address

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "examples" / "thingsboard.toml"
TIMEOUT_S = 10
USER_ERROR = 2

DEVICES = """
[server]
cores = 1
[[listener]]
bind = "{devices}"
dialect = "thingsboard"
[control]
listen = "{http}"
{more}
"""


@pytest.fixture
def ground(tmp_path):
    """A configuration with devices, to be started again and again on one data directory."""

    class Ground:
        devices, http, data = free_address(), free_address(), tmp_path / "data"
        started = []

        def start(self, more="", **env):
            path = tmp_path / "devices.toml"
            path.write_text(DEVICES.format(devices=self.devices, http=self.http, more=more))
            process = Process("serve", "-c", path, env={"RINGMQ_STORE_DIR": str(self.data), **env})
            self.started.append(process)
            process.wait_line(lambda line: " ready: " in line)
            return process

        def ask(self, path, body=None, token=None):
            """Status and body of an answer."""
            headers = {"Content-Type": "application/json"}
            if token:
                headers["X-Authorization"] = f"Bearer {token}"
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(f"http://{self.http}{path}", data, headers)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                    return answer.status, json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as refused:
                return refused.code, refused.read().decode()

        def login(self, password, name="tenant@thingsboard.org"):
            return self.ask("/api/auth/login", {"username": name, "password": password})

    ground = Ground()
    yield ground
    for process in ground.started:
        process.kill()


def end(process):
    process.signal(signal.SIGTERM)
    assert process.wait_exit() == 0


def test_the_example_has_nothing_to_complain_about(run):
    done = run("check", "-c", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.endswith("thingsboard.toml: nothing to complain about\n")


def test_everything_commented_out_in_the_example_is_good_too(run, tmp_path):
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        bare = line.removeprefix("# ")
        is_key = bare.startswith("[[") or " = " in bare and bare.split(" = ")[0].isidentifier()
        lines.append(bare if is_key else line)
    (tmp_path / "all.toml").write_text("\n".join(lines) + "\n")
    assert run("cert", tmp_path / "certs").returncode == 0
    for name in ("server.pem", "server.key"):
        shutil.copy(tmp_path / "certs" / name, tmp_path / name)
    done = run("check", "-c", tmp_path / "all.toml")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "8883" in (tmp_path / "all.toml").read_text()


def test_the_first_start_makes_a_password_and_no_later_one_does(ground):
    process = ground.start()
    path = ground.data / "admin-password"
    password = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((ground.data / "token-secret").stat().st_mode) == 0o600
    told = [line for line in process.lines if password in line]
    assert len(told) == 1 and "tenant@thingsboard.org" in told[0] and str(path) in told[0]
    assert ground.login(password)[0] == 200
    assert ground.login(password, "sysadmin@thingsboard.org")[0] == 200
    assert ground.login(password + "x")[0] == 401
    token = ground.login(password)[1]["token"]
    end(process)

    process = ground.start()
    assert path.read_text().strip() == password
    assert "first start" not in process.output
    assert ground.login(password)[0] == 200
    assert ground.ask("/api/auth/user", token=token)[0] == 200, "tokens outlive a restart"


def test_a_password_of_the_configuration_is_used_and_shown_nowhere(ground, tmp_path):
    secret = tmp_path / "given"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    process = ground.start(f'admin_password_file = "{secret}"\ntenant_admin = "boss@example.org"')
    assert "sesame" not in process.output
    assert not (ground.data / "admin-password").exists()
    assert ground.login("open sesame", "boss@example.org")[0] == 200


def test_without_a_data_directory_the_password_is_told_and_written_nowhere(ground):
    process = ground.start(RINGMQ_STORE_DURABILITY="memory")
    line = process.wait_line(lambda line: "until the broker ends" in line) if not any(
        "until the broker ends" in line for line in process.lines
    ) else next(line for line in process.lines if "until the broker ends" in line)
    password = line.split("with the password ")[1].split(",")[0]
    assert not ground.data.exists()
    assert ground.login(password)[0] == 200


def test_a_broker_without_devices_founds_nothing(ground, tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(f'[[listener]]\nbind = "{ground.devices}"\n[control]\nlisten = "{ground.http}"\n')
    process = Process("serve", "-c", path, env={"RINGMQ_STORE_DIR": str(ground.data)})
    ground.started.append(process)
    process.wait_line(lambda line: " ready: " in line)
    assert not (ground.data / "admin-password").exists()
    assert "first start" not in process.output
    assert ground.login("anything")[0] == 401


def test_a_secret_that_cannot_be_read_stops_the_start_with_its_name(run, write, address):
    devices = DEVICES.format(devices=address, http=free_address(), more='admin_password_file = "nowhere"')
    done = run("serve", "-c", write(devices), env={"RINGMQ_STORE_DIR": "data"})
    assert done.returncode == USER_ERROR, done
    assert "nowhere: cannot be read: No such file" in done.stderr
    assert done.stdout == ""


def test_a_device_that_is_known_is_heard_and_another_one_is_refused_and_counted(ground):
    ground.start()
    token = ground.login((ground.data / "admin-password").read_text().strip())[1]["token"]
    status, device = ground.ask("/api/device?accessToken=T0KEN", {"name": "thermometer"}, token)
    assert (status, device["name"]) == (200, "thermometer")
    say = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(ground.devices.port), "-q", "1"]
    say += ["-t", "v1/devices/me/telemetry", "-m", '{"temperature":21.5}']
    assert subprocess.run([*say, "-u", "T0KEN"], timeout=TIMEOUT_S, check=False).returncode == 0
    path = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}/values/timeseries?keys=temperature"
    status, values = ground.ask(path, token=token)
    assert (status, values["temperature"][0]["value"]) == (200, "21.5")
    refused = subprocess.run([*say, "-u", "t0ken"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert refused.returncode != 0 and "not authorised" in refused.stderr
    with urllib.request.urlopen(f"http://{ground.http}/metrics", timeout=TIMEOUT_S) as answer:
        metrics = answer.read().decode()
    assert "\nringmq_devices 1\n" in metrics
    assert "\nringmq_doors_refused_total 1\n" in metrics
    assert "\nringmq_failed_logins_total 0\n" in metrics, "one old token locks nobody out"
    assert "\nringmq_doors_admitted_total 1\n" in metrics
