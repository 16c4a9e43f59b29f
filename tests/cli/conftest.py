"""Running the binary to its end, and starting brokers that end with the test."""

import subprocess

import pytest
from broker import Broker, binary, environment, free_address

RUN_S = 20


@pytest.fixture
def run(tmp_path):
    """Runs `ringmq ARGUMENTS` in an empty folder and returns exit code, stdout and stderr."""

    def to_its_end(*arguments, env=None, preexec=None):
        return subprocess.run(
            [binary(), *map(str, arguments)],
            capture_output=True, text=True, timeout=RUN_S, check=False,
            cwd=tmp_path, env=environment(env), preexec_fn=preexec,
        )

    return to_its_end


@pytest.fixture
def serve():
    """Starts brokers and kills what is left of them when the test ends."""
    started = []

    def start(*arguments, **options):
        started.append(Broker(*arguments, **options))
        return started[-1]

    yield start
    for broker in started:
        broker.process.kill()


@pytest.fixture
def write(tmp_path):
    """Writes a configuration file and returns its path."""

    def to_file(text, name="broker.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return to_file


@pytest.fixture
def address():
    return free_address()
