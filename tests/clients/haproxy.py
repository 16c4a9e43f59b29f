"""haproxy in front of a broker, as a load balancer that tells who its clients are."""

import os
import shutil
import socket
import subprocess

from broker import free_address

START_S = 20
STOP_S = 6

HEAD = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
"""
SECTION = """
listen {name}
    bind {front}
    server broker {back} {send}
"""


def program():
    """The path of haproxy, which is not in everybody's PATH."""
    found = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    assert found, "haproxy is not installed: run these tests with tests/run"
    return found


class Proxy:
    """A running haproxy; `routes` are pairs of the broker's address and how its clients are told (`send-proxy-v2`)."""

    def __init__(self, folder, routes):
        self.fronts = [free_address() for _ in routes]
        sections = [
            SECTION.format(name=f"route{number}", front=front, back=back, send=send)
            for number, (front, (back, send)) in enumerate(zip(self.fronts, routes, strict=True))
        ]
        path = folder / "haproxy.cfg"
        path.write_text(HEAD + "".join(sections))
        # Its worker says on standard output when it listens; -db keeps it in front.
        self.child = subprocess.Popen(
            [program(), "-db", "-f", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._await()

    def _await(self):
        deadline = START_S * 100
        for _ in range(deadline):
            assert self.child.poll() is None, self.child.stdout.read()
            if all(front.is_open() for front in self.fronts):
                return
            try:
                self.child.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError("haproxy does not listen")

    def stop(self):
        self.child.terminate()
        self.child.wait(STOP_S)
        self.child.stdout.close()


def dial(front, source):
    """A connection to `front` from an address of one's own choice."""
    return socket.create_connection((front.host, front.port), timeout=STOP_S, source_address=(source, 0))
