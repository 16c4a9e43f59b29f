"""What the README tells people who have a device that speaks ThingsBoard's API, as they would paste it.

Three things differ from pasting: the binary is there already, its ports are free ones, and its addresses are on loopback.
"""

import os
import pathlib
import re
import signal
import subprocess

from broker import Process, binary, free_address
from mosquitto import Subscriber
from plant import Api

ROOT = pathlib.Path(__file__).parents[2]
HEADING = "## Your ThingsBoard device in three commands\n"
RUN_S = 60


def section():
    text = (ROOT / "README.md").read_text()
    assert HEADING in text
    return text.partition(HEADING)[2].partition("\n## ")[0]


def pasted():
    """The code blocks of the section."""
    return re.findall(r"^```\w*\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)


class Terminal:
    """A directory like the one in which people paste, with a broker of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.devices, self.plain, self.http = free_address(), free_address(), free_address()
        (folder / "config" / "examples").mkdir(parents=True)
        for path in (ROOT / "config" / "examples").iterdir():
            (folder / "config" / "examples" / path.name).write_text(self.here(path.read_text()))

    def here(self, text):
        """The text with our ports."""
        text = text.replace("0.0.0.0:", "127.0.0.1:")
        for port, address in (("1883", self.devices), ("1884", self.plain), ("8080", self.http)):
            text = text.replace(f"127.0.0.1:{port}", str(address)).replace(f"-p {port} ", f"-p {address.port} ")
        return text.replace("mosquitto_pub -q", f"mosquitto_pub -p {self.devices.port} -q")

    def start(self, command):
        """The first command; it goes on running."""
        assert command.startswith("cargo run --release -- serve "), command
        arguments = command.removeprefix("cargo run --release -- ").split()
        data = str(self.folder / "ringmq-data")
        arguments[2] = str(self.folder / arguments[2])
        return Process(*arguments, env={"RINGMQ_STORE_DIR": data})

    def paste(self, block):
        """Any other command; what it prints."""
        path = f"{pathlib.Path(binary()).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", self.here(block)], cwd=self.folder, env={**os.environ, "PATH": path},
            capture_output=True, text=True, timeout=RUN_S, check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_three_commands_bring_a_device_to_its_telemetry(tmp_path):
    blocks = pasted()
    assert len(blocks) == 3, "three commands"
    terminal = Terminal(tmp_path)
    broker = terminal.start(blocks[0].strip())
    try:
        broker.wait_line(lambda line: " ready: " in line)
        password = (tmp_path / "ringmq-data" / "admin-password").read_text().strip()
        assert any(password in line for line in broker.lines), "it is printed once"
        made = terminal.paste(blocks[1])
        assert '"name":"thermometer"' in made
        subscriber = Subscriber(terminal.plain, "mqttv5", "-t", "thingsboard/#")
        try:
            terminal.paste(blocks[2])
            message = subscriber.message()
            assert message["topic"].endswith("/thermometer/telemetry"), message
        finally:
            subscriber.kill()
        api = Api(f"http://{terminal.http}", "tenant@thingsboard.org", password)
        assert api.by_name("thermometer").latest("temperature") == {"temperature": 21.5}
        broker.signal(signal.SIGTERM)
        assert broker.wait_exit() == 0
    finally:
        broker.kill()


def test_the_other_commands_of_the_section_name_what_is_there():
    text = section()
    for path in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / path).exists(), path
    assert "mosquitto_sub -p 1884" in text and "1884" in (ROOT / "config/examples/thingsboard.toml").read_text()
