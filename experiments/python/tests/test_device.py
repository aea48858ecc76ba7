"""Arrays on a device: wrong ones are refused in one line, right ones are scored where they lie."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import laprox

GOOD = {"shape": (1, 40, 64), "typestr": "<f2", "data": (4096, False), "version": 3, "strides": None}


class OnDevice:
    """An array of another library on its device."""

    def __init__(self, **facts):
        self.__cuda_array_interface__ = GOOD | facts


class Unreadable:
    """An array whose interface raises."""

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("it requires a gradient\nand says so at length")


class Copied(OnDevice):
    """An array that can be copied to the host."""

    def __init__(self, array):
        super().__init__(shape=array.shape)
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


def layer(key="k", **facts):
    """One layer on the device, one array of it changed."""
    arrays = {"q": OnDevice(shape=(2, 8, 64)), "k": OnDevice(), "v": OnDevice(), "o_proj": np.ones((16, 128), np.float32)}
    return [arrays | {key: OnDevice(**facts)}] if facts else [arrays]


WRONG = {
    "a list as a shape": ({"shape": [1, 40, 64]}, "expected a shape of whole numbers"),
    "a negative extent": ({"shape": (1, -40, 64)}, "expected a shape of whole numbers"),
    "f64": ({"typestr": "<f8"}, "expected f16, bf16 or f32 on the device, found '<f8'"),
    "big-endian": ({"typestr": ">f4"}, "expected f16, bf16 or f32"),
    "no type": ({"typestr": None}, "expected f16, bf16 or f32"),
    "no address": ({"data": None}, "expected data as an address"),
    "a buffer": ({"data": (b"", False)}, "expected data as an address"),
    "a negative address": ({"data": (-1, False)}, "expected data as an address"),
    "a large address": ({"data": (2**64, False)}, "expected data as an address"),
    "a mask": ({"mask": OnDevice()}, "expected an array without a mask"),
    "stream 0": ({"stream": 0}, "expected a stream above 0"),
    "a stream's name": ({"stream": "default"}, "expected a stream above 0"),
    "Fortran order": ({"strides": (2, 2, 80)}, "expected an array in C order on the device"),
    "a slice": ({"strides": (10240, 256, 2)}, "expected an array in C order on the device"),
    "strides of another length": ({"strides": (2,)}, "expected an array in C order on the device"),
}


@pytest.mark.parametrize("facts, expected", WRONG.values(), ids=WRONG)
def test_a_wrong_interface_is_refused_in_one_line(facts, expected):
    with pytest.raises(ValueError, match=r"^layers\[0\].k: ") as refusal:
        laprox.score(layer(**facts), path="gpu")
    assert expected in str(refusal.value) and "\n" not in str(refusal.value)


def test_an_interface_that_raises_is_refused_in_one_line():
    with pytest.raises(ValueError, match="cannot be read: it requires a gradient$"):
        laprox.score([layer()[0] | {"v": Unreadable()}], path="gpu")


def test_some_arrays_on_the_host_and_some_on_the_device_are_refused():
    with pytest.raises(ValueError, match="all on the device or all on the host"):
        laprox.score([layer()[0] | {"v": np.ones((1, 40, 64), np.float16)}], path="gpu")


def test_strides_of_c_order_are_accepted():
    from laprox._device import device_array

    assert device_array(OnDevice(strides=(5120, 128, 2)), "k").shape == (1, 40, 64)
    assert device_array(OnDevice(shape=(1, 0, 64), strides=(0, 0, 0)), "k").shape == (1, 0, 64)


def test_without_a_driver_the_line_says_so(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(RuntimeError, match="--path gpu: no CUDA driver"):
        laprox.score(layer(), path="gpu")


def test_other_paths_copy_to_the_host_and_warn():
    draw = np.random.default_rng(1)
    shapes = {"q": (2, 8, 16), "k": (1, 40, 16), "v": (1, 40, 16), "o_proj": (24, 32)}
    host = {key: draw.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    with pytest.warns(UserWarning, match="arrays on a device are copied to the host; path='gpu'"):
        found = laprox.score([{key: Copied(array) for key, array in host.items()}])
    assert np.array_equal(found, laprox.score([host]))


LIBRARY = os.environ.get("LAPROX_PTXSIM")


@pytest.mark.skipif(not LIBRARY, reason="LAPROX_PTXSIM does not name the stand-in for the CUDA driver")
def test_arrays_on_the_device_are_scored_as_those_of_the_host_without_a_copy():
    call = [sys.executable, Path(__file__).with_name("stand_in.py"), LIBRARY]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    of_formats = json.loads(done.stdout)
    assert set(of_formats) == {"<V2", "<f2", "<f4"}
    for typestr, found in of_formats.items():
        assert found["scores"] and found["plans"] and found["errors"], typestr
        # All that the host's arrays cost is q, k and v; the factors of the projection are the same.
        assert found["spared"] == found["bytes"], typestr
