"""ThingsBoard's clients for Python as they are, with what they report in queues that a test can wait for."""

import queue

from plant import TIMEOUT_S, until
from tb_device_mqtt import TBDeviceMqttClient
from tb_gateway_mqtt import TBGatewayMqttClient


class Inbox:
    """A callback whose calls can be waited for."""

    def __init__(self):
        self._calls = queue.Queue()

    def __call__(self, *arguments):
        self._calls.put(arguments)

    def take(self, what="call", timeout_s=TIMEOUT_S):
        """The arguments of the next call."""
        try:
            return self._calls.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"no {what} within {timeout_s} s") from None

    def take_until(self, accepts, what="call"):
        """The arguments of the first call that is accepted; others are passed over."""
        while True:
            arguments = self.take(what)
            if accepts(*arguments):
                return arguments


class Connected:
    """A client of the SDK that has its CONNACK and its limits, as gateways wait for them."""

    kind = TBDeviceMqttClient

    def __init__(self, plant, user, password=None, tls=None, prepare=None, **options):
        """`prepare` gets the client before it connects: for what must be there when the first message comes."""
        address = plant.secure if tls else plant.devices
        self.sdk = self.kind(address.host, address.port, username=user, password=password, **options)
        self.welcomed = Inbox()
        # A callback that is given to `connect` may be too late: the SDK keeps it after it has begun to read.
        on_connect = self.sdk._client.on_connect

        def note(client, userdata, flags, reason, properties, *rest):
            self.welcomed(reason.value)
            on_connect(client, userdata, flags, reason, properties, *rest)

        self.sdk._client.on_connect = note
        if prepare:
            prepare(self.sdk)
        self.sdk.connect(**({"tls": True, **tls} if tls else {}))
        (self.reason,) = self.welcomed.take("CONNACK")
        if self.reason == 0:
            until(lambda: self.sdk.rate_limits_received, "answer to getSessionLimits")

    def __getattr__(self, name):
        return getattr(self.sdk, name)

    def close(self):
        self.sdk.stop()
        self.sdk.disconnect()


class ConnectedGateway(Connected):
    """The same for a gateway."""

    kind = TBGatewayMqttClient
