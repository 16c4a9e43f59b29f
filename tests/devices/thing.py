"""A device that speaks ThingsBoard's API through paho-mqtt, without an SDK."""

import itertools
import json

from client import V5, V311, Client

__all__ = ["V5", "V311", "Thing"]

TELEMETRY = "v1/devices/me/telemetry"
ATTRIBUTES = "v1/devices/me/attributes"
REQUEST = "v1/devices/me/attributes/request"
RESPONSE = "v1/devices/me/attributes/response"
COMMAND = "v1/devices/me/rpc/request"
REPLY = "v1/devices/me/rpc/response"
CLAIM = "v1/devices/me/claim"
NUMBERS = itertools.count(1)


class Thing(Client):
    """A connection of a device; `connack` is the answer to its CONNECT."""

    def __init__(self, address, version, user, client_id=None, password=None, manual_ack=False, **options):
        name = f"thing-{next(NUMBERS)}" if client_id is None else client_id
        super().__init__(address, name, version, manual_ack)
        self.connack = self.connect(user=user, password=password, **options)

    def say(self, topic, value, qos=1):
        """Publishes JSON, or text as it is; returns the reason code of the acknowledgement."""
        return self.publish(topic, value if isinstance(value, str | bytes) else json.dumps(value), qos)

    def hear(self, topic=None):
        """The next message, read as JSON; on this topic, if one is given, and its topic otherwise."""
        message = self.message()
        value = json.loads(message.payload)
        if topic is None:
            return message.topic, value
        assert message.topic == topic, (message.topic, value)
        return value

    def request(self, number, **keys):
        """Asks for attributes and returns the answer."""
        self.say(f"{REQUEST}/{number}", {name: ",".join(keys[name]) for name in keys}, qos=0)
        return self.hear(f"{RESPONSE}/{number}")

    def take_command(self):
        """The next command: its number, method and parameters."""
        topic, call = self.hear()
        root, _, number = topic.rpartition("/")
        assert root == COMMAND, topic
        return int(number), call["method"], call["params"]

    def reply(self, number, value):
        assert self.say(f"{REPLY}/{number}", value) == 0
