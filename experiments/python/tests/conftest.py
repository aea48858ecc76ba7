"""What the tests share: the committed dump, and the command of the same package."""

import subprocess
import sys

import pytest

import laprox


@pytest.fixture(scope="session")
def dump():
    return laprox.Dump()


@pytest.fixture(scope="session")
def sample(dump):
    return dump[0]


@pytest.fixture
def command(tmp_path):
    """Runs `laprox` in an empty folder, and returns its output, or its line on stderr if another exit code than 0 is expected."""

    def run(*arguments, code=0):
        done = tried(tmp_path, *arguments)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


@pytest.fixture
def attempt(tmp_path):
    """Runs `laprox` in an empty folder, whatever comes of it."""
    return lambda *arguments: tried(tmp_path, *arguments)


def tried(folder, *arguments):
    call = [sys.executable, "-m", "laprox", *map(str, arguments)]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True)
