"""A core that receives so often that it lets messages gather serves everybody all the same."""

import signal

from broker import free_address
from test_bench import Bench
from test_serve import fetch_counter, talk

LASTING = bytes.fromhex("10 0d 0004 4d515454 04 00 003c 0001 62")
ROUNDS = 50


def until_grown(control, before):
    """Waits until messages were left to gather some more."""
    for _ in range(10_000):
        if fetch_counter(control, "gathering_waits") > before + ROUNDS:
            return
    raise AssertionError("nothing was left to gather")


def test_a_core_that_lets_messages_gather_answers_everybody(serve, tmp_path):
    """Under a flood, with the longest wait there is: what asks a core for something in every way there is."""
    control = free_address()
    # From few receives on, so that any machine is fast enough.
    env = {"RINGMQ_CONTROL_LISTEN": str(control), "RINGMQ_SERVER_GATHER_US": "5000", "RINGMQ_SERVER_GATHER_FROM": "1000"}
    broker = serve("--data", tmp_path / "data", cores=1, env=env)
    flood = Bench(broker.address, tmp_path).start(
        "pairs", "-c", 50, "-s", 16, "-I", 10, "--duration", 600
    )
    try:
        until_grown(control, 0)
        before = fetch_counter(control, "gathering_waits")
        connection = talk(broker.address, LASTING)
        connection.sendall(bytes.fromhex("82 06 0001 0001 61 01"))
        assert exactly(connection, 5) == bytes.fromhex("90 03 0001 01")
        for _ in range(ROUNDS):
            # It is written down for the client itself, so its PUBACK waits for the store.
            connection.sendall(bytes.fromhex("32 06 0001 61 0007 78"))
            publish, puback = in_order(exactly(connection, 12))
            assert (publish[:5], publish[-1:], puback) == (b"\x32\x06\x00\x01a", b"x", b"\x40\x02\x00\x07")
            connection.sendall(b"\x40\x02" + publish[5:7])
            connection.sendall(b"\xc0\x00")
            assert exactly(connection, 2) == b"\xd0\x00"
        until_grown(control, before)
        assert flood.poll() is None, "the flood goes on"
        broker.process.signal(signal.SIGTERM)
        assert broker.process.wait_exit() == 0
        connection.close()
    finally:
        flood.kill()
        flood.wait()


def exactly(connection, count):
    """So many bytes, however they come."""
    received = b""
    while len(received) < count:
        some = connection.recv(count - len(received))
        assert some, "the connection has ended"
        received += some
    return received


def in_order(received):
    """The PUBLISH and the PUBACK, whichever came first."""
    return (received[4:], received[:4]) if received[0] == 0x40 else (received[:8], received[8:])
