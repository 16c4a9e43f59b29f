"""A broker with every kind of door, and what a client needs to come through each."""

import signal

from broker import Address, Process, free_address
from certificates import RSA, Authority


class Door(Address):
    """An address, and what MQTT is wrapped in there."""

    def __init__(self, address, transport="tcp", tls=None):
        super().__init__(address.host, address.port)
        self.transport = transport
        self.tls = tls

    def with_certificate(self, pair):
        """The same door for somebody with a certificate of their own."""
        certificate, key = map(str, pair)
        return Door(self, self.transport, {**self.tls, "certfile": certificate, "keyfile": key})


class Papers:
    """Certificates of a broker and of its clients."""

    def __init__(self, folder):
        self.authority = Authority(folder / "ours", "Ours")
        self.server = self.authority.sign("localhost", RSA, ["DNS:localhost", "IP:127.0.0.1"])
        self.other = self.authority.sign("other.test", names=["DNS:other.test"])
        self.ann = self.authority.sign("ann", usage="clientAuth")
        self.bob = self.authority.sign("bob", usage="clientAuth")
        self.crl = self.authority.revoke(self.bob[0])
        self.stranger = Authority(folder / "theirs", "Theirs").sign("ann", usage="clientAuth")
        self.tls = {"ca_certs": str(self.authority.certificate)}


def listener(address, protocol, **keys):
    """A section of the configuration; keys with their values as text."""
    lines = ["[[listener]]", f'bind = "{address}"', f'protocol = "{protocol}"']
    values = {name: "true" if value is True else f'"{value}"' for name, value in keys.items()}
    return "\n".join(lines + [f"{name} = {value}" for name, value in values.items()]) + "\n\n"


def pair_of(pair):
    return {"certificate": pair[0], "private_key": pair[1]}


class DoorBroker:
    """`ringmq serve` with a configuration file, ready for clients."""

    def __init__(self, folder, text, addresses, cores=1):
        path = folder / "doors.toml"
        path.write_text(text + '[log]\nlevel = "debug"\n')
        self.process = Process("serve", "-c", path, "--cores", cores, "--durability", "memory")
        try:
            self.ready_line = self.process.wait_line(lambda line: " ready: " in line)
            assert all(str(address) in self.ready_line for address in addresses), self.ready_line
        except BaseException:
            self.process.kill()
            raise

    def stop(self):
        """Asks the broker to end and returns its exit code."""
        try:
            self.process.signal(signal.SIGTERM)
            return self.process.wait_exit()
        finally:
            self.process.kill()


class House:
    """One broker with a plain door, TLS, TLS for known clients, WebSocket, and WebSocket in TLS."""

    def __init__(self, folder, cores):
        folder.mkdir(parents=True, exist_ok=True)
        self.papers = papers = Papers(folder)
        self.shown = folder / "shown.pem"
        self.shown_key = folder / "shown.key"
        self.show(papers.server)
        shown = (self.shown, self.shown_key)
        at = {name: free_address() for name in ("tcp", "tls", "known", "ws", "wss")}
        known = {"client_ca": papers.authority.certificate, "client_certificate": "required", "crl": papers.crl}
        other = " ".join(map(str, papers.other))
        text = (
            listener(at["tcp"], "mqtt")
            + listener(at["tls"], "mqtts", **pair_of(shown), certificates=other)
            + listener(at["known"], "mqtts", **pair_of(papers.server), **known)
            + listener(at["ws"], "ws")
            + listener(at["wss"], "wss", **pair_of(papers.server))
        )
        self.broker = DoorBroker(folder, text, at.values(), cores)
        self.doors = {
            "tcp": Door(at["tcp"]),
            "tls": Door(at["tls"], tls=papers.tls),
            "known": Door(at["known"], tls=papers.tls),
            "ws": Door(at["ws"], "websockets"),
            "wss": Door(at["wss"], "websockets", papers.tls),
        }

    def show(self, pair):
        """Puts a certificate and its key where the broker looks for those of the door `tls`."""
        for path, source in zip((self.shown, self.shown_key), pair, strict=True):
            path.write_bytes(source.read_bytes())
