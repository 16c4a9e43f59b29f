"""A broker with a listener for ThingsBoard's devices, a plain one, one in TLS, and the HTTP API; and who works with it.

What these tests know of the platform is what its users know: the lines of its configuration, the file with the first
password, MQTT and HTTP. A plant keeps its data directory, so that it can be ended or killed and started again.
"""

import itertools
import os
import pathlib
import shutil
import signal
import tempfile
import time

import requests
from broker import Process, free_address

TIMEOUT_S = 10
HTTP_S = 30
# The first start hashes a password and writes a reserve to the disk.
START_S = 60
NUMBERS = itertools.count(1)
CUSTOMER_NOBODY = "13814000-1dd2-11b2-8080-808080808080"

CONFIGURATION = """
[server]
cores = "{cores}"

[store]
dir = "{data}"
{store}

[limits]
packet_bytes_max = 65536
receive_maximum = 100
takeovers_per_minute_max = 0

[[listener]]
bind = "{devices}"
dialect = "thingsboard"

[[listener]]
bind = "{plain}"
{secure}
[control]
listen = "{http}"
{more}
"""

SECURE = """
[[listener]]
bind = "{address}"
protocol = "mqtts"
dialect = "thingsboard"
certificate = "{certificate}"
private_key = "{key}"
client_certificate = "any"
"""


def until(look, what="what was waited for", timeout_s=TIMEOUT_S):
    """The first true value that `look` returns; it is asked again and again, and each asking takes its time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s; last seen: {found!r}"


def new_name(prefix="d"):
    """A name that no other test uses."""
    return f"{prefix}-{os.getpid()}-{next(NUMBERS)}"


class Plant:
    """A running broker; `stop` and `kill` leave its data, `start` continues with it."""

    def __init__(self, cores=1, certificate=None, more="", data=None, store=""):
        """`certificate` is a pair of paths, the certificate of the listener in TLS and its key; `store` are lines of that
        section of the configuration."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ringmq-plant-"))
        self.data = data or self.folder / "data"
        self.devices, self.plain, self.http = free_address(), free_address(), free_address()
        self.secure = free_address() if certificate else None
        secure = ""
        if certificate:
            secure = SECURE.format(address=self.secure, certificate=certificate[0], key=certificate[1])
        self.configuration = self.folder / "plant.toml"
        self.configuration.write_text(
            CONFIGURATION.format(
                cores=cores, data=self.data, devices=self.devices, plain=self.plain, http=self.http,
                secure=secure, more=more, store=store,
            )
        )
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://{self.http}"

    def start(self):
        # A process of these tests keeps its data elsewhere unless told.
        self.process = Process("serve", "-c", self.configuration, env={"RINGMQ_STORE_DIR": str(self.data)})
        try:
            self.process.wait_line(lambda line: str(self.devices) in line and " ready: " in line, START_S)
        except BaseException:
            self.process.kill()
            raise

    def stop(self):
        """SIGTERM; the exit code."""
        try:
            self.process.signal(signal.SIGTERM)
            return self.process.wait_exit(20)
        finally:
            self.process.kill()

    def kill(self):
        """SIGKILL, as a machine that lost its power to a process."""
        self.process.signal(signal.SIGKILL)
        assert self.process.wait_exit() == -signal.SIGKILL

    def close(self):
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def figure(self, name):
        """A figure of the metrics; those of several threads together."""
        lines = requests.get(f"{self.url}/metrics", timeout=HTTP_S).text.splitlines()
        samples = [line for line in lines if line.split("{")[0].split(" ")[0] == f"ringmq_{name}"]
        assert samples, f"nobody counts {name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples)

    def password(self):
        """Name and password of the first administrator."""
        path = self.data / "admin-password"
        assert path.stat().st_mode & 0o777 == 0o600, "nobody else can read it"
        return "tenant@thingsboard.org", path.read_text().strip()

    def api(self):
        return Api(self.url, *self.password())


class Refused(AssertionError):
    """An answer with another status than was expected."""


class Api:
    """A client of the HTTP API that has logged in, as back-end scripts do with `requests`."""

    def __init__(self, url, user=None, password=None):
        self.url = url
        self.session = requests.Session()
        self.pair = None
        if user is not None:
            self.login(user, password)

    def login(self, user, password):
        self.pair = self.post("/api/auth/login", {"username": user, "password": password})
        self.session.headers["X-Authorization"] = f"Bearer {self.pair['token']}"

    def call(self, method, path, body=None, status=200, **options):
        """The body of an answer that must have this status: JSON if it is, otherwise text, None if there is none."""
        if body is not None:
            options["json"] = body
        answer = self.session.request(method, self.url + path, timeout=HTTP_S, **options)
        if answer.status_code != status:
            raise Refused(f"{method} {path}: {answer.status_code} instead of {status}: {answer.text[:500]}")
        if not answer.content:
            return None
        if "json" in answer.headers.get("content-type", ""):
            return answer.json()
        return answer.text

    def get(self, path, status=200, **options):
        return self.call("GET", path, status=status, **options)

    def post(self, path, body=None, status=200, **options):
        return self.call("POST", path, body, status, **options)

    def delete(self, path, status=200, **options):
        return self.call("DELETE", path, status=status, **options)

    def refusal(self, method, path, body=None, status=400, code=None, **options):
        """The message of an error body, whose members are looked at."""
        error = self.call(method, path, body, status, **options)
        assert error["status"] == status, error
        assert isinstance(error["timestamp"], int), error
        if code is not None:
            assert error["errorCode"] == code, error
        return error["message"]

    def customer(self):
        """A new customer, and the API as one of its users sees it."""
        made = self.post("/api/customer", {"title": new_name("customer")})
        name = f"{new_name('user')}@example.org"
        body = {"email": name, "authority": "CUSTOMER_USER", "customerId": made["id"]}
        user = self.post("/api/user?sendActivationMail=false", body)
        link = self.get(f"/api/user/{user['id']['id']}/activationLink")
        token = link.partition("activateToken=")[2]
        Api(self.url).post("/api/noauth/activate", {"activateToken": token, "password": "claim-123"})
        return made, Api(self.url, name, "claim-123")

    # ---- devices -------------------------------------------------------------------------------------------------

    def device(self, name=None, token=None, **fields):
        """A new device with an access token."""
        name = name or new_name()
        path = f"/api/device?accessToken={token}" if token else "/api/device"
        made = self.post(path, {"name": name, **({} if fields.get("deviceProfileId") else {"type": "default"}), **fields})
        return Device(self, made)

    def gateway(self, name=None, **fields):
        return self.device(name or new_name("g"), additionalInfo={"gateway": True}, **fields)

    def by_name(self, name):
        """A device that somebody else has made."""
        return Device(self, self.get(f"/api/tenant/devices?deviceName={name}"))

    def profile(self, name=None, transport=None, **fields):
        """A new device profile; `transport` is its transportConfiguration."""
        data = {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": transport or {"type": "DEFAULT"},
            "provisionConfiguration": {"type": "DISABLED"},
            **fields.pop("profileData", {}),
        }
        profile = {
            "name": name or new_name("p"), "type": "DEFAULT",
            "transportType": (transport or {}).get("type", "DEFAULT"),
            "provisionType": data["provisionConfiguration"]["type"], "profileData": data, **fields,
        }
        return self.post("/api/deviceProfile", profile)

    def provisioning_profile(self, strategy):
        """A profile that provisions; its key and its secret."""
        key, secret = new_name("key"), new_name("secret")
        profile = self.profile(
            provisionDeviceKey=key,
            profileData={"provisionConfiguration": {"type": strategy, "provisionDeviceSecret": secret}},
        )
        return profile, key, secret

    def chain_profile(self, authority, pattern=r"^(.*)\.devices\.example$", creates=True):
        """A profile whose devices are made by who has signed their certificate."""
        return self.profile(
            profileData={
                "provisionConfiguration": {
                    "type": "X509_CERTIFICATE_CHAIN",
                    "provisionDeviceSecret": authority.certificate.read_text(),
                    "certificateRegExPattern": pattern,
                    "allowCreateNewDevicesByX509Certificate": creates,
                }
            }
        )

    def package(self, profile, data, kind="FIRMWARE", algorithm="SHA256", **fields):
        """An uploaded package: its info."""
        package = {
            "title": new_name("app"), "version": "1.1", "type": kind, "deviceProfileId": profile, "usesUrl": False,
            **fields,
        }
        info = self.post("/api/otaPackage", package)
        path = f"/api/otaPackage/{info['id']['id']}?checksumAlgorithm={algorithm}"
        return self.post(path, files={"file": ("image.bin", data, "application/octet-stream")})


class Device:
    """A device as the API shows it."""

    def __init__(self, api, found):
        self.api = api
        self.found = found
        self.id = found["id"]["id"]
        self.name = found["name"]
        self.credentials = api.get(f"/api/device/{self.id}/credentials")
        self.token = self.credentials["credentialsId"]
        self.path = f"/api/plugins/telemetry/DEVICE/{self.id}"

    def save(self, **fields):
        self.found = self.api.post("/api/device", {**self.api.get(f"/api/device/{self.id}"), **fields})
        return self.found

    def latest(self, *keys, typed=True):
        """The latest value of each key; None for one that was never heard."""
        query = [("useStrictDataTypes", str(typed).lower())] + ([("keys", ",".join(keys))] if keys else [])
        points = self.api.get(f"{self.path}/values/timeseries", params=query)
        return {key: list_of[0]["value"] for key, list_of in points.items()}

    def history(self, *keys, start=0, end=1 << 52, **options):
        """Points between two times as pairs of time and value, oldest first."""
        query = {
            "keys": ",".join(keys), "startTs": start, "endTs": end, "orderBy": "ASC", "limit": 50_000,
            "useStrictDataTypes": "true", **options,
        }
        found = self.api.get(f"{self.path}/values/timeseries", params=query)
        return {key: [(point["ts"], point["value"]) for point in found.get(key, [])] for key in keys}

    def attributes(self, scope, *keys):
        query = {"keys": ",".join(keys)} if keys else {}
        found = self.api.get(f"{self.path}/values/attributes/{scope}", params=query)
        return {one["key"]: one["value"] for one in found}

    def set(self, scope="SHARED_SCOPE", **values):
        self.api.post(f"/api/plugins/telemetry/{self.id}/{scope}", values)

    def rpc(self, method, params=None, way="twoway", status=200, **fields):
        body = {"method": method, "params": params, **fields}
        return self.api.post(f"/api/rpc/{way}/{self.id}", body, status)

    def persistent(self, method, params=None, way="twoway", **fields):
        """The id of a command that is kept."""
        return self.rpc(method, params, way, persistent=True, **fields)["rpcId"]

    def command(self, rpc_id):
        return self.api.get(f"/api/rpc/persistent/{rpc_id}")

    def until_command(self, rpc_id, *states):
        """Waits until a kept command is in one of these states, and returns it."""

        def look():
            found = self.command(rpc_id)
            return found if found["status"] in states else None

        return until(look, f"command in {states}")
