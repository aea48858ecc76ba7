"""Scores a layer that lies in the memory of a stand-in for the CUDA driver: `python stand_in.py LIBRARY` prints what came of it.

The stand-in is gpu/ptxsim, which runs the PTX that ships and counts the bytes that copies move from the host to the device.
"""

import ctypes
import json
import sys

import numpy as np

driver = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
driver.ptxsim_copied_in.restype = ctypes.c_uint64

import laprox  # noqa: E402

HEADS, KV_HEADS, WIDTH, HIDDEN, CONTEXT, WINDOW = 4, 1, 64, 144, 97, 32


class Lent:
    """An array in the stand-in's memory. Its copy is only enqueued, as a producer's kernel may be."""

    def __init__(self, array, typestr):
        self.array, address, length = array, ctypes.c_uint64(), ctypes.c_size_t(array.nbytes)
        assert driver.cuMemAlloc_v2(ctypes.byref(address), length) == 0
        assert driver.cuMemcpyHtoDAsync_v2(address, ctypes.c_void_p(array.ctypes.data), length, None) == 0
        shape, data = array.shape, (address.value, False)
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "data": data, "version": 3, "strides": None, "stream": 1}


def numbers(draw, *shape):
    return draw.standard_normal(shape).astype(np.float32)


def as_bf16(array):
    """The upper halves of f32 numbers, and the numbers that they are."""
    bits = array.view(np.uint32) >> 16
    return bits.astype(np.uint16), (bits << 16).view(np.float32)


FORMS = {
    "<V2": as_bf16,
    "<f2": lambda array: (array.astype(np.float16),) * 2,
    "<f4": lambda array: (array, array),
}


def copied(work):
    before = driver.ptxsim_copied_in()
    result = work()
    return result, driver.ptxsim_copied_in() - before


def compared(typestr):
    draw = np.random.default_rng(1)
    shapes = {"q": (HEADS, WINDOW, WIDTH), "k": (KV_HEADS, CONTEXT, WIDTH), "v": (KV_HEADS, CONTEXT, WIDTH)}
    forms = {key: FORMS[typestr](numbers(draw, *shape)) for key, shape in shapes.items()}
    weight = {"o_proj": numbers(draw, HIDDEN, HEADS * WIDTH)}
    host = [{key: wide for key, (_, wide) in forms.items()} | weight]
    device = [{key: Lent(narrow, typestr) for key, (narrow, _) in forms.items()} | weight]
    (expected, of_host), (found, of_device) = (copied(lambda layers=layers: laprox.score(layers, path="gpu")) for layers in (host, device))
    plans = [laprox.evict(layers, budget="50%", path="gpu") for layers in (host, device)]
    errors = [laprox.error(layers, plans[0], path="gpu").values for layers in (host, device)]
    return {
        "scores": np.array_equal(found, expected),
        "plans": np.array_equal(plans[0].kept, plans[1].kept) and np.array_equal(plans[0].offsets, plans[1].offsets),
        "errors": np.array_equal(errors[0], errors[1], equal_nan=True),
        "spared": of_host - of_device,
        "bytes": sum(narrow.nbytes for narrow, _ in forms.values()),
    }


print(json.dumps({typestr: compared(typestr) for typestr in FORMS}))
