"""The full round with Mosquitto's command line clients, in every protocol version."""

import pytest
from mosquitto import Subscriber, prepare_session, publish


@pytest.fixture(params=["mqttv31", "mqttv311", "mqttv5"])
def version(request):
    return request.param


@pytest.fixture
def subscriber(broker):
    """Starts mosquitto_sub processes and ends them with the test."""
    started = []

    def start(version, *arguments):
        started.append(Subscriber(broker.address, version, *arguments))
        return started[-1]

    yield start
    for child in started:
        child.kill()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_arrives_with_its_qos(broker, subscriber, name, version, qos):
    listener = subscriber(version, "-t", f"{name}/#", "-q", qos)
    publish(broker.address, version, "-t", f"{name}/a", "-m", "hello", "-q", qos)
    listener.expect(f"{name}/a", "hello", qos=qos, retain=0)


@pytest.mark.parametrize("published, subscribed", [(2, 0), (2, 1), (0, 2), (1, 2)])
def test_the_lower_qos_wins(broker, subscriber, name, version, published, subscribed):
    listener = subscriber(version, "-t", name, "-q", subscribed)
    publish(broker.address, version, "-t", name, "-m", "x", "-q", published)
    listener.expect(name, "x", qos=min(published, subscribed))


def test_lines_of_standard_input_arrive_in_order(broker, subscriber, name, version):
    listener = subscriber(version, "-t", name, "-q", 2, "-C", 200)
    lines = [f"line {number}" for number in range(200)]
    publish(broker.address, version, "-t", name, "-q", 2, "-l", stdin="\n".join(lines).encode())
    for line in lines:
        listener.expect(name, line, qos=2)
    listener.expect_end()


def test_a_large_file_arrives_unchanged(broker, subscriber, name, version, tmp_path):
    text = "0123456789abcdef" * 50_000
    path = tmp_path / "large"
    path.write_text(text)
    listener = subscriber(version, "-t", name, "-q", 1)
    publish(broker.address, version, "-t", name, "-q", 1, "-f", path)
    listener.expect(name, text)


def test_retained_is_set_replaced_and_cleared(broker, subscriber, name, version):
    for text in ("first", "second"):
        publish(broker.address, version, "-t", f"{name}/kept", "-m", text, "-q", 1, "-r")
        subscriber(version, "-t", f"{name}/+", "-q", 1).expect(f"{name}/kept", text, retain=1)
    publish(broker.address, version, "-t", f"{name}/kept", "-n", "-q", 1, "-r")
    late = subscriber(version, "-t", f"{name}/+", "-q", 1)
    publish(broker.address, version, "-t", f"{name}/fence", "-m", "fence", "-q", 1)
    late.expect(f"{name}/fence", "fence", retain=0)


def test_a_killed_client_leaves_its_will(broker, subscriber, name, version):
    watcher = subscriber(version, "-t", f"{name}/will", "-q", 2)
    will = ["--will-topic", f"{name}/will", "--will-payload", "gone", "--will-qos", 2, "--will-retain"]
    subscriber(version, "-t", f"{name}/x", *will).kill()
    watcher.expect(f"{name}/will", "gone", qos=2, retain=0)
    subscriber(version, "-t", f"{name}/will", "-q", 1).expect(f"{name}/will", "gone", qos=1, retain=1)
    publish(broker.address, version, "-t", f"{name}/will", "-n", "-q", 1, "-r")


def test_a_lasting_session_gets_what_it_missed(broker, subscriber, name, version):
    prepare_session(broker.address, version, f"{name}c", name, 2)
    for number in range(20):
        publish(broker.address, version, "-t", name, "-m", f"{number}", "-q", 1 + number // 10)
    back = subscriber(version, "-c", "-i", f"{name}c", "-t", name, "-q", 2)
    for number in range(20):
        back.expect(name, f"{number}", qos=1 + number // 10)


def test_two_subscribers_share_the_work(broker, subscriber, name, version):
    shared = ["-t", f"$share/{name}/{name}", "-t", f"{name}/end", "-q", 1]
    members = [subscriber(version, *shared) for _ in range(2)]
    lines = [f"{number}" for number in range(100)]
    publish(broker.address, version, "-t", name, "-q", 1, "-l", stdin="\n".join(lines).encode())
    publish(broker.address, version, "-t", f"{name}/end", "-m", "end", "-q", 1)
    heard = []
    for member in members:
        before = len(heard)
        while (message := member.message())["topic"] == name:
            heard.append(message["payload"])
        assert len(heard) > before, "a member got nothing of 100 messages"
    assert sorted(heard, key=int) == lines


def test_unsubscribing_from_one_filter_leaves_the_other(broker, subscriber, name, version):
    listener = subscriber(version, "-t", f"{name}/a", "-t", f"{name}/b", "-U", f"{name}/a", "-q", 1)
    publish(broker.address, version, "-t", f"{name}/b", "-m", "heard", "-q", 1)
    listener.expect(f"{name}/b", "heard")


def test_a_message_s_properties_arrive(broker, subscriber, name):
    listener = subscriber("mqttv5", "-t", name, "-q", 1, "-D", "SUBSCRIBE", "subscription-identifier", 77)
    properties = [
        ["content-type", "text/plain"],
        ["response-topic", f"{name}/answer"],
        ["correlation-data", "id-1"],
        ["payload-format-indicator", 1],
        ["user-property", "colour", "green"],
    ]
    arguments = [part for row in properties for part in ("-D", "PUBLISH", *row)]
    publish(broker.address, "mqttv5", "-t", name, "-m", "hello", "-q", 1, *arguments)
    got = listener.expect(name, "hello")["properties"]
    assert got["content-type"] == "text/plain"
    assert got["response-topic"] == f"{name}/answer"
    assert got["correlation-data"] == "id-1"
    assert got["payload-format-indicator"] == 1
    assert got["user-properties"] == {"colour": "green"}
    assert got["subscription-identifier"] == 77


def test_a_topic_alias_stands_for_its_topic(broker, subscriber, name):
    listener = subscriber("mqttv5", "-t", name, "-q", 1)
    publish(broker.address, "mqttv5", "-t", name, "-m", "hello", "-q", 1, "-D", "PUBLISH", "topic-alias", 1)
    assert "topic-alias" not in listener.expect(name, "hello").get("properties", {})


def test_versions_hear_each_other(broker, subscriber, name):
    versions = ["mqttv31", "mqttv311", "mqttv5"]
    listeners = [subscriber(version, "-t", name, "-q", 2) for version in versions]
    for version in versions:
        publish(broker.address, version, "-t", name, "-m", version, "-q", 2)
        for listener in listeners:
            listener.expect(name, version, qos=2)
