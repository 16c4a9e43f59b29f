"""A paho-mqtt client whose callbacks have become values that a test can wait for.

paho reports from its own thread. Here each report goes into a queue, so that a test reads as a dialogue: do this,
then expect that, at the latest after `TIMEOUT_S`. A test that says "nothing arrives" publishes a fence and expects
the fence to be next, which no waiting time could prove.
"""

import contextlib
import itertools
import os
import queue
import socket

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

V31, V311, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5
TIMEOUT_S = 6
FENCES = itertools.count(1)


def properties(packet, **values):
    """Properties of a packet; user properties as a list of pairs under `UserProperty`."""
    built = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(built, name, value)
    return built


class Connack:
    """What the broker answered to CONNECT."""

    def __init__(self, flags, reason, properties):
        self.session_present = bool(flags.session_present)
        self.reason = reason.value
        self.properties = properties


class Farewell:
    """How a connection ended: with a DISCONNECT of the broker, or without.

    paho 2.1 reads the reason code only of a DISCONNECT that has properties, so tests of reason codes look at bytes
    instead; see tests/talk and tests/cli.
    """

    def __init__(self, flags):
        self.announced = flags.is_disconnect_packet_from_server


class Client:
    """One connection of one client; connect again with a new `Client` under the same id."""

    def __init__(self, address, client_id, version=V5, manual_ack=False, inbox=None):
        """`address` may be a door (see doors.py) that says what MQTT is wrapped in.

        With an `inbox` (a queue that several clients may share) messages go there as (client, message).
        """
        self.id = client_id
        self.version = version
        self._address = address
        self._manual_ack = manual_ack
        self._connacks = queue.Queue()
        self._messages = queue.Queue()
        self._inbox = inbox
        self._acks = {}
        self._answers = queue.Queue()
        self._farewells = queue.Queue()
        self._paho = None

    # ---- connection ----------------------------------------------------------------------------------------------

    def connect(self, clean=True, keep_alive_s=60, will=None, source="", user=None, password=None, **values):
        """CONNECT; `will` is a dict of topic, payload, qos, retain, properties; `source` is the client's own address;
        `values` are 5.0 properties."""
        five = self.version == V5
        self._paho = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=self.id,
            clean_session=None if five else clean,
            protocol=self.version,
            reconnect_on_failure=False,
            manual_ack=self._manual_ack,
            transport=getattr(self._address, "transport", "tcp"),
        )
        if tls := getattr(self._address, "tls", None):
            client.tls_set(**tls)
        client.on_connect = lambda _c, _u, flags, reason, props: self._connacks.put(Connack(flags, reason, props))
        client.on_message = lambda _c, _u, message: self._deliver(message)
        client.on_disconnect = lambda _c, _u, flags, _r, _p: self._farewells.put(Farewell(flags))
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._answers.put((mid, codes))
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._answers.put((mid, codes))
        client.on_publish = lambda _c, _u, mid, reason, _p: self._ack(mid).put(reason.value)
        if will:
            client.will_set(**will)
        if user is not None:
            client.username_pw_set(user, password)
        extra = {"clean_start": clean, "properties": properties("CONNECT", **values)} if five else {}
        client.connect(self._address.host, self._address.port, keep_alive_s, source, **extra)
        with self._bare_socket() as bare:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.loop_start()
        return self._take(self._connacks, "CONNACK")

    def disconnect(self, reason=None, **values):
        """DISCONNECT, then wait until the connection has ended."""
        if self.version == V5 and (reason is not None or values):
            code = paho.ReasonCode(PacketTypes.DISCONNECT, identifier=reason or 0)
            self._paho.disconnect(code, properties("DISCONNECT", **values))
        else:
            self._paho.disconnect()
        self.farewell()

    def drop(self):
        """Ends the connection without DISCONNECT, as a client that lost its power."""
        with self._bare_socket() as bare:
            bare.shutdown(socket.SHUT_RDWR)
        self.farewell()

    @contextlib.contextmanager
    def _bare_socket(self):
        """The socket below TLS and WebSocket."""
        with socket.socket(fileno=os.dup(self._paho.socket().fileno())) as bare:
            yield bare

    def farewell(self):
        """Waits for the end of the connection."""
        farewell = self._take(self._farewells, "end of connection")
        self._paho.loop_stop()
        return farewell

    def close(self):
        """Ends whatever is left, without expectations."""
        if self._paho is not None:
            self._paho.disconnect()
            self._paho.loop_stop()
            # paho holds three descriptors and waits with select(), which knows no descriptor above 1023.
            self._paho = None

    # ---- requests ------------------------------------------------------------------------------------------------

    def subscribe(self, topic_filter, qos=0, identifier=None, **options):
        """SUBSCRIBE to one filter; returns the reason code of the SUBACK."""
        return self.subscribe_all([(topic_filter, qos)], identifier, **options)[0]

    def subscribe_all(self, filters, identifier=None, **options):
        """SUBSCRIBE to pairs of filter and QoS; returns one reason code each."""
        return self._answer(self.send_subscribe(filters, identifier, **options), "SUBACK")

    def send_subscribe(self, filters, identifier=None, **options):
        """SUBSCRIBE without waiting; returns its packet id."""
        if self.version == V5:
            filters = [(topic_filter, SubscribeOptions(qos=qos, **options)) for topic_filter, qos in filters]
            extra = {"SubscriptionIdentifier": identifier} if identifier else {}
            result, mid = self._paho.subscribe(filters, properties=properties("SUBSCRIBE", **extra))
        else:
            result, mid = self._paho.subscribe(filters)
        assert result == paho.MQTT_ERR_SUCCESS, result
        return mid

    def unsubscribe(self, topic_filter):
        """UNSUBSCRIBE; returns the reason codes, none below 5.0."""
        result, mid = self._paho.unsubscribe(topic_filter)
        assert result == paho.MQTT_ERR_SUCCESS, result
        return self._answer(mid, "UNSUBACK")

    def publish(self, topic, payload=b"", qos=0, retain=False, **values):
        """PUBLISH and wait for its last acknowledgement; returns its reason code, 0 for QoS 0."""
        return self.published(self.send(topic, payload, qos, retain, **values))

    def send(self, topic, payload=b"", qos=0, retain=False, **values):
        """PUBLISH without waiting; pass the result to `published`."""
        extra = {"properties": properties("PUBLISH", **values)} if values else {}
        sent = self._paho.publish(topic, payload, qos, retain, **extra)
        assert sent.rc == paho.MQTT_ERR_SUCCESS, sent.rc
        return sent.mid

    def published(self, mid):
        """Waits until a sent message is acknowledged (QoS 0: written)."""
        reason = self._take(self._ack(mid), f"acknowledgement of packet {mid}")
        del self._acks[mid]
        return reason

    def acknowledge(self, message):
        """PUBACK or PUBREC by hand, for a client with `manual_ack`."""
        self._paho.ack(message.mid, message.qos)

    # ---- expectations --------------------------------------------------------------------------------------------

    def message(self):
        """The next message."""
        return self._take(self._messages, "message")

    def payloads(self, count):
        """The payloads of the next `count` messages, as text."""
        return [self.message().payload.decode() for _ in range(count)]

    def expect(self, topic, payload, qos=None, retain=None):
        """The next message, which must be this one."""
        message = self.message()
        assert (message.topic, message.payload) == (topic, _bytes(payload))
        if qos is not None:
            assert message.qos == qos
        if retain is not None:
            assert message.retain == retain
        return message

    def expect_nothing_before(self, publisher, topic, qos=0):
        """Has `publisher` publish a fence on `topic`, which this client must receive as its next message."""
        fence = f"fence-{next(FENCES)}"
        publisher.publish(topic, fence, qos)
        self.expect(topic, fence)

    def _deliver(self, message):
        if self._inbox is None:
            self._messages.put(message)
        else:
            self._inbox.put((self, message))

    def _answer(self, mid, what):
        answered, codes = self._take(self._answers, what)
        assert answered == mid
        return [code.value for code in codes]

    def _ack(self, mid):
        return self._acks.setdefault(mid, queue.Queue())

    def _take(self, source, what):
        return take(source, f"{self.id}: no {what}")


def take(source, complaint):
    """The next item of a queue, or a failure that starts with `complaint`."""
    try:
        return source.get(timeout=TIMEOUT_S)
    except queue.Empty:
        raise AssertionError(f"{complaint} within {TIMEOUT_S} s") from None


def _bytes(payload):
    return payload.encode() if isinstance(payload, str) else payload
