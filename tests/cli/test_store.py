"""What the broker keeps on disk, seen from outside: restarts, kills, full disks, damage, two brokers on one directory."""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
from broker import free_address
from client import V5, V311, Client

USER_ERROR, DISK_ERROR = 2, 4
QUOTA_EXCEEDED = 0x97
TIMEOUT_S = 6
FOREVER_S = 0xFFFFFFFF
MESSAGES = 200


@pytest.fixture
def data(tmp_path):
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def talker():
    """Makes clients and ends them with the test."""
    made = []

    def make(broker, client_id, version=V5, **options):
        made.append(Client(broker.address, client_id, version, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def lasting(client, clean=False):
    """Connects with a session that outlives the connection; returns whether there was one."""
    if client.version == V5:
        return client.connect(clean, SessionExpiryInterval=FOREVER_S).session_present
    return client.connect(clean).session_present


def leave_something(broker, talker, version=V5):
    """A lasting session with a subscription and a queue, and a retained message, all of it acknowledged."""
    sleeper = talker(broker, "sleeper", version)
    assert not lasting(sleeper)
    sleeper.subscribe("news/#", qos=2)
    sleeper.disconnect()
    speaker = talker(broker, "speaker", version)
    speaker.connect()
    sent = [speaker.send("news/today", f"message {number}", qos=1 + number % 2) for number in range(MESSAGES)]
    assert [speaker.published(mid) for mid in sent] == [0] * MESSAGES
    assert speaker.publish("weather", "sunny", qos=1, retain=True) in (0, 0x10)
    return speaker


def expect_the_queue(sleeper, others=0):
    """Everything once and in order, and `others`; paho hands messages of QoS 2 out when their PUBREL has come, so each QoS
    by itself."""
    payloads = sleeper.payloads(MESSAGES + others)
    numbers = [int(payload.removeprefix("message ")) for payload in payloads if payload.startswith("message ")]
    for odd in (0, 1):
        assert [number for number in numbers if number % 2 == odd] == list(range(odd, MESSAGES, 2))


def expect_everything(broker, talker, version=V5):
    sleeper = talker(broker, "sleeper", version)
    assert lasting(sleeper), "the session is gone"
    expect_the_queue(sleeper)
    sleeper.subscribe("weather")
    sleeper.expect("weather", "sunny", retain=True)
    speaker = talker(broker, "another speaker", version)
    speaker.connect()
    speaker.publish("news/tomorrow", "still subscribed", qos=1)
    sleeper.expect("news/tomorrow", "still subscribed", qos=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_what_was_acknowledged_is_there_after_a_restart(serve, talker, data, number, before, after, version):
    broker = serve("--data", data, cores=before)
    leave_something(broker, talker, version)
    code = broker.stop(number)
    assert code == (0 if number == signal.SIGTERM else -number)
    again = serve("--data", data, cores=after)
    expect_everything(again, talker, version)
    assert again.stop() == 0


def test_with_an_interval_an_orderly_end_keeps_everything(serve, talker, data):
    broker = serve("--data", data, "--durability", "interval", env={"RINGMQ_STORE_INTERVAL_MS": "60000"})
    leave_something(broker, talker)
    assert broker.stop() == 0
    expect_everything(serve("--data", data), talker)


def test_what_was_received_is_not_sent_again_after_a_kill(serve, talker, data):
    broker = serve("--data", data)
    leave_something(broker, talker)
    sleeper = talker(broker, "sleeper")
    lasting(sleeper)
    sleeper.payloads(MESSAGES)
    # The answer to this one shows that the broker has taken the acknowledgements before it, and has kept them.
    sleeper.subscribe("other", qos=1)
    broker.stop(signal.SIGKILL)
    again = serve("--data", data)
    sleeper = talker(again, "sleeper")
    assert lasting(sleeper)
    speaker = talker(again, "speaker")
    speaker.connect()
    sleeper.expect_nothing_before(speaker, "news/fence", qos=1)


def test_an_ended_session_is_not_there_after_a_kill(serve, talker, data):
    broker = serve("--data", data)
    leave_something(broker, talker)
    sleeper = talker(broker, "sleeper")
    # Its CONNACK leaves when the end of the old session is durable.
    assert not lasting(sleeper, clean=True)
    broker.stop(signal.SIGKILL)
    again = talker(serve("--data", data), "sleeper")
    assert lasting(again)
    again.subscribe("weather")
    again.expect("weather", "sunny", retain=True)


def test_a_second_broker_on_the_directory_is_refused_and_the_first_goes_on(serve, run, talker, data, address):
    broker = serve("--data", data)
    done = run("serve", "--listen", address, "--data", data)
    assert done.returncode == USER_ERROR, done
    assert str(data) in done.stderr and "in use by another process" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ringmq: ")]) == 1
    leave_something(broker, talker)
    assert broker.stop() == 0


def test_a_directory_of_a_newer_version_is_refused_and_left_as_it_is(serve, run, talker, data, address):
    broker = serve("--data", data)
    leave_something(broker, talker)
    assert broker.stop() == 0
    mark = data / "format"
    mine = mark.read_text()
    mark.write_text("ringmq store 4711\n")
    done = run("serve", "--listen", address, "--data", data)
    assert done.returncode == USER_ERROR, done
    assert "newer version" in done.stderr and "4711" in done.stderr
    mark.write_text(mine)
    expect_everything(serve("--data", data), talker)


def test_a_data_directory_that_cannot_be_made_is_refused(run, tmp_path, address):
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    done = run("serve", "--listen", address, "--data", obstacle / "data")
    assert done.returncode == USER_ERROR, done
    assert str(obstacle / "data") in done.stderr


def test_only_the_owner_can_read_the_directory(serve, talker, data):
    umask = os.umask(0o022)
    try:
        broker = serve("--data", data)
    finally:
        os.umask(umask)
    leave_something(broker, talker)
    for path in [data, *data.rglob("*")]:
        if path.is_socket():
            continue
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert broker.stop() == 0


def test_where_nothing_is_kept_there_is_no_directory(serve, talker, data):
    broker = serve("--data", data, "--durability", "memory")
    leave_something(broker, talker)
    assert broker.stop() == 0
    assert not data.exists()
    again = serve("--data", data, "--durability", "memory")
    assert not lasting(talker(again, "sleeper"))


def test_a_listener_may_promise_less_than_the_others(serve, write, data):
    second = free_address()
    path = write(f'[[listener]]\nbind = "{second}"\ndurability = "interval"\n')
    control = free_address()
    env = {"RINGMQ_CONTROL_LISTEN": str(control)}
    broker = serve("-c", path, "--data", data, env=env)
    assert f"mqtt {broker.address} interval (1 core, data in {data})" in broker.ready_line
    assert f'ringmq_listener_info{{address="{broker.address}",durability="interval"}} 1' in fetch(control, "/metrics")
    assert broker.stop() == 0


def fetch(control, path):
    """The body of an answer, whatever its status."""
    with contextlib.suppress(urllib.error.HTTPError):
        with urllib.request.urlopen(f"http://{control}{path}", timeout=TIMEOUT_S) as answer:
            return answer.read().decode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{control}{path}", timeout=TIMEOUT_S)
    return f"{refused.value.code} {refused.value.read().decode()}"


def test_flushes_are_counted(serve, talker, data):
    control = free_address()
    broker = serve("--data", data, env={"RINGMQ_CONTROL_LISTEN": str(control)})
    leave_something(broker, talker)
    samples = dict(
        line.rsplit(" ", 1) for line in fetch(control, "/metrics").splitlines() if not line.startswith("#")
    )
    assert int(samples["ringmq_store_flush_seconds_count"]) > 0
    assert float(samples["ringmq_store_flush_seconds_sum"]) > 0
    assert int(samples["ringmq_store_writes_total"]) >= MESSAGES
    assert samples["ringmq_store_full"] == "0"


# ---- damage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(serve, talker, data):
    """A data directory that holds something, its broker stopped."""
    broker = serve("--data", data)
    leave_something(broker, talker)
    assert broker.stop() == 0
    return data


def files_of(data):
    """Everything that holds something, largest first; the lock and what is set aside hold nothing."""
    empty = ("lock", "reserve")
    found = [path for path in data.rglob("*") if path.is_file() and path.name not in empty and path.stat().st_size]
    return sorted(found, key=lambda path: (-path.stat().st_size, path))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def end_of_content(path):
    """How many bytes there are in front of the zeros that a file may end with."""
    return len(path.read_bytes().rstrip(b"\0"))


def damages(data):
    """Ways to hurt each file: a bit at its start, in its middle, at its end, and half of it gone."""
    for path in files_of(data):
        end = end_of_content(path)
        if not end:
            continue
        name = path.relative_to(data)
        for place, position in (("start", 0), ("middle", end // 2), ("end", end - 1)):
            yield f"bit at {place} of {name}", lambda copy, n=name, at=position: flip(copy / n, at)
        yield f"half of {name}", lambda copy, n=name, at=end // 2: os.truncate(copy / n, at)
        yield f"no {name}", lambda copy, n=name: (copy / n).unlink()


def test_damage_is_told_with_the_file_or_harms_nothing(kept, run, serve, talker, tmp_path, address):
    refused = []
    for number, (what, harm) in enumerate(damages(kept)):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(kept, copy)
        harm(copy)
        outcome = start_or_refuse(run, serve, talker, copy)
        if outcome is not None:
            assert str(copy) in outcome, f"{what}: {outcome}"
            refused.append(what)
        shutil.rmtree(copy)
    # Most of what is there holds something, and there is no second copy of it.
    assert len(refused) >= 5, refused


def start_or_refuse(run, serve, talker, data):
    """The complaint of a broker that refuses; none if it starts, and then everything is there."""
    probe = free_address()
    try:
        broker = serve("--data", data)
    except AssertionError as ended:
        done = run("serve", "--listen", probe, "--data", data)
        assert done.returncode == DISK_ERROR, (done, ended)
        assert "panicked" not in done.stderr
        return done.stderr
    expect_everything(broker, talker)
    assert broker.stop() == 0
    return None


def test_quarantine_moves_what_is_damaged_aside_and_starts_with_nothing(kept, run, serve, talker, address):
    victim = files_of(kept)[0]
    flip(victim, end_of_content(victim) // 2)
    done = run("serve", "--listen", address, "--data", kept)
    assert done.returncode == DISK_ERROR, done
    assert "--quarantine" in done.stderr
    broker = serve("--data", kept, "--quarantine")
    assert any("quarantine" in line for line in broker.process.lines)
    assert not lasting(talker(broker, "sleeper"))
    aside = [path for path in kept.iterdir() if path.name.startswith("damaged-")]
    assert len(aside) == 1
    assert (aside[0] / victim.relative_to(kept)).stat().st_size == victim.stat().st_size or victim.exists()
    assert broker.stop() == 0


def test_quarantine_leaves_what_is_sound_alone(kept, serve, talker):
    broker = serve("--data", kept, "--quarantine")
    expect_everything(broker, talker)


# ---- a full disk ---------------------------------------------------------------------------------------------------

DISK_BYTES = 64 << 20
RESERVE_BYTES = 8 << 20


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={DISK_BYTES}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk, leave_bytes):
    """Leaves that many bytes free, and returns what to remove to have them back."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave_bytes)
    return ballast


def test_a_full_disk_refuses_what_must_be_kept_and_recovers_by_itself(serve, talker, disk):
    control = free_address()
    env = {"RINGMQ_STORE_RESERVE_BYTES": str(RESERVE_BYTES), "RINGMQ_CONTROL_LISTEN": str(control)}
    broker = serve("--data", disk / "data", env=env)
    speaker = leave_something(broker, talker)
    passer = talker(broker, "passer")
    passer.connect()
    passer.subscribe("news/#", qos=1)
    assert fetch(control, "/readyz") == "ready\n"
    ballast = fill(disk, RESERVE_BYTES // 2)
    # What is on its way when the disk fills may still be taken; the watch sees it with the next flush.
    taken = publish_until_refused(speaker, "news/full")
    assert taken < 10
    broker.process.wait_line(lambda line: "nothing new is kept" in line)
    assert fetch(control, "/readyz").startswith("503 degraded: the disk")
    assert "ringmq_store_full 1\n" in fetch(control, "/metrics")
    # What nobody must keep goes on: QoS 0, and QoS 1 for clients that are there.
    passer.payloads(taken)
    speaker.publish("news/now", "live")
    passer.expect("news/now", "live", qos=0)
    # And what is kept can be read out.
    ballast.unlink()
    broker.process.wait_line(lambda line: "has space again" in line)
    assert fetch(control, "/readyz") == "ready\n"
    assert speaker.publish("news/space", "again", qos=1) == 0
    assert broker.stop() == 0


def publish_until_refused(speaker, topic):
    """How many messages were taken before one was refused for want of space."""
    for taken in itertools.count():
        if speaker.publish(topic, "x" * 1000, qos=1) == QUOTA_EXCEEDED:
            return taken


def test_a_queue_can_be_read_out_on_a_full_disk(serve, talker, disk):
    env = {"RINGMQ_STORE_RESERVE_BYTES": str(RESERVE_BYTES)}
    broker = serve("--data", disk / "data", env=env)
    speaker = leave_something(broker, talker)
    ballast = fill(disk, RESERVE_BYTES // 2)
    taken = publish_until_refused(speaker, "news/full")
    sleeper = talker(broker, "sleeper")
    assert lasting(sleeper)
    expect_the_queue(sleeper, taken)
    ballast.unlink()
    broker.process.wait_line(lambda line: "has space again" in line)
    assert broker.stop() == 0


def test_a_disk_that_others_fill_to_the_last_byte_loses_nothing(serve, talker, disk):
    """Without a watch the engine itself meets the full disk."""
    env = {"RINGMQ_STORE_RESERVE_BYTES": "0"}
    broker = serve("--data", disk / "data", env=env)
    speaker = leave_something(broker, talker)
    ballast = fill(disk, 0)
    waiting = speaker.send("news/full", "kept when there is space", qos=1)
    broker.process.wait_line(lambda line: "nothing new is kept" in line)
    ballast.unlink()
    broker.process.wait_line(lambda line: "has space again" in line)
    assert speaker.published(waiting) == 0
    broker.stop(signal.SIGKILL)
    again = serve("--data", disk / "data", env=env)
    sleeper = talker(again, "sleeper")
    assert lasting(sleeper)
    expect_the_queue(sleeper, others=1)


def test_the_default_directory_is_made_where_the_broker_starts(run, tmp_path):
    """And a broker that cannot listen leaves none."""
    done = run("serve", "--listen", "192.0.2.1:1")
    assert done.returncode == USER_ERROR
    assert list(pathlib.Path(tmp_path).iterdir()) == []
