"""A broker process under test, from its ready line to its exit code.

Everything that these tests know about a broker they learn as a user would: from its output, its port and its exit
code. Nothing here sleeps; every wait ends with the event it waits for or with a named failure.
"""

import itertools
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

START_S = 20
STOP_S = 6


class Address:
    """Where a broker listens."""

    def __init__(self, host, port):
        self.host = host
        self.port = int(port)

    @classmethod
    def parse(cls, text):
        host, _, port = text.rpartition(":")
        return cls(host or "127.0.0.1", port)

    def __str__(self):
        return f"{self.host}:{self.port}"

    def is_open(self):
        """Whether somebody accepts connections there."""
        try:
            socket.create_connection((self.host, self.port), timeout=5).close()
        except OSError:
            return False
        return True


def binary():
    """The path of the ringmq binary under test."""
    path = os.environ.get("RINGMQ_BIN")
    if not path:
        raise RuntimeError("RINGMQ_BIN names no binary: run these tests with tests/run, or set it")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"RINGMQ_BIN={path} is not an executable file")
    return os.path.abspath(path)


# Below the ports that the kernel lends to outgoing connections (32768 and up): of those any connection of any process
# may take one between the probe and the broker, or while a broker is being restarted.
PORTS = itertools.cycle([10_000 + (os.getpid() * 97 + place) % 22_000 for place in range(22_000)])


def free_address():
    """An address on loopback that nobody listens on at this moment, another one at each call."""
    for port in itertools.islice(PORTS, 22_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return Address("127.0.0.1", port)
    raise RuntimeError("no port of 127.0.0.1 is free")


def environment(extra=None):
    """The environment of a broker: ours without its settings, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RINGMQ_")}
    return {**kept, **(extra or {})}


class Process:
    """A started ringmq whose output is collected line by line; standard error joins in unless told otherwise.

    Unless told otherwise it keeps its data in a directory that ends with it.
    """

    def __init__(self, *arguments, env=None, stderr=subprocess.STDOUT):
        self.lines = []
        self._data = tempfile.mkdtemp(prefix="ringmq-")
        self._arrived = queue.Queue()
        self.child = subprocess.Popen(
            [binary(), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env=environment({"RINGMQ_STORE_DIR": self._data, **(env or {})}),
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self):
        for line in self.child.stdout:
            self.lines.append(line.rstrip("\n"))
            self._arrived.put(self.lines[-1])
        self._arrived.put(None)

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait_line(self, predicate, timeout_s=START_S):
        """The next line of output that satisfies `predicate`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._arrived.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such line within {timeout_s} s; output:\n{self.output}") from None
            if line is None:
                code = self.child.wait(STOP_S)
                raise AssertionError(f"exited with {code} before the expected line; output:\n{self.output}")
            if predicate(line):
                return line

    def signal(self, number):
        self.child.send_signal(number)

    def wait_exit(self, timeout_s=STOP_S):
        """The exit code; negative for a signal."""
        code = self.child.wait(timeout_s)
        self._reader.join(STOP_S)
        self.child.stdout.close()
        shutil.rmtree(self._data, ignore_errors=True)
        return code

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.wait_exit()


class Broker:
    """`ringmq serve` on a free port of loopback, ready for clients."""

    def __init__(self, *arguments, cores=1, env=None):
        self.address = free_address()
        self.process = Process("serve", "--listen", self.address, "--cores", cores, *arguments, env=env)
        try:
            self.ready_line = self.process.wait_line(lambda line: " ready: " in line and str(self.address) in line)
        except BaseException:
            self.process.kill()
            raise

    def stop(self, number=signal.SIGTERM):
        """Asks the broker to end and returns its exit code."""
        try:
            self.process.signal(number)
            return self.process.wait_exit()
        finally:
            self.process.kill()


class ForeignBroker:
    """A broker that somebody else started: RINGMQ_TARGET=host:port."""

    def __init__(self, target):
        self.address = Address.parse(target)

    def stop(self):
        return 0
