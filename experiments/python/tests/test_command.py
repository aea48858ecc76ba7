"""The command inside the package needs no source tree: it runs in an empty folder."""

import subprocess
import sys
from pathlib import Path

import pytest

import laprox


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("laprox")
    assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout == "laprox 0.1.0\n"


def test_ablate_tables_and_oracle_run_in_an_empty_folder(command):
    assert "moby-dick-1" in command("ablate")
    assert "# Oracle gap" in command("tables", "--quick")
    assert "oracle:certified" in command("oracle", "--budget", "5%")


def test_exit_codes_are_those_of_the_binary(command):
    assert command("evict", "/no/dump", "--budget", "5%", code=3) == "laprox: /no/dump: no such dump\n"
    assert "no such policy" in command("evict", "/no/dump", "--policy", "x", "--budget", "5%", code=2)


def test_exceptions_have_the_line_of_the_command(command):
    with pytest.raises(FileNotFoundError) as refusal:
        laprox.Dump("/no/dump")
    assert command("inspect", "/no/dump", code=3) == f"laprox: {refusal.value}\n"


def test_a_missing_device_is_a_runtime_error(sample, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(RuntimeError, match="^--path gpu: "):
        laprox.score(sample, path="gpu")
