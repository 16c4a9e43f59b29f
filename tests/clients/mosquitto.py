"""mosquitto_pub and mosquitto_sub as child processes.

A subscriber runs with `-d`, so that its own report of the SUBACK tells when a test may publish; nobody guesses with
a pause. Messages come as one line of JSON each (`-F %j`), which also shows QoS, retain flag and 5.0 properties.
"""

import json
import queue
import subprocess
import threading

TIMEOUT_S = 6
MARK = "message "


def target(address):
    """The arguments that name a broker, and what TLS at its door needs."""
    arguments = ["-h", address.host, "-p", address.port]
    options = {"ca_certs": "--cafile", "certfile": "--cert", "keyfile": "--key"}
    for name, path in (getattr(address, "tls", None) or {}).items():
        arguments += [options[name], path]
    return arguments


def try_publish(address, version, *arguments, stdin=None):
    """Runs mosquitto_pub to its end, whatever that is."""
    command = ["mosquitto_pub", *target(address), "-V", version, *arguments]
    return subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
    )


def publish(address, version, *arguments, stdin=None):
    """Runs mosquitto_pub to its end; a non-zero exit is a failure."""
    done = try_publish(address, version, *arguments, stdin=stdin)
    assert done.returncode == 0, f"mosquitto_pub exited with {done.returncode}: {done.stderr.decode()}"


def prepare_session(address, version, client_id, topic_filter, qos):
    """Leaves a lasting session with one subscription behind (`-E` ends after the SUBACK)."""
    command = ["mosquitto_sub", *target(address), "-V", version]
    command += ["-c", "-i", client_id, "-t", topic_filter, "-q", qos, "-E"]
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"mosquitto_sub exited with {done.returncode}: {done.stderr.decode()}"


class Subscriber:
    """A mosquitto_sub that has its SUBACK."""

    def __init__(self, address, version, *arguments):
        command = ["stdbuf", "-oL", "mosquitto_sub", *target(address), "-V", version]
        command += ["-d", "-F", MARK + "%j", *arguments]
        self.output = []
        self._messages = queue.Queue()
        self._acknowledged = threading.Event()
        self.child = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        if not self._acknowledged.wait(TIMEOUT_S):
            self.kill()
            raise AssertionError("no SUBACK; output:\n" + "\n".join(self.output))

    def _collect(self):
        for line in self.child.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("Subscribed (mid:"):
                self._acknowledged.set()
            elif line.startswith(MARK):
                self._messages.put(json.loads(line.removeprefix(MARK)))

    def message(self):
        """The next message as a dict: topic, payload, qos, retain, properties."""
        try:
            return self._messages.get(timeout=TIMEOUT_S)
        except queue.Empty:
            raise AssertionError("no message; output:\n" + "\n".join(self.output)) from None

    def expect(self, topic, payload, **fields):
        """The next message, which must be this one, with these fields."""
        message = self.message()
        assert (message["topic"], message["payload"]) == (topic, payload)
        assert {key: message[key] for key in fields} == fields
        return message

    def expect_end(self):
        """Waits until mosquitto_sub has ended by itself, without an error."""
        assert self.child.wait(TIMEOUT_S) == 0

    def kill(self):
        """Ends it as a lost client ends: no DISCONNECT."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        self.child.stdout.close()
