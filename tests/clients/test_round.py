"""The full round of a plain application, in every protocol version, with paho-mqtt."""

import itertools

import pytest
from client import V5, V31, Connack

PACKET_BYTES_MAX = 1024 * 1024
SUCCESS, NO_MATCHING_SUBSCRIBERS = 0x00, 0x10


def payload_of(size):
    return bytes(itertools.islice(itertools.cycle(range(256)), size))


def test_connect_is_answered_and_a_fresh_client_has_no_session(clients, version):
    connack = clients("a", version).connect()
    assert isinstance(connack, Connack)
    assert connack.reason == 0
    assert not connack.session_present


@pytest.mark.parametrize("subscribed", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_a_message_arrives_with_the_lower_of_both_qos(clients, name, version, published, subscribed):
    sender, receiver = clients("s", version), clients("r", version)
    sender.connect()
    receiver.connect()
    assert receiver.subscribe(f"{name}/+", subscribed) == subscribed
    assert sender.publish(f"{name}/x", "one", published) == 0
    receiver.expect(f"{name}/x", "one", qos=min(published, subscribed), retain=False)


def test_two_clients_talk_in_both_directions(clients, name, version):
    one, two = clients("1", version), clients("2", version)
    for client in (one, two):
        client.connect()
        client.subscribe(f"{name}/to/{client.id}/#", 2)
    for qos in (0, 1, 2):
        one.publish(f"{name}/to/{two.id}/question", f"ping {qos}", qos)
        two.expect(f"{name}/to/{two.id}/question", f"ping {qos}", qos=qos)
        two.publish(f"{name}/to/{one.id}/answer", f"pong {qos}", qos)
        one.expect(f"{name}/to/{one.id}/answer", f"pong {qos}", qos=qos)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 65536, 300_000])
def test_payloads_of_any_size_arrive_unchanged(clients, name, version, size):
    client = clients("c", version)
    client.connect()
    client.subscribe(name, 2)
    for qos in (0, 1, 2):
        client.publish(name, payload_of(size), qos)
        client.expect(name, payload_of(size), qos=qos)


def test_a_packet_as_large_as_the_limit_passes(clients, name, version):
    client = clients("c", version)
    client.connect()
    client.subscribe(name, 1)
    # Fixed header 4 (length field of 3), topic with its length, packet id, property length in 5.0.
    surplus = 4 + 2 + len(name) + 2 + (1 if version == V5 else 0)
    payload = payload_of(PACKET_BYTES_MAX - surplus)
    client.publish(name, payload, 1)
    client.expect(name, payload, qos=1)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_one_publisher_s_messages_arrive_in_order_and_once(clients, name, version, qos):
    sender, receiver = clients("s", version), clients("r", version)
    sender.connect()
    receiver.connect()
    receiver.subscribe(f"{name}/#", qos)
    sent = [sender.send(f"{name}/{number % 3}", f"{number}", qos) for number in range(300)]
    assert all(sender.published(mid) == 0 for mid in sent)
    assert receiver.payloads(300) == [f"{number}" for number in range(300)]
    receiver.expect_nothing_before(sender, f"{name}/end", qos)


def test_wildcards_match_levels_and_nothing_else(clients, name, version):
    client = clients("c", version)
    client.connect()
    client.subscribe(f"{name}/+/b/#")
    for topic in ("a/c", "b", "a/b", "a/a/b", "a/b/c", "a/b/c/d", "/b"):
        client.publish(f"{name}/{topic}", topic)
    assert client.payloads(4) == ["a/b", "a/b/c", "a/b/c/d", "/b"]
    client.expect_nothing_before(client, f"{name}/z/b")


def test_dollar_topics_are_hidden_from_leading_wildcards(clients, name, version):
    client = clients("c", version)
    client.connect()
    client.subscribe(f"+/{name}")
    client.publish(f"${name}/{name}", "hidden")
    client.expect_nothing_before(client, f"{name}/{name}")


def test_after_unsubscribe_nothing_more_arrives(clients, name, version):
    client = clients("c", version)
    client.connect()
    client.subscribe_all([(f"{name}/a", 1), (f"{name}/b", 1)])
    client.unsubscribe(f"{name}/a")
    client.publish(f"{name}/a", "unheard", 1)
    client.expect_nothing_before(client, f"{name}/b")


def test_retained_is_set_replaced_and_cleared(clients, name, version):
    sender = clients("s", version)
    sender.connect()
    for text in ("first", "second"):
        sender.publish(f"{name}/kept", text, 1, retain=True)
        reader = clients(text, version)
        reader.connect()
        reader.subscribe(f"{name}/#", 1)
        reader.expect(f"{name}/kept", text, qos=1, retain=True)
    sender.publish(f"{name}/kept", b"", 1, retain=True)
    late = clients("late", version)
    late.connect()
    late.subscribe(f"{name}/#", 1)
    late.expect_nothing_before(sender, f"{name}/other")


def test_a_standing_subscription_sees_a_retained_message_as_fresh(clients, name, version):
    client = clients("c", version)
    client.connect()
    client.subscribe(name, 1)
    client.publish(name, "now", 1, retain=True)
    client.expect(name, "now", retain=False)
    client.publish(name, b"", 1, retain=True)
    client.expect(name, b"", retain=False)


def test_a_wildcard_subscription_replays_every_retained_message(clients, name, version):
    sender, receiver = clients("s", version), clients("r", version)
    sender.connect()
    sent = [sender.send(f"{name}/{number}/x", f"{number}", 1, retain=True) for number in range(250)]
    assert all(sender.published(mid) in (SUCCESS, NO_MATCHING_SUBSCRIBERS) for mid in sent)
    receiver.connect()
    receiver.subscribe(f"{name}/+/x", 1)
    messages = [receiver.message() for _ in range(250)]
    assert all(message.retain for message in messages)
    assert sorted(int(message.payload) for message in messages) == list(range(250))
    for number in range(250):
        sender.send(f"{name}/{number}/x", b"", 0, retain=True)


def test_a_will_is_published_when_the_connection_is_lost(clients, name, version):
    watcher, victim = clients("w", version), clients("v", version)
    watcher.connect()
    watcher.subscribe(f"{name}/will", 2)
    victim.connect(will={"topic": f"{name}/will", "payload": "lost", "qos": 2})
    victim.drop()
    watcher.expect(f"{name}/will", "lost", qos=2, retain=False)


def test_a_retained_will_stays(clients, name, version):
    watcher, victim, late = clients("w", version), clients("v", version), clients("l", version)
    watcher.connect()
    watcher.subscribe(f"{name}/will", 1)
    victim.connect(will={"topic": f"{name}/will", "payload": "lost", "qos": 1, "retain": True})
    victim.drop()
    watcher.expect(f"{name}/will", "lost")
    late.connect()
    late.subscribe(f"{name}/will", 1)
    late.expect(f"{name}/will", "lost", retain=True)
    watcher.publish(f"{name}/will", b"", 1, retain=True)


def test_a_clean_disconnect_discards_the_will(clients, name, version):
    watcher, leaver = clients("w", version), clients("l", version)
    watcher.connect()
    watcher.subscribe(f"{name}/#", 1)
    leaver.connect(will={"topic": f"{name}/will", "payload": "lost", "qos": 1})
    leaver.disconnect()
    watcher.expect_nothing_before(watcher, f"{name}/end")


def lasting(client):
    """Connects with a session that outlives the connection."""
    extra = {"SessionExpiryInterval": 3600} if client.version == V5 else {}
    return client.connect(clean=False, **extra)


def test_a_lasting_session_keeps_subscriptions_and_queues_in_order(clients, name, version):
    sender = clients("s", version)
    sender.connect()
    away = clients("r", version)
    assert not lasting(away).session_present
    away.subscribe(f"{name}/#", 2)
    away.disconnect()
    # MQTT 3.1.1 leaves QoS 0 for an absent client open; QoS 1 and 2 must be there, in order.
    for number in range(100):
        sender.publish(f"{name}/{number % 2}", f"{number}", 1 + number % 2)
    back = clients("r", version)
    connack = lasting(back)
    if version != V31:
        assert connack.session_present
    messages = [back.message() for _ in range(100)]
    # Order holds per topic and QoS: a client hears a QoS 2 message only when its PUBREL has come.
    for remainder in (0, 1):
        heard = [message for message in messages if message.topic == f"{name}/{remainder}"]
        assert [int(message.payload) for message in heard] == list(range(remainder, 100, 2))
        assert all(message.qos == 1 + remainder for message in heard)
    back.expect_nothing_before(sender, f"{name}/end", 1)


def test_unacknowledged_messages_come_again_with_dup(clients, name, version):
    sender, away = clients("s", version), clients("r", version, manual_ack=True)
    sender.connect()
    lasting(away)
    away.subscribe(name, 1)
    for text in ("one", "two", "three"):
        sender.publish(name, text, 1)
    first = [away.message() for _ in range(3)]
    assert not any(message.dup for message in first)
    away.acknowledge(first[0])
    # The broker reads in order: once the fence is answered, the PUBACK before it has been read as well.
    away.publish(f"{name}/elsewhere", b"", 1)
    away.drop()
    back = clients("r", version)
    lasting(back)
    again = [back.message() for _ in range(2)]
    assert [message.payload for message in again] == [b"two", b"three"]
    assert all(message.dup for message in again)
    assert [message.mid for message in again] == [message.mid for message in first[1:]]
    back.expect_nothing_before(sender, name, 1)


def test_a_clean_connect_forgets_the_session(clients, name, version):
    sender, away = clients("s", version), clients("r", version)
    sender.connect()
    lasting(away)
    away.subscribe(name, 1)
    away.disconnect()
    sender.publish(name, "forgotten", 1)
    back = clients("r", version)
    assert not back.connect(clean=True).session_present
    back.subscribe(name, 1)
    back.expect_nothing_before(sender, name, 1)


def test_a_second_connect_with_one_client_id_closes_the_first(clients, name, version):
    first, second = clients("c", version), clients("c", version)
    first.connect()
    first.subscribe(name, 1)
    second.connect()
    first.farewell()
    second.subscribe(name, 1)
    second.publish(name, "mine", 1)
    second.expect(name, "mine")


def test_a_taken_over_session_keeps_its_subscriptions(clients, name, version):
    first, second, sender = clients("c", version), clients("c", version), clients("s", version)
    sender.connect()
    lasting(first)
    first.subscribe(name, 1)
    connack = lasting(second)
    first.farewell()
    if version != V31:
        assert connack.session_present
    sender.publish(name, "still here", 1)
    second.expect(name, "still here")


def test_versions_talk_to_each_other(clients, name, version):
    other, mine = clients("5", V5), clients("m", version)
    other.connect()
    mine.connect()
    mine.subscribe(f"{name}/down", 2)
    other.subscribe(f"{name}/up", 2)
    other.publish(f"{name}/down", "from 5.0", 2, UserProperty=[("k", "v")], ContentType="text/plain")
    mine.expect(f"{name}/down", "from 5.0", qos=2)
    mine.publish(f"{name}/up", "to 5.0", 2)
    other.expect(f"{name}/up", "to 5.0", qos=2)
