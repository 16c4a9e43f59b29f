"""Many clients at once, spread over the cores: nothing is lost, nothing comes twice, order holds per publisher."""

import collections

import pytest

PAIRS = 100
MESSAGES = 40


def connect_all(clients, prefix, count, **options):
    crowd = [clients(f"{prefix}{number}") for number in range(count)]
    for client in crowd:
        client.connect(**options)
    return crowd


@pytest.mark.parametrize("qos", [1, 2])
def test_a_hundred_pairs_lose_nothing_and_repeat_nothing(clients, name, qos):
    senders = connect_all(clients, "s", PAIRS)
    receivers = connect_all(clients, "r", PAIRS)
    for number, receiver in enumerate(receivers):
        receiver.subscribe(f"{name}/{number}/+", qos)
    sent = [
        (sender, sender.send(f"{name}/{number}/{count % 2}", f"{count}", qos))
        for count in range(MESSAGES)
        for number, sender in enumerate(senders)
    ]
    assert all(sender.published(mid) == 0 for sender, mid in sent)
    for number, receiver in enumerate(receivers):
        assert receiver.payloads(MESSAGES) == [f"{count}" for count in range(MESSAGES)]
        receiver.expect_nothing_before(senders[(number + 1) % PAIRS], f"{name}/{number}/end", qos)


@pytest.mark.parametrize("qos", [1, 2])
def test_everybody_hears_everybody_in_order(clients, name, qos):
    crowd = connect_all(clients, "c", 20)
    for client in crowd:
        client.subscribe(f"{name}/#", qos)
    sent = [
        (client, client.send(f"{name}/{number}", f"{count}", qos))
        for count in range(20)
        for number, client in enumerate(crowd)
    ]
    assert all(client.published(mid) == 0 for client, mid in sent)
    for client in crowd:
        heard = collections.defaultdict(list)
        for _ in range(20 * 20):
            message = client.message()
            heard[message.topic].append(int(message.payload))
        assert heard == {f"{name}/{number}": list(range(20)) for number in range(20)}


def test_a_fan_out_reaches_every_subscriber_in_order(clients, name):
    sender = connect_all(clients, "s", 1)[0]
    receivers = connect_all(clients, "r", PAIRS)
    for receiver in receivers:
        receiver.subscribe(name, 1)
    for count in range(MESSAGES):
        sender.publish(name, f"{count}", 1)
    for receiver in receivers:
        assert receiver.payloads(MESSAGES) == [f"{count}" for count in range(MESSAGES)]


def test_a_subscriber_hears_what_follows_its_suback_from_any_core(clients, name):
    senders = connect_all(clients, "s", 20)
    for round_number in range(10):
        receiver = connect_all(clients, f"r{round_number}x", 1)[0]
        receiver.subscribe(f"{name}/{round_number}", 1)
        for number, sender in enumerate(senders):
            sender.publish(f"{name}/{round_number}", f"{number}", 1)
        # Every one of them, in any order: order is promised per publisher.
        assert sorted(receiver.payloads(20), key=int) == [f"{number}" for number in range(20)]


def test_sessions_survive_the_reconnect_of_a_crowd(clients, name):
    sender = connect_all(clients, "s", 1)[0]
    away = connect_all(clients, "r", 50, SessionExpiryInterval=3600)
    for number, client in enumerate(away):
        client.subscribe(f"{name}/{number}", 2)
        client.drop()
    for count in range(10):
        for number in range(50):
            sender.publish(f"{name}/{number}", f"{count}", 2)
    for number in range(50):
        back = clients(f"r{number}")
        assert back.connect(clean=False, SessionExpiryInterval=3600).session_present
        assert back.payloads(10) == [f"{count}" for count in range(10)]
        back.expect_nothing_before(sender, f"{name}/{number}", 2)
