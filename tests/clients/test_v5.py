"""What MQTT 5.0 adds, as an application sees it through paho-mqtt."""

import pytest
from client import Client, properties

LASTING_S = 3600
NO_SUBSCRIPTION_EXISTED = 0x11


@pytest.fixture
def pair(clients):
    """A sender and a receiver, both connected."""
    sender, receiver = clients("s"), clients("r")
    sender.connect()
    receiver.connect()
    return sender, receiver


def keep(client, topic, payload="kept"):
    client.publish(topic, payload, 1, retain=True)


def forget(client, topic):
    client.publish(topic, b"", 1, retain=True)


def test_the_broker_assigns_a_client_id_that_can_be_used_again(broker, name):
    nameless = Client(broker.address, "")
    connack = nameless.connect(SessionExpiryInterval=LASTING_S)
    assigned = connack.properties.AssignedClientIdentifier
    nameless.subscribe(name, 1)
    nameless.disconnect()
    named = Client(broker.address, assigned)
    assert named.connect(clean=False).session_present
    named.close()


@pytest.mark.parametrize(
    "handling, first, again",
    [(0, True, True), (1, True, False), (2, False, False)],
    ids=["always", "if_new", "never"],
)
def test_retain_handling_decides_what_a_subscribe_replays(pair, name, handling, first, again):
    sender, receiver = pair
    keep(sender, f"{name}/kept")
    for replayed in (first, again):
        receiver.subscribe(f"{name}/#", 1, retainHandling=handling)
        if replayed:
            receiver.expect(f"{name}/kept", "kept", retain=True)
        receiver.expect_nothing_before(sender, f"{name}/fence")
    forget(sender, f"{name}/kept")


@pytest.mark.parametrize("as_published", [False, True])
def test_retain_as_published_keeps_the_flag_of_the_publisher(pair, name, as_published):
    sender, receiver = pair
    receiver.subscribe(name, 1, retainAsPublished=as_published)
    keep(sender, name)
    receiver.expect(name, "kept", retain=as_published)
    sender.publish(name, "plain", 1)
    receiver.expect(name, "plain", retain=False)
    forget(sender, name)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_local_hides_one_s_own_messages_only(pair, name, qos):
    sender, receiver = pair
    receiver.subscribe(name, qos, noLocal=True)
    receiver.publish(name, "own", qos)
    receiver.expect_nothing_before(sender, name, qos)


def test_subscription_identifiers_name_the_matching_subscriptions(pair, name):
    sender, receiver = pair
    receiver.subscribe(f"{name}/a", 1, identifier=1)
    receiver.subscribe(f"{name}/b", 1, identifier=268_435_455)
    receiver.subscribe(f"{name}/c", 1)
    for topic, expected in (("a", [1]), ("b", [268_435_455]), ("c", [])):
        sender.publish(f"{name}/{topic}", topic, 1)
        message = receiver.expect(f"{name}/{topic}", topic)
        assert getattr(message.properties, "SubscriptionIdentifier", []) == expected


def test_overlapping_subscriptions_name_every_identifier(pair, name):
    sender, receiver = pair
    receiver.subscribe(f"{name}/#", 1, identifier=7)
    receiver.subscribe(f"{name}/+", 1, identifier=9)
    sender.publish(f"{name}/x", "one", 1)
    # One copy with both identifiers or one copy for each: the standard allows either.
    heard = []
    while len(heard) < 2:
        heard += receiver.expect(f"{name}/x", "one").properties.SubscriptionIdentifier
    assert sorted(heard) == [7, 9]
    sender.publish(f"{name}/y", "end", 1)
    receiver.expect(f"{name}/y", "end")


def test_subscribing_again_replaces_the_identifier(pair, name):
    sender, receiver = pair
    receiver.subscribe(name, 1, identifier=3)
    receiver.subscribe(name, 1, identifier=4)
    sender.publish(name, "one", 1)
    assert receiver.expect(name, "one").properties.SubscriptionIdentifier == [4]


def test_a_topic_alias_of_the_publisher_stands_for_its_topic(clients, name):
    sender, receiver = clients("s"), clients("r")
    allowed = sender.connect().properties.TopicAliasMaximum
    assert allowed >= 2
    receiver.connect()
    receiver.subscribe(f"{name}/#", 1)
    sender.publish(f"{name}/a", "1", 1, TopicAlias=1)
    sender.publish(f"{name}/b", "2", 1, TopicAlias=allowed)
    sender.publish("", "3", 1, TopicAlias=1)
    sender.publish("", "4", 1, TopicAlias=allowed)
    sender.publish(f"{name}/c", "5", 1, TopicAlias=1)
    sender.publish("", "6", 0, TopicAlias=1)
    heard = [receiver.message() for _ in range(6)]
    assert [(message.topic[-1], message.payload) for message in heard] == [
        ("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", b"4"), ("c", b"5"), ("c", b"6"),
    ]
    assert not any(hasattr(message.properties, "TopicAlias") for message in heard)


def test_aliases_of_the_broker_stand_for_the_right_topics(clients, name):
    sender, receiver = clients("s"), clients("r")
    sender.connect()
    receiver.connect(TopicAliasMaximum=3)
    receiver.subscribe(f"{name}/#", 1)
    order = [number * 7 % 5 for number in range(40)]
    for number in order:
        sender.publish(f"{name}/{number}", f"{number}", 1)
    topics = {}
    for number in order:
        message = receiver.message()
        alias = getattr(message.properties, "TopicAlias", None)
        assert alias is None or 1 <= alias <= 3
        if message.topic and alias:
            topics[alias] = message.topic
        assert (message.topic or topics[alias]) == f"{name}/{number}"
        assert message.payload == f"{number}".encode()


def test_properties_of_a_message_travel_unchanged(pair, name):
    sender, receiver = pair
    receiver.subscribe(name, 2)
    pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("", "")]
    for qos in (0, 1, 2):
        sender.publish(
            name, "grüße", qos,
            PayloadFormatIndicator=1, ContentType="text/plain", ResponseTopic=f"{name}/answer",
            CorrelationData=b"\x00\xff\x01", UserProperty=pairs,
        )
        got = receiver.expect(name, "grüße", qos=qos).properties
        assert got.PayloadFormatIndicator == 1
        assert got.ContentType == "text/plain"
        assert got.ResponseTopic == f"{name}/answer"
        assert got.CorrelationData == b"\x00\xff\x01"
        assert got.UserProperty == pairs


def test_a_request_finds_its_response(pair, name):
    asker, server = pair
    server.subscribe(f"{name}/ask", 1)
    asker.subscribe(f"{name}/answers/1", 1)
    asker.publish(f"{name}/ask", "2+2", 1, ResponseTopic=f"{name}/answers/1", CorrelationData=b"42")
    request = server.expect(f"{name}/ask", "2+2").properties
    server.publish(request.ResponseTopic, "4", 1, CorrelationData=request.CorrelationData)
    assert asker.expect(f"{name}/answers/1", "4").properties.CorrelationData == b"42"


def test_properties_of_a_retained_message_are_kept(pair, name):
    sender, receiver = pair
    sender.publish(name, "kept", 1, retain=True, ContentType="text/plain", UserProperty=[("k", "v")])
    receiver.subscribe(name, 1)
    got = receiver.expect(name, "kept", retain=True).properties
    assert got.ContentType == "text/plain"
    assert got.UserProperty == [("k", "v")]
    forget(sender, name)


def test_a_will_carries_its_properties(clients, name):
    watcher, victim = clients("w"), clients("v")
    watcher.connect()
    watcher.subscribe(name, 1)
    extra = properties("WILLMESSAGE", ContentType="text/plain", UserProperty=[("k", "v")], ResponseTopic=f"{name}/r")
    victim.connect(will={"topic": name, "payload": "lost", "qos": 1, "properties": extra})
    victim.drop()
    got = watcher.expect(name, "lost").properties
    assert (got.ContentType, got.UserProperty, got.ResponseTopic) == ("text/plain", [("k", "v")], f"{name}/r")


def test_disconnect_with_will_message_publishes_the_will(clients, name):
    watcher, leaver = clients("w"), clients("l")
    watcher.connect()
    watcher.subscribe(name, 1)
    leaver.connect(will={"topic": name, "payload": "on purpose", "qos": 1})
    leaver.disconnect(reason=0x04)
    watcher.expect(name, "on purpose")


def delayed_will(topic, payload, delay_s):
    extra = properties("WILLMESSAGE", WillDelayInterval=delay_s)
    return {"topic": topic, "payload": payload, "qos": 1, "properties": extra}


def test_a_delayed_will_waits_and_a_return_prevents_it(clients, name):
    watcher, lost, returning = clients("w"), clients("l"), clients("r")
    watcher.connect()
    watcher.subscribe(f"{name}/#", 1)
    lost.connect(will=delayed_will(f"{name}/lost", "lost", 2), SessionExpiryInterval=LASTING_S)
    returning.connect(will=delayed_will(f"{name}/back", "never", 1), SessionExpiryInterval=LASTING_S)
    returning.drop()
    lost.drop()
    watcher.publish(f"{name}/before", "before the delay", 1)
    back = clients("r")
    assert back.connect(clean=False, SessionExpiryInterval=LASTING_S).session_present
    watcher.expect(f"{name}/before", "before the delay")
    # The will that was prevented would have come a second before this one.
    watcher.expect(f"{name}/lost", "lost")
    watcher.expect_nothing_before(watcher, f"{name}/end")


@pytest.mark.ours  # Mosquitto 2.0.11 waits for the delay although the session ended with the connection.
def test_the_end_of_the_session_ends_the_delay_of_the_will(clients, name):
    watcher, lost = clients("w"), clients("l")
    watcher.connect()
    watcher.subscribe(name, 1)
    lost.connect(will=delayed_will(name, "lost", LASTING_S))
    lost.drop()
    watcher.expect(name, "lost")


def wait_s(clients, name, seconds):
    """Lets the broker's own clock advance: a will with this delay has come."""
    watcher, clock = clients("clockwatcher"), clients("clock")
    watcher.connect()
    watcher.subscribe(f"{name}/clock", 1)
    clock.connect(will=delayed_will(f"{name}/clock", "tick", seconds), SessionExpiryInterval=LASTING_S)
    clock.drop()
    watcher.expect(f"{name}/clock", "tick")


def test_expired_messages_are_dropped_and_others_tell_what_is_left(clients, name):
    sender, away = clients("s"), clients("r")
    sender.connect()
    away.connect(SessionExpiryInterval=LASTING_S)
    away.subscribe(f"{name}/#", 1)
    away.disconnect()
    sender.publish(f"{name}/short", "gone", 1, MessageExpiryInterval=1)
    sender.publish(f"{name}/long", "here", 1, MessageExpiryInterval=1000)
    sender.publish(f"{name}/none", "here too", 1)
    wait_s(clients, name, 3)
    back = clients("r")
    assert back.connect(clean=False, SessionExpiryInterval=LASTING_S).session_present
    assert 900 < back.expect(f"{name}/long", "here").properties.MessageExpiryInterval < 1000
    assert not hasattr(back.expect(f"{name}/none", "here too").properties, "MessageExpiryInterval")


def test_an_expired_retained_message_is_not_replayed(clients, name):
    sender, receiver = clients("s"), clients("r")
    sender.connect()
    sender.publish(f"{name}/short", "gone", 1, retain=True, MessageExpiryInterval=1)
    wait_s(clients, name, 3)
    receiver.connect()
    receiver.subscribe(f"{name}/#", 1)
    receiver.expect_nothing_before(sender, f"{name}/end")


def test_a_session_ends_with_its_expiry_interval(clients, name):
    away = clients("r")
    away.connect(SessionExpiryInterval=1)
    away.subscribe(name, 1)
    away.disconnect()
    wait_s(clients, name, 3)
    assert not clients("r").connect(clean=False).session_present


def test_disconnect_can_change_the_session_expiry(clients, name):
    away = clients("r")
    away.connect(SessionExpiryInterval=LASTING_S)
    away.disconnect(SessionExpiryInterval=0)
    assert not clients("r").connect(clean=False).session_present


def test_a_message_too_large_for_one_subscriber_reaches_the_others(clients, name):
    sender, small, large = clients("s"), clients("small"), clients("large")
    sender.connect()
    small.connect(MaximumPacketSize=200)
    large.connect()
    for client in (small, large):
        client.subscribe(name, 1)
    sender.publish(name, "x" * 300, 1)
    large.expect(name, "x" * 300)
    small.expect_nothing_before(sender, name, 1)


def test_the_broker_keeps_to_the_receive_maximum(clients, name):
    sender, slow = clients("s"), clients("r", manual_ack=True)
    sender.connect()
    slow.connect(ReceiveMaximum=2)
    slow.subscribe_all([(f"{name}/1", 1), (f"{name}/0", 0)])
    for number in range(5):
        sender.publish(f"{name}/1", f"{number}", 1)
    held = [slow.message() for _ in range(2)]
    # QoS 0 is outside of the window, so the fence passes and proves that a third one did not.
    slow.expect_nothing_before(sender, f"{name}/0")
    for expected in range(2, 5):
        slow.acknowledge(held.pop(0))
        held.append(slow.expect(f"{name}/1", f"{expected}"))


def test_a_client_that_pings_stays_connected(clients, name):
    quiet = clients("q")
    quiet.connect(keep_alive_s=1)
    quiet.subscribe(name, 1)
    wait_s(clients, name, 3)
    quiet.publish(name, "still here", 1)
    quiet.expect(name, "still here")


def test_unsubscribe_tells_whether_there_was_a_subscription(pair, name):
    _, receiver = pair
    receiver.subscribe(name, 1)
    assert receiver.unsubscribe(name) == [0]
    assert receiver.unsubscribe(name) == [NO_SUBSCRIPTION_EXISTED]


@pytest.mark.ours
def test_a_client_that_is_taken_over_is_told_so(clients):
    first, second = clients("c"), clients("c")
    first.connect()
    second.connect()
    assert first.farewell().announced


@pytest.mark.ours
def test_publishing_to_nobody_succeeds_with_a_code_of_success(pair, name):
    sender, _ = pair
    for qos in (1, 2):
        assert sender.publish(f"{name}/nobody", "x", qos) < 0x80


def test_the_connack_names_the_limits(clients):
    got = clients("c").connect().properties
    assert getattr(got, "MaximumQoS", 2) == 2
    assert getattr(got, "RetainAvailable", 1) == 1
    assert getattr(got, "WildcardSubscriptionAvailable", 1) == 1
    assert getattr(got, "SubscriptionIdentifierAvailable", 1) == 1
    assert getattr(got, "SharedSubscriptionAvailable", 1) == 1
    assert got.TopicAliasMaximum > 0
    assert got.MaximumPacketSize == 1024 * 1024


def test_sys_topics_tell_the_version_of_the_broker(clients):
    client = clients("c")
    client.connect()
    client.subscribe("$SYS/broker/version")
    assert client.message().payload
