"""Listeners with TLS, WebSocket, PROXY headers and socket files: seen from outside, as a client meets them."""

import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import urllib.error
import urllib.request

import pytest
from broker import Process, free_address

TIMEOUT_S = 6
USER_ERROR = 2
CONNACK = bytes.fromhex("20 02 00 00")
PINGREQ, PINGRESP = bytes.fromhex("c000"), bytes.fromhex("d000")
IDLE_BYTES_MAX = 20_000


def connect(client_id):
    """A CONNECT of MQTT 3.1.1."""
    rest = bytes.fromhex("0004 4d515454 04 02 003c") + len(client_id).to_bytes(2) + client_id.encode()
    return bytes([0x10, len(rest)]) + rest


CONNECT = connect("a")


@pytest.fixture
def cert(run, tmp_path):
    """Makes certificates with `ringmq cert` and returns their directory."""

    def make(name, *hosts):
        done = run("cert", name, *(part for host in hosts for part in ("--host", host)))
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    return make


@pytest.fixture
def start(write):
    """Starts a broker with the listeners of a text; `Door`s are where its clients connect."""
    started = []

    def to_serve(text, **env):
        process = Process("serve", "-c", write(text), "--cores", 1, env={"RINGMQ_STORE_DURABILITY": "memory", **env})
        started.append(process)
        process.ready_line = process.wait_line(lambda line: " ready: " in line)
        return process

    yield to_serve
    for process in started:
        process.kill()


# Whoever comes through a proxy is not of this machine.
OPEN = "allow_anonymous = true\n"


def listener(address, protocol, **keys):
    """The text of one listener."""
    rows = {"bind": address, "protocol": protocol, **keys}
    return "\n".join(["[[listener]]", *(f'{key} = "{value}"' for key, value in rows.items()), ""])


def shown(certs):
    """The keys of a listener that shows these certificates."""
    return {"certificate": certs / "server.pem", "private_key": certs / "server.key"}


def context(certs, own=None, version=None):
    """What a client believes and shows."""
    made = ssl.create_default_context(cafile=certs / "ca.pem")
    if own:
        made.load_cert_chain(own / "client.pem", own / "client.key")
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def plain(address):
    return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)


def secure(address, believed, host="localhost", session=None):
    return believed.wrap_socket(plain(address), server_hostname=host, session=session)


def heard(connection, length):
    """So many bytes, however they are cut."""
    parts = b""
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        assert part, f"the connection ended after {parts!r}"
        parts += part
    return parts


def meet(connection, client_id="a"):
    """The connection, once it has been let in."""
    connection.sendall(connect(client_id))
    assert heard(connection, len(CONNACK)) == CONNACK
    return connection


def pings(connection):
    connection.sendall(PINGREQ)
    return heard(connection, 2) == PINGRESP


def refused(done, *parts):
    assert (done.returncode, done.stdout) == (USER_ERROR, ""), done
    for part in parts:
        assert part in done.stderr


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_check_finds_what_is_wrong_with_files_and_names_the_place(run, write, cert):
    certs = cert("certs")
    missing = listener("127.0.0.1:8883", "mqtts", certificate="none.pem", private_key=certs / "server.key")
    path = write(missing)
    for command in ("check", "serve"):
        refused(run(command, "-c", path), f"{path}:4:15: `certificate`: none.pem cannot be read")
    wrong_key = listener("127.0.0.1:8883", "mqtts", certificate=certs / "server.pem", private_key=certs / "client.key")
    refused(run("check", "-c", write(wrong_key)), f"{path}:5:15: `private_key`: ", "does not belong to")
    done = run("check", "-c", write(listener("127.0.0.1:8883", "mqtts", **shown(certs))))
    assert (done.returncode, done.stderr) == (0, ""), done


def test_wss_without_certificate_is_refused_with_the_way_to_get_one(run, write):
    path = write(listener("127.0.0.1:8084", "wss"))
    refused(run("check", "-c", path), f"{path}:3:12: ", "`certificate` and `private_key`", "ringmq cert")


def test_a_key_that_everybody_can_read_is_warned_of(run, write, cert):
    certs = cert("certs")
    (certs / "server.key").chmod(0o644)
    done = run("check", "-c", write(listener("127.0.0.1:8883", "mqtts", **shown(certs))))
    assert done.returncode == 0
    assert "warning: " in done.stderr and "chmod o-r" in done.stderr


def test_cert_makes_private_keys_and_never_overwrites(run, cert):
    certs = cert("certs", "broker.test")
    keys = {name: (certs / f"{name}.key").read_bytes() for name in ("ca", "server", "client")}
    assert {stat.S_IMODE((certs / f"{name}.key").stat().st_mode) for name in keys} == {0o600}
    refused(run("cert", "certs"), "ca.pem is there already")
    assert keys == {name: (certs / f"{name}.key").read_bytes() for name in keys}


def test_the_ready_line_names_every_door(start, cert, tmp_path):
    certs, addresses = cert("certs"), [free_address() for _ in range(4)]
    texts = [
        listener(addresses[0], "mqtt"),
        listener(addresses[1], "mqtts", **shown(certs)),
        listener(addresses[2], "ws", websocket_path="/broker"),
        listener(addresses[3], "wss", **shown(certs)),
        listener(f"unix:{tmp_path}/mqtt.sock", "mqtt"),
    ]
    line = start("".join(texts)).ready_line
    assert f"mqtt {addresses[0]} memory, mqtts {addresses[1]} memory, ws {addresses[2]}/broker memory, " in line
    assert f"wss {addresses[3]}/mqtt memory, mqtt unix:{tmp_path}/mqtt.sock memory (1 core)" in line


def test_variables_reach_the_keys_of_the_doors(start, cert, address):
    certs = cert("certs")
    keys = {f"RINGMQ_LISTENER_{key.upper()}": str(value) for key, value in shown(certs).items()}
    start(listener(address, "mqtt"), RINGMQ_LISTENER_PROTOCOL="mqtts", **keys)
    meet(secure(address, context(certs))).close()


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken_with_alpn_and_the_second_handshake_is_resumed(start, cert, address, version):
    certs = cert("certs")
    start(listener(address, "mqtts", **shown(certs)))
    believed = context(certs, version=version)
    believed.set_alpn_protocols(["mqtt"])
    with meet(secure(address, believed)) as first:
        assert (first.version(), first.selected_alpn_protocol()) == (version.name.replace("_", "."), "mqtt")
        assert not first.session_reused
        kept = first.session
    with meet(secure(address, believed, session=kept)) as second:
        assert second.session_reused


def test_the_older_version_can_be_refused(start, cert, address):
    certs = cert("certs")
    start(listener(address, "mqtts", tls_min="1.3", **shown(certs)))
    meet(secure(address, context(certs, version=ssl.TLSVersion.TLSv1_3))).close()
    with pytest.raises(ssl.SSLError):
        secure(address, context(certs, version=ssl.TLSVersion.TLSv1_2))


def test_suites_without_forward_secrecy_are_refused(start, cert, address):
    certs = cert("certs")
    start(listener(address, "mqtts", **shown(certs)))
    believed = context(certs, version=ssl.TLSVersion.TLSv1_2)
    believed.set_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError):
        secure(address, believed)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_needs_a_certificate_of_the_right_authority_where_one_is_required(start, cert, address, version):
    certs, strangers = cert("certs"), cert("strangers")
    broker = start(listener(address, "mqtts", client_ca=certs / "ca.pem", **shown(certs)))
    meet(secure(address, context(certs, own=certs, version=version))).close()
    for own, why in ((None, "peer sent no certificates"), (strangers, "invalid peer certificate")):
        # In TLS 1.3 a client learns only with the first bytes that it was refused.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            meet(secure(address, context(certs, own=own, version=version)))
        broker.wait_line(lambda line, why=why: "failed in TLS" in line and why in line)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_in_a_certificate_is_the_user_of_the_rules(start, cert, address, tmp_path, version):
    certs, rules = cert("certs"), tmp_path / "rules"
    rules.write_text("user client\ntopic read home/#\npattern read of/%u/#\n")
    keys = {"client_ca": certs / "ca.pem", "client_certificate": "optional", "authentication": "papers", "acl_file": rules}
    start(listener(address, "mqtts", **shown(certs), **keys) + '[[authenticator]]\nname = "papers"\nkind = "certificate"\n')
    filters = [b"home/a", b"of/client/b", b"of/somebody/b"]
    rest = b"\0\1" + b"".join(len(one).to_bytes(2) + one + b"\0" for one in filters)
    with meet(secure(address, context(certs, own=certs, version=version))) as connection:
        connection.sendall(bytes([0x82, len(rest)]) + rest)
        assert heard(connection, 7) == bytes.fromhex("90 05 0001 00 00 80")
    with secure(address, context(certs, version=version)) as connection:
        connection.sendall(CONNECT)
        assert heard(connection, 4) == bytes.fromhex("20 02 00 05"), "who shows no certificate is not let in"


def test_optional_certificates_may_be_missing_and_not_wrong(start, cert, address):
    certs, strangers = cert("certs"), cert("strangers")
    start(listener(address, "mqtts", client_ca=certs / "ca.pem", client_certificate="optional", **shown(certs)))
    meet(secure(address, context(certs))).close()
    meet(secure(address, context(certs, own=certs))).close()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        meet(secure(address, context(certs, own=strangers)))


def test_the_name_that_is_asked_for_chooses_the_certificate(start, cert, address):
    certs, others = cert("certs"), cert("others", "other.test")
    pair = f"{others}/server.pem {others}/server.key"
    start(listener(address, "mqtts", certificates=pair, **shown(certs)))
    meet(secure(address, context(others), host="other.test")).close()
    meet(secure(address, context(certs), host="localhost")).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(address, context(certs), host="other.test")


def revoke(certs, name):
    """Writes ca.crl, which revokes NAME.pem, with openssl."""
    serial = subprocess.run(
        ["openssl", "x509", "-in", certs / f"{name}.pem", "-noout", "-serial"],
        capture_output=True, text=True, check=True,
    ).stdout.strip().partition("=")[2]
    (certs / "index.txt").write_text(f"R\t351231235959Z\t200101000000Z\t{serial}\tunknown\t/CN={name}\n")
    (certs / "crlnumber").write_text("01\n")
    (certs / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {certs}/index.txt\ncrlnumber = {certs}/crlnumber\n"
        f"default_md = sha256\ncrl_extensions = more\n[more]\nauthorityKeyIdentifier = keyid:always\n"
    )
    subprocess.run(
        ["openssl", "ca", "-config", certs / "ca.cnf", "-gencrl", "-crldays", "30", "-cert", certs / "ca.pem",
         "-keyfile", certs / "ca.key", "-out", certs / "ca.crl"],
        capture_output=True, check=True,
    )


def test_a_revoked_client_is_refused_from_the_next_reload_on(start, cert, address):
    certs = cert("certs")
    revoke(certs, "server")
    broker = start(listener(address, "mqtts", client_ca=certs / "ca.pem", crl=certs / "ca.crl", **shown(certs)))
    believed = context(certs, own=certs)
    with meet(secure(address, believed)) as before:
        revoke(certs, "client")
        broker.signal(signal.SIGHUP)
        broker.wait_line(lambda line: "what has changed holds for new connections" in line)
        # Not with the session from before either.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            meet(secure(address, believed, session=before.session), "b")
        broker.wait_line(lambda line: "Revoked" in line)
        assert pings(before)


def put(source, target):
    """Replaces the broker's certificate and key."""
    for name in ("server.pem", "server.key"):
        shutil.copy(source / name, target / name)


def test_sighup_shows_the_new_certificate_while_old_connections_go_on(start, cert, address):
    certs, fresh = cert("certs"), cert("fresh")
    broker = start(listener(address, "mqtts", **shown(certs)))
    with meet(secure(address, context(certs))) as before:
        put(fresh, certs)
        broker.signal(signal.SIGHUP)
        broker.wait_line(lambda line: "what has changed holds for new connections" in line)
        meet(secure(address, context(fresh)), "b").close()
        with pytest.raises(ssl.SSLCertVerificationError):
            secure(address, context(certs))
        assert pings(before)


def test_a_reload_with_a_broken_file_keeps_the_old_certificate_and_says_so(start, cert, address):
    certs, control = cert("certs"), free_address()
    start(listener(address, "mqtts", **shown(certs)), RINGMQ_CONTROL_LISTEN=str(control))

    def reload():
        request = urllib.request.Request(f"http://{control}/reload", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    key = (certs / "server.key").read_text()
    (certs / "server.key").write_text("")
    status, text = reload()
    assert status == 422
    assert re.fullmatch(r"mqtts \S+: \S+broker.toml:5:15: `private_key`: .* stays in use\n", text), text
    meet(secure(address, context(certs))).close()
    (certs / "server.key").write_text(key)
    assert reload() == (200, f"mqtts {address}: nothing has changed\n")


def resident_bytes(process):
    status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def test_an_idle_tls_connection_takes_little_memory(start, cert, address):
    certs, count = cert("certs"), 400
    broker = start(listener(address, "mqtts", **shown(certs)))
    believed = context(certs)

    idle = [meet(secure(address, believed), f"c{number}") for number in range(100)]
    before = resident_bytes(broker)
    idle += [meet(secure(address, believed), f"c{number}") for number in range(100, 100 + count)]
    grown = resident_bytes(broker) - before
    print(f"{grown // count} bytes per idle TLS connection")
    assert grown / count <= IDLE_BYTES_MAX
    assert all(pings(connection) for connection in idle[::50])
    for connection in idle:
        connection.close()


# ---- WebSocket -------------------------------------------------------------------------------------------------------


def upgrade(connection, path="/mqtt", protocol="mqtt"):
    """The head of the answer to a WebSocket request."""
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += heard(connection, 1)
    return head.decode().lower()


def frame(payload):
    """A client's binary frame, masked with zeros."""
    return bytes([0x82, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@pytest.mark.parametrize("protocol", ["mqtt", "mqttv3.1"])
@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_mqtt_is_spoken_in_websocket_under_both_of_its_names(start, cert, address, transport, protocol):
    certs = cert("certs")
    start(listener(address, transport, **(shown(certs) if transport == "wss" else {})))
    connection = secure(address, context(certs)) if transport == "wss" else plain(address)
    with connection:
        head = upgrade(connection, protocol=protocol)
        assert head.startswith("http/1.1 101 ") and f"sec-websocket-protocol: {protocol}\r\n" in head
        connection.sendall(frame(CONNECT[:5]) + frame(CONNECT[5:] + PINGREQ))
        answer = heard(connection, 4)
        rest = heard(connection, answer[1] - 2)
        assert answer[0] == 0x82 and (answer[2:] + rest).startswith(CONNACK)


def test_another_path_is_refused_in_http_and_in_the_log(start, address):
    broker = start(listener(address, "ws", websocket_path="/broker"))
    with plain(address) as connection:
        assert upgrade(connection).startswith("http/1.1 404 ")
    with plain(address) as connection:
        assert upgrade(connection, path="/broker").startswith("http/1.1 101 ")
    broker.wait_line(lambda line: "another path" in line)


# ---- PROXY headers and socket files ----------------------------------------------------------------------------------


def test_a_trusted_proxy_tells_the_address_that_stands_in_the_log(start, address):
    broker = start(listener(address, "mqtt", proxy_protocol_from="10.0.0.0/8, 127.0.0.1") + OPEN)
    with plain(address) as connection:
        connection.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 1883\r\n")
        meet(connection)
    with plain(address) as connection:
        connection.sendall(b"PROXY TCP4 203.0.113.8 192.0.2.1 51001 1883\r\n" + PINGREQ)
        assert connection.recv(1) == b""
    broker.wait_line(lambda line: "connection from 203.0.113.8:51001" in line)
    with plain(address) as connection:
        connection.sendall(CONNECT)
        assert connection.recv(1) == b""
    broker.wait_line(lambda line: "sent no valid PROXY header" in line)


def test_who_is_no_trusted_proxy_is_refused(start, address):
    broker = start(listener(address, "mqtt", proxy_protocol_from="192.0.2.0/24") + OPEN)
    with plain(address) as connection, pytest.raises((AssertionError, ConnectionError)):
        connection.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 1883\r\n")
        meet(connection)
    broker.wait_line(lambda line: "connection from 127.0.0.1:" in line and "not a trusted proxy" in line)


def local(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    connection.connect(str(path))
    return connection


@pytest.mark.parametrize("cores", ["1", "2"])
def test_a_socket_file_serves_user_and_group_and_goes_with_the_broker(serve, tmp_path, cores):
    path = tmp_path / "mqtt.sock"
    broker = serve("--listen", f"unix:{path}", "--durability", "memory", cores=cores)
    assert f"mqtt unix:{path} memory" in broker.ready_line
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with meet(local(path)) as connection:
        assert pings(connection)
    assert broker.stop() == 0
    assert not path.exists()


def test_a_stale_socket_file_is_replaced_and_a_used_one_is_not(serve, run, tmp_path):
    path = tmp_path / "mqtt.sock"
    first = serve("--listen", f"unix:{path}", "--durability", "memory")
    done = run("serve", "--listen", f"unix:{path}", "--durability", "memory")
    refused(done, f"cannot listen on unix:{path}: another process already listens there")
    meet(local(path)).close()
    first.process.kill()
    assert path.exists()
    second = serve("--listen", f"unix:{path}", "--durability", "memory")
    meet(local(path)).close()
    assert second.stop() == 0


def test_a_file_that_is_no_socket_is_left_alone(run, tmp_path):
    path = tmp_path / "mqtt.sock"
    path.write_text("precious")
    refused(run("serve", "--listen", f"unix:{path}", "--durability", "memory"), "there is a file that is no socket")
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["mqtt.sock"]
