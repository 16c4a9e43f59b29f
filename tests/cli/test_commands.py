"""Commands that end by themselves: help, version, completions, check, and every way to be refused."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
USER_ERROR = 2


def refused(done, *parts):
    """The run ended with exit code 2, a clear line on stderr that holds `parts`, and nothing on stdout."""
    assert done.returncode == USER_ERROR, done
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-V"]])
def test_the_version_is_that_of_the_manifest(run, arguments):
    manifest = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"', manifest, re.MULTILINE).group(1)
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ringmq {version}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["-h"]])
def test_help_names_every_command(run, arguments):
    done = run(*arguments)
    assert done.returncode == 0
    for command in ("serve", "check", "version", "completions"):
        assert re.search(rf"^  {command}\b", done.stdout, re.MULTILINE)


def test_help_of_serve_names_its_options(run):
    done = run("serve", "--help")
    assert done.returncode == 0
    for option in ("--config", "--listen", "--cores", "--data", "--durability", "--quarantine"):
        assert option in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_the_commands(run, shell):
    done = run("completions", shell)
    assert done.returncode == 0
    assert "ringmq" in done.stdout and "check" in done.stdout


def test_the_completions_for_bash_are_bash(run):
    script = run("completions", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_an_unknown_option_is_refused_with_a_guess(run):
    refused(run("serve", "--lisen", "127.0.0.1:1"), "--lisen", "--listen")


def test_the_default_configuration_passes_its_own_check(run):
    done = run("check", "-c", ROOT / "config" / "ringmq.toml")
    assert done.returncode == 0, done.stderr


def test_an_unknown_key_is_refused_with_place_and_guess(run, write):
    path = write("[server]\ncores = 1\n\n[limits]\n  inflight_maxx = 10\n")
    for command in ("check", "serve"):
        refused(run(command, "-c", path), f"{path}:5:3: ", "inflight_maxx", "did you mean `inflight_max`?")


def test_an_unknown_section_is_refused_with_place_and_guess(run, write):
    path = write("# nothing\n[limit]\n")
    refused(run("check", "-c", path), f"{path}:2:", "limit", "did you mean `limits`?")


def test_a_wrong_value_is_refused_with_its_place(run, write):
    path = write('[limits]\nreceive_maximum = 70000\n')
    refused(run("check", "-c", path), f"{path}:2:19: ", "receive_maximum")


def test_broken_toml_is_refused_with_its_place(run, write):
    path = write('[server]\ncores = \n')
    refused(run("check", "-c", path), f"{path}:2:")


def test_all_complaints_come_at_once(run, write):
    path = write("[limits]\nfirst_wrong = 1\nsecond_wrong = 2\n")
    done = run("check", "-c", path)
    refused(done, "first_wrong", "second_wrong")
    assert len(done.stderr.splitlines()) == 2


def test_a_missing_file_is_refused_by_name(run):
    refused(run("check", "-c", "missing.toml"), "missing.toml")


def test_a_wrong_variable_is_refused_by_name(run):
    refused(run("serve", env={"RINGMQ_LIMITS_RECEIVE_MAXIMUM": "many"}), "RINGMQ_LIMITS_RECEIVE_MAXIMUM")


def test_a_misspelt_variable_is_refused_with_a_guess(run):
    refused(run("serve", env={"RINGMQ_LIMITS_RECEIVE_MAXIMUN": "7"}), "RINGMQ_LIMITS_RECEIVE_MAXIMUN", "did you mean")


def test_variables_of_others_are_let_be(run, write):
    path = write("[server]\n")
    assert run("check", "-c", path, env={"RINGMQ_PORT": "tcp://10.0.0.1:1883", "RINGMQ_BIN": "x"}).returncode == 0


def test_an_open_listener_without_authentication_is_refused(run, write):
    path = write('[[listener]]\nbind = "0.0.0.0:1883"\n')
    refused(run("check", "-c", path), f"{path}:2:8: ", "allow_anonymous")


@pytest.mark.parametrize("cores", ["0", "none", "100000", "0,0", "5-2"])
def test_cores_that_cannot_be_had_are_refused(run, address, cores):
    refused(run("serve", "--listen", address, "--cores", cores), "cores")


@pytest.mark.parametrize("listen", ["1883", "localhost", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(run, listen):
    refused(run("serve", "--listen", listen), listen)
