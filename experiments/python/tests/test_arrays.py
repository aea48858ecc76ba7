"""Arrays of any library, precision and layout mean the same numbers."""

import numpy as np
import pytest

import laprox
from laprox._arrays import reals


def small(dtype=np.float32, seed=0):
    """Two layers of four query and two KV heads, 40 tokens, a window of 8."""
    draw = np.random.default_rng(seed)
    shapes = {"q": (4, 8, 16), "k": (2, 40, 16), "v": (2, 40, 16), "o_proj": (24, 64)}
    return [{key: draw.standard_normal(shape).astype(dtype) for key, shape in shapes.items()} for _ in range(2)]


def changed(layers, change):
    return [{key: change(array) for key, array in layer.items()} for layer in layers]


class Foreign:
    """An array of a library that speaks DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Arrayable:
    """An array of a library that speaks `__array__` alone."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every second element": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "backwards": lambda array: array[::-1].copy()[::-1],
    "swapped bytes": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "an odd address": lambda array: np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(array.shape),
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "DLPack": Foreign,
    "__array__": Arrayable,
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_do_not_depend_on_the_layout(layout, dtype):
    layers = small(dtype)
    assert np.array_equal(laprox.score(changed(layers, LAYOUTS[layout])), laprox.score(layers))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_wider_arrays_of_the_same_numbers_have_the_same_scores(dtype):
    layers = small(np.float16)
    wide = changed(layers, lambda array: array.astype(dtype))
    assert np.array_equal(laprox.score(wide, path="reference"), laprox.score(layers, path="reference"))


def test_bf16_means_the_numbers_that_it_holds():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    layers = changed(small(), lambda array: array.astype(bfloat16))
    wide = changed(layers, lambda array: array.astype(np.float32))
    assert np.array_equal(laprox.score(layers), laprox.score(wide))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_tensors_of_torch_are_read_in_place(dtype):
    torch = pytest.importorskip("torch")
    layers = changed(small(), lambda array: torch.from_numpy(array).to(getattr(torch, dtype)).requires_grad_())
    wide = changed(layers, lambda tensor: tensor.detach().double().numpy())
    assert np.array_equal(laprox.score(layers, path="reference"), laprox.score(wide, path="reference"))
    tensor = layers[0]["k"].detach()
    assert reals(tensor, "k").ctypes.data == tensor.data_ptr()


def test_contiguous_arrays_are_not_copied():
    array = small()[0]["k"]
    for same in (array, Foreign(array), Arrayable(array)):
        assert np.shares_memory(reals(same, "k"), array)
    assert not np.shares_memory(reals(array.transpose(0, 2, 1), "k"), array)


def test_later_queries_and_the_scale_are_read(sample):
    layers = sample.layers()
    assert laprox.score(layers[:1]).shape == (1, 3, 992)
    plan = laprox.evict(layers, budget="20%")
    assert laprox.error(layers, plan).future == laprox.error(sample, plan).future
    scaled = [{**layer, "scale": 2 * layer["scale"]} for layer in layers]
    assert not np.array_equal(laprox.score(scaled), laprox.score(layers))


def test_other_threads_run_while_scores_are_computed(sample):
    import threading
    import time

    done, longest, last = threading.Event(), 0.0, time.perf_counter()
    worker = threading.Thread(target=lambda: (laprox.score(sample, path="reference"), done.set()))
    start = time.perf_counter()
    worker.start()
    while not done.is_set():
        time.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    worker.join()
    assert longest < (time.perf_counter() - start) / 2
