"""Who may come in and what they may do, as somebody meets it who runs the binary: files, exit codes, logins, reloads."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import subprocess
import threading

import pytest
from broker import Process, binary, environment

TIMEOUT_S = 6
USER_ERROR = 2
BAD_CREDENTIALS, NOT_AUTHORIZED, SERVER_UNAVAILABLE = 0x86, 0x87, 0x88
SECRET = "a secret of at least thirty-two bytes"

CHAIN = """
[server]
cores = 2
[[listener]]
bind = "{address}"
authentication = "staff, tokens"
acl_file = "acl"
durability = "memory"
[[authenticator]]
name = "staff"
kind = "password-file"
file = "passwd"
[[authenticator]]
name = "tokens"
kind = "jwt"
secret_file = "secret"
[access]
admins = "chief"
"""
ACL = "user ann\ntopic readwrite home/#\npattern write up/%c\n"


# ---- a client of bytes ----------------------------------------------------------------------------------------------


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def packet(first, body):
    length, encoded = len(body), bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes([first]) + bytes(encoded) + body


def read_packet(connection):
    first = connection.recv(1)
    if not first:
        return None
    length, shift = 0, 0
    while True:
        byte = connection.recv(1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return first[0], connection.recv(length, socket.MSG_WAITALL) if length else b""


def connect(address, client_id, user=None, password=None, version=5):
    """Sends a CONNECT; returns the connection and the code of the CONNACK."""
    connection = socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)
    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes([version, flags]) + (60).to_bytes(2, "big") + (b"\x00" if version == 5 else b"")
    body += text(client_id)
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    connection.sendall(packet(0x10, body))
    first, answer = read_packet(connection)
    assert first == 0x20
    return connection, answer[1]


def code(address, *arguments, **options):
    connection, code = connect(address, *arguments, **options)
    connection.close()
    return code


def subscribe(connection, topic_filter):
    """The reason code of the SUBACK."""
    connection.sendall(packet(0x82, b"\x00\x01\x00" + text(topic_filter) + b"\x00"))
    while True:
        # Retained messages of an earlier subscription may come first.
        first, body = read_packet(connection)
        if first == 0x90:
            return body[-1]


def publish(connection, topic, payload=b"x"):
    """Publishes with QoS 1; the reason code of the PUBACK, 0x00 and 0x10 being good."""
    connection.sendall(packet(0x32, text(topic) + b"\x00\x07\x00" + payload))
    while True:
        first, body = read_packet(connection)
        if first == 0x40:
            return body[2] if len(body) > 2 else 0


def token(secret=SECRET, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return signed + b"." + part(hmac.new(secret.encode(), signed, hashlib.sha256).digest())


# ---- the files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ringmq(tmp_path):
    """Runs `ringmq ARGUMENTS` in the test's folder with something on standard input."""

    def to_its_end(*arguments, stdin=""):
        return subprocess.run(
            [binary(), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=20,
            check=False, cwd=tmp_path, env=environment(),
        )

    return to_its_end


@pytest.fixture
def house(tmp_path, address, ringmq, monkeypatch):
    """Starts a broker in the test's folder over a configuration and good files; kills it when the test ends."""
    monkeypatch.chdir(tmp_path)
    started = []
    assert ringmq("passwd", "-c", "passwd", "ann", stdin="secret\n").returncode == 0
    assert ringmq("passwd", "passwd", "chief", stdin="hidden\n").returncode == 0
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "acl").write_text(ACL)

    def start(config=CHAIN, **values):
        (tmp_path / "broker.toml").write_text(config.format(address=address, **values))
        started.append(Process("serve", "-c", "broker.toml"))
        started[-1].wait_line(lambda line: "ready:" in line)
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_passwd_makes_a_file_for_its_owner_alone(ringmq, tmp_path):
    path = tmp_path / "passwd"
    done = ringmq("passwd", "-c", path, "ann", stdin="secret\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: ann is set\n", "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("ann:$argon2id$v=19$m=47104,t=1,p=1$")
    assert "secret" not in path.read_text()
    done = ringmq("passwd", "--batch", path, stdin="bob:one\neve:with:colon\n")
    assert (done.returncode, done.stdout) == (0, f"{path}: 2 users are set\n")
    assert ringmq("passwd", "-D", path, "bob").returncode == 0
    assert [line.split(":")[0] for line in path.read_text().splitlines()] == ["ann", "eve"]
    assert os.listdir(tmp_path) == ["passwd"]


def test_passwd_keeps_permissions_and_refuses_what_would_do_harm(ringmq, tmp_path):
    path = tmp_path / "passwd"
    for arguments, stdin, told in [
        (["-D", path, "ann"], "", "is not there"),
        ([path, "ann"], "secret\n", "-c makes a new file"),
        (["-c", path, "a:b"], "secret\n", "a user name must not hold a colon"),
        (["-c", path, "ann"], "\n", "a password has 1 to 65535 bytes"),
        (["-c", "-b", path], "ann\n", "standard input, line 1: not user:password"),
        (["-c", "-b", path], "", "standard input holds no user:password"),
    ]:
        done = ringmq("passwd", *arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (USER_ERROR, ""), arguments
        assert told in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert not path.exists()
    assert ringmq("passwd", "-c", path, "ann", stdin="secret\n").returncode == 0
    path.chmod(0o640)
    before = path.read_text()
    for arguments, told in [
        (["-c", path, "bob"], "is there already"),
        (["-D", path, "bob"], "there is no such user"),
    ]:
        done = ringmq("passwd", *arguments, stdin="x\n")
        assert done.returncode == USER_ERROR and told in done.stderr
        assert path.read_text() == before
    assert ringmq("passwd", path, "bob", stdin="x\n").returncode == 0
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_text("ann:plain\n")
    done = ringmq("passwd", path, "bob", stdin="x\n")
    assert done.returncode == USER_ERROR and f"{path}:1: has no hash that is known" in done.stderr


def test_acl_tells_which_line_decides(ringmq, tmp_path):
    path = tmp_path / "acl"
    path.write_text("user ann\ntopic home/#\ntopic deny home/safe\npattern write up/%c\n")
    done = ringmq("acl", path, "--user", "ann", "--client", "c1", "--topic", "home/safe")
    why = f"denied ({path}:3: topic deny home/safe)"
    assert done.stdout.splitlines() == [f"{what} home/safe: {why}" for what in ("publish", "receive", "subscribe")]
    done = ringmq("acl", path, "--client", "c1", "--topic", "up/c1")
    assert done.stdout.splitlines() == [
        f"publish up/c1: allowed ({path}:4: pattern write up/%c)",
        "receive up/c1: denied (no line allows it)",
        "subscribe up/c1: denied (no line allows it)",
    ]
    done = ringmq("acl", path, "--user", "ann", "--topic", "home/+")
    assert done.stdout.splitlines() == [f"subscribe home/+: allowed ({path}:2: topic home/#)"]
    done = ringmq("acl", path, "--user", "+", "--client", "+", "--topic", "up/c1")
    assert "publish up/c1: denied (no line allows it)" in done.stdout
    path.write_text("topic a\nallow b\n")
    done = ringmq("acl", path, "--topic", "a")
    assert (done.returncode, done.stdout) == (USER_ERROR, "")
    assert done.stderr == f'ringmq: {path}:2: "allow" is none of user, topic, pattern\n'


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("acl", "", "acl: holds no rule"),
        ("acl", "# nothing\n", "acl: holds no rule"),
        ("acl", "user ann\ntopic a", "acl: does not end with a line break"),
        ("acl", "user ann\ntopic read\n", "acl:2: read needs a topic"),
        ("passwd", "", "passwd: holds no user"),
        ("passwd", "ann:secret\n", "passwd:1: has no hash that is known"),
        ("passwd", "ann:$7$101$YQ==", "passwd: does not end with a line break"),
        ("secret", "", "secret: is too short"),
        ("acl", None, "acl: cannot be read: No such file or directory"),
    ],
)
def test_a_bad_file_stops_the_start_with_one_line(house, ringmq, tmp_path, address, name, content, told):
    house().kill()
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    for command in ("serve", "check"):
        done = ringmq(command, "-c", "broker.toml")
        assert (done.returncode, done.stdout) == (USER_ERROR, "")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ringmq: ")]
        assert len(lines) == 1 and lines[0].startswith(f"ringmq: {told}"), done.stderr
    assert not address.is_open()


# ---- logins -------------------------------------------------------------------------------------------------------------


def test_the_right_password_lets_in_and_everything_else_does_not(house, address):
    house()
    assert code(address, "c", "ann", "secret") == 0
    for arguments in [("c", "ann", "wrong"), ("c", "eve", "secret"), ("c", "ann"), ("c", "ann", "")]:
        assert code(address, *arguments) == BAD_CREDENTIALS, arguments
        assert code(address, *arguments, version=4) == 4, arguments
    assert code(address, "c") == NOT_AUTHORIZED
    assert code(address, "c", version=4) == 5
    # From many connections at once, through both cores.
    crowd = [connect(address, f"c{number}", "ann", "secret") for number in range(20)]
    assert [code for _, code in crowd] == [0] * 20
    for connection, _ in crowd:
        connection.close()


def test_an_address_that_guesses_is_turned_away_at_the_door(house, address):
    process = house(CHAIN + "[limits]\nfailed_logins_per_address_max = 3\n")
    assert [code(address, "c", "ann", f"guess {number}") for number in range(3)] == [BAD_CREDENTIALS] * 3
    with socket.create_connection((address.host, address.port), timeout=TIMEOUT_S) as turned_away:
        try:
            assert turned_away.recv(1) == b""
        except ConnectionResetError:
            pass
    process.wait_line(lambda line: "too many failed logins from its address" in line)


def test_a_token_lets_in_and_its_claims_narrow(house, address, tmp_path):
    (tmp_path / "acl").write_text("pattern readwrite +/%c\n")
    house()
    good = {"sub": "device", "exp": 4_000_000_000}
    assert code(address, "c", "x", token(**good)) == 0
    for claims in [{"sub": "device"}, {"sub": "device", "exp": 1}, {"exp": 4_000_000_000}]:
        assert code(address, "c", "x", token(**claims)) == BAD_CREDENTIALS, claims
    assert code(address, "c", "x", token(secret="another secret of thirty-two bytes", **good)) == BAD_CREDENTIALS
    connection, answer = connect(address, "c", "x", token(acl={"pub": ["up/%c"], "sub": ["down/%c"]}, **good))
    assert answer == 0
    assert publish(connection, "up/c") in (0, 0x10)
    assert publish(connection, "down/c") == NOT_AUTHORIZED
    assert publish(connection, "up/d") == NOT_AUTHORIZED
    assert subscribe(connection, "down/c") == 0
    assert subscribe(connection, "up/c") == NOT_AUTHORIZED
    connection.close()


def test_only_administrators_read_sys(house, address):
    house()
    for user, password, answer in [("ann", "secret", NOT_AUTHORIZED), ("chief", "hidden", 0)]:
        connection, _ = connect(address, "c", user, password)
        assert subscribe(connection, "$SYS/#") == answer, user
        assert subscribe(connection, "$share/g/$SYS/#") == answer, user
        connection.close()


def test_a_name_made_of_wildcards_widens_nothing(house, address, ringmq):
    assert ringmq("passwd", "passwd", "+", stdin="x\n").returncode == USER_ERROR
    house()
    connection, answer = connect(address, "#", "ann", "secret")
    assert answer == 0
    assert publish(connection, "up/c") == NOT_AUTHORIZED
    connection.close()


# ---- reload -------------------------------------------------------------------------------------------------------------


def test_a_reload_changes_rules_without_a_reconnect(house, address, tmp_path):
    process = house()
    connection, _ = connect(address, "c", "ann", "secret")
    assert publish(connection, "home/a") in (0, 0x10)
    (tmp_path / "acl").write_text("user ann\ntopic write elsewhere\n")
    process.signal(signal.SIGHUP)
    process.wait_line(lambda line: "acl: read again" in line)
    assert publish(connection, "home/a") == NOT_AUTHORIZED
    assert publish(connection, "elsewhere") in (0, 0x10)
    (tmp_path / "acl").write_text("topic nonsense here\nallow all\n")
    process.signal(signal.SIGHUP)
    process.wait_line(lambda line: 'acl:2: "allow" is none of' in line and "stays in use" in line)
    assert publish(connection, "elsewhere") in (0, 0x10)
    assert publish(connection, "home/a") == NOT_AUTHORIZED
    connection.close()


def test_a_reload_changes_passwords(house, address, ringmq):
    process = house()
    assert code(address, "c", "ann", "secret") == 0
    assert ringmq("passwd", "passwd", "ann", stdin="new\n").returncode == 0
    assert code(address, "c", "ann", "secret") == 0
    process.signal(signal.SIGHUP)
    process.wait_line(lambda line: "passwd: read again" in line)
    assert code(address, "c", "ann", "secret") == BAD_CREDENTIALS
    assert code(address, "c", "ann", "new") == 0


def test_a_secret_that_others_can_read_is_a_warning(house, tmp_path):
    (tmp_path / "secret").chmod(0o644)
    process = house()
    process.signal(signal.SIGTERM)
    assert process.wait_exit() == 0
    assert [line for line in process.lines if "secret: others on this machine can read it (mode 0644)" in line]


# ---- a service ----------------------------------------------------------------------------------------------------------


SERVICE = """
[[listener]]
bind = "{address}"
authentication = "desk"
durability = "memory"
[[authenticator]]
name = "desk"
kind = "http"
url = "http://127.0.0.1:{port}/auth"
timeout_ms = 500
"""


class Service(http.server.BaseHTTPRequestHandler):
    """Lets `good` in, does not answer `slow`, and writes down what it was asked."""

    protocol_version = "HTTP/1.1"
    asked = []
    released = threading.Event()

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(question)
        if question["user"] == "slow":
            self.released.wait(60)
        status, body = 401, b""
        if question["user"] == "good":
            status, body = 200, json.dumps({"allow": True, "acl": {"publish": ["up/%c"]}}).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_service_over_http_decides(house, address):
    Service.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = house(SERVICE, port=server.server_port)
    try:
        connection, answer = connect(address, "c", "good", "pw")
        assert answer == 0
        assert publish(connection, "up/c") in (0, 0x10)
        assert publish(connection, "up/d") == NOT_AUTHORIZED
        assert Service.asked == [
            {"client_id": "c", "user": "good", "password": "pw", "peer": "127.0.0.1", "listener": str(address)}
        ]
        assert code(address, "d", "bad", "pw") == BAD_CREDENTIALS
        # A service that hangs keeps nobody waiting but those who are asked about.
        assert code(address, "e", "slow", "pw") == SERVER_UNAVAILABLE
        process.wait_line(lambda line: "`desk`" in line and "gave no answer within 500 ms" in line)
        assert publish(connection, "up/c") in (0, 0x10)
        connection.close()
    finally:
        Service.released.set()
        server.shutdown()
        server.server_close()
