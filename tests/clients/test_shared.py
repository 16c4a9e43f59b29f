"""Shared subscriptions: each message goes to exactly one member of each group."""

import collections
import queue

import pytest
from client import V5, V31, V311, take

GROUP_OF = 4


def members_of(clients, group, count, inbox, version=V5):
    members = [clients(f"{group}m{number}", version, inbox=inbox) for number in range(count)]
    for member in members:
        member.connect()
    return members


def gather(inbox, count):
    """The next `count` payloads of a group, by member."""
    heard = collections.defaultdict(list)
    for _ in range(count):
        member, message = take(inbox, f"no message after {sum(map(len, heard.values()))} of {count}")
        heard[member.id].append(message.payload.decode())
    return heard


def numbers(count):
    return [f"{number}" for number in range(count)]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_each_message_goes_to_one_member(clients, name, version, qos):
    sender, inbox = clients("s"), queue.Queue()
    sender.connect()
    members = members_of(clients, "g", GROUP_OF, inbox, version)
    for member in members:
        assert member.subscribe(f"$share/{name}/{name}/job/#", qos) == qos
        member.subscribe(f"{name}/end", qos)
    sent = [sender.send(f"{name}/job/{number % 3}", f"{number}", qos) for number in range(400)]
    assert all(sender.published(mid) == 0 for mid in sent)
    heard = gather(inbox, 400)
    assert sorted(sum(heard.values(), []), key=int) == numbers(400)
    assert len(heard) == GROUP_OF, "a member got nothing of 400 messages"
    sender.publish(f"{name}/end", "end", qos)
    assert gather(inbox, GROUP_OF) == {member.id: ["end"] for member in members}


def test_each_group_and_each_plain_subscriber_gets_a_copy(clients, name):
    sender, plain = clients("s"), clients("p", V31)
    sender.connect()
    plain.connect()
    plain.subscribe(name, 1)
    inboxes = {"one": queue.Queue(), "two": queue.Queue()}
    for group, inbox in inboxes.items():
        for member in members_of(clients, group, 2, inbox):
            member.subscribe(f"$share/{name}{group}/{name}", 1)
    for text in numbers(100):
        sender.publish(name, text, 1)
    assert plain.payloads(100) == numbers(100)
    for inbox in inboxes.values():
        assert sorted(sum(gather(inbox, 100).values(), []), key=int) == numbers(100)


def test_when_members_leave_the_rest_does_the_work(clients, name):
    sender, inbox = clients("s"), queue.Queue()
    sender.connect()
    members = members_of(clients, "g", 3, inbox)
    for member in members:
        member.subscribe(f"$share/{name}/{name}", 1)
    members[0].unsubscribe(f"$share/{name}/{name}")
    members[1].disconnect()
    for text in numbers(50):
        sender.publish(name, text, 1)
    assert gather(inbox, 50) == {members[2].id: numbers(50)}


def test_a_member_that_is_lost_leaves_its_unacknowledged_messages_to_itself(clients, name):
    sender, inbox = clients("s"), queue.Queue()
    sender.connect()
    holder = clients("h", manual_ack=True)
    holder.connect(SessionExpiryInterval=3600)
    holder.subscribe(f"$share/{name}/{name}", 1)
    sender.publish(name, "held", 1)
    holder.expect(name, "held")
    holder.drop()
    back = clients("h", inbox=inbox)
    assert back.connect(clean=False, SessionExpiryInterval=3600).session_present
    assert gather(inbox, 1) == {back.id: ["held"]}


@pytest.mark.ours  # Mosquitto 2.0.11 replays retained messages to a shared subscription.
def test_a_shared_subscription_replays_no_retained_message(clients, name):
    client = clients("c")
    client.connect()
    client.publish(name, "kept", 1, retain=True)
    client.subscribe(f"$share/{name}/{name}", 1)
    client.expect_nothing_before(client, name, 1)
    client.publish(name, b"", 1, retain=True)


@pytest.mark.ours  # Mosquitto 2.0.11 accepts it.
def test_no_local_on_a_shared_subscription_is_a_protocol_error(clients, name):
    client = clients("c")
    client.connect()
    client.send_subscribe([(f"$share/{name}/{name}", 1)], noLocal=True)
    assert client.farewell().announced
