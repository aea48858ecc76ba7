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
    """Runs `laprox` in an empty folder, and returns its output."""

    def run(*arguments, code=0):
        call = [sys.executable, "-m", "laprox", *map(str, arguments)]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run
