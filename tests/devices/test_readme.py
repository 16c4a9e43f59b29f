"""What the README tells people who have a device that speaks ThingsBoard's API, as they would paste it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import pytest
from broker import START_S, binary, environment
from plant import Api, until

ROOT = pathlib.Path(__file__).parents[2]
HEADING = "Your ThingsBoard device in three commands"
RUN_S = 60


def commands():
    """The lines of the code blocks below the heading, continued lines joined."""
    text = (ROOT / "README.md").read_text()
    section = text.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_three_commands_bring_a_device_to_its_telemetry(tmp_path):
    pasted = commands()
    assert len(pasted) >= 3, pasted
    assert pasted
