"""Bad input is one exception of one line, whatever it is; nothing crashes."""

import itertools
import math

import numpy as np
import pytest
from test_arrays import small

import laprox

# TypeError is for an argument that is no text or no number at all.
EXPECTED = (ValueError, FileNotFoundError, RuntimeError, TypeError)
KEYS = ("q", "k", "v", "o_proj")


class Raising:
    def __array__(self, *arguments, **keywords):
        raise RuntimeError("not now\nnor on a second line")


class WrongDlpack:
    def __dlpack__(self, **keywords):
        return "no capsule"

    def __dlpack_device__(self):
        return (1, 0)


def with_array(key, change):
    layers = small()
    layers[0] = {**layers[0], key: change(layers[0][key])}
    return layers


def spoilt(array, value):
    array = array.copy()
    array.flat[array.size // 2] = value
    return array


# One array is wrong: of another kind, type or shape, or it holds what is no number.
ARRAYS = {
    "none": lambda array: None,
    "a list": lambda array: array.tolist(),
    "a text": lambda array: "array",
    "a number": lambda array: 1.5,
    "raising": lambda array: Raising(),
    "no capsule": lambda array: WrongDlpack(),
    "masked": np.ma.masked_array,
    "int64": lambda array: array.astype(np.int64),
    "bool": lambda array: array > 0,
    "complex": lambda array: array.astype(np.complex64),
    "objects": lambda array: array.astype(object),
    "texts": lambda array: array.astype("U3"),
    "dates": lambda array: array.astype(np.int64).astype("M8[s]"),
    "records": lambda array: np.zeros(array.shape, [("a", "f4"), ("b", "f4")]),
    "bits": lambda array: array.astype(np.uint16),
    "no axis": lambda array: np.float32(1),
    "one axis": lambda array: array.reshape(-1),
    "too many axes": lambda array: array[None],
    "33 axes": lambda array: array.reshape(array.shape + (1,) * 30),
    "empty": lambda array: array[:0],
    "empty inside": lambda array: array[..., :0],
    "empty and huge": lambda array: np.empty((0, 2**40, 2**20), np.float32),
    "one less": lambda array: array[:-1],
    "one less inside": lambda array: array[..., :-1],
    "one more": lambda array: np.concatenate([array, array[:1]]),
    "transposed": lambda array: array.T,
    "NaN": lambda array: spoilt(array, math.nan),
    "infinite": lambda array: spoilt(array, -math.inf),
    "NaN in Fortran order": lambda array: np.asfortranarray(spoilt(array, math.nan)),
    "repeated without end": lambda array: np.broadcast_to(array.reshape(-1)[:1], (2**20, 2**20, 2**12)),
    "swapped NaN": lambda array: spoilt(array, math.nan).astype(">f4"),
}

# The layers, or one of them, are wrong.
LAYERS = {
    "none": lambda: None,
    "a number": lambda: 3,
    "a text": lambda: "layers",
    "an array": lambda: np.zeros((2, 3)),
    "a mapping": lambda: small()[0],
    "no layer": lambda: [],
    "a set": lambda: {1, 2},
    "a generator": lambda: iter(small()),
    "texts": lambda: ["q", "k"],
    "arrays": lambda: [np.zeros((2, 3))] * 2,
    "an empty mapping": lambda: [{}],
    "an unknown key": lambda: [{**small()[0], "w": np.zeros(3)}],
    "an unknown key that is long": lambda: [{**small()[0], "w" * 10**6: 0}],
    "a key that is no text": lambda: [{**small()[0], 5: 0}],
    "layers that differ in n": lambda: [small()[0], {**small()[0], **{k: small()[0][k][:, 4:] for k in "kv"}}],
    "layers that differ in w": lambda: [small()[0], {**small()[0], "q": small()[0]["q"][:, 1:]}],
    "layers that differ in d": lambda: [small()[0], {k: a[..., : a.shape[-1] // 2] for k, a in small()[0].items()}],
    "layers that differ in Hkv": lambda: [small()[0], {**small()[0], **{k: small()[0][k][:1] for k in "kv"}}],
    "a window beyond the context": lambda: [{**small()[0], **{k: small()[0][k][:, :5] for k in "kv"}}],
    "heads that the KV heads do not divide": lambda: [{**small()[0], "q": small()[0]["q"][:3], "o_proj": np.ones((24, 48), "f4")}],
    "a scale of zero": lambda: [{**small()[0], "scale": 0.0}],
    "a negative scale": lambda: [{**small()[0], "scale": -1.0}],
    "a scale that is NaN": lambda: [{**small()[0], "scale": math.nan}],
    "a scale that is a text": lambda: [{**small()[0], "scale": "1"}],
    "a scale too large": lambda: [{**small()[0], "scale": 1e308}],
    "a negative number": lambda: [{**small()[0], "layer": -1}],
    "a number too large": lambda: [{**small()[0], "layer": 2**70}],
    "a number that is a text": lambda: [{**small()[0], "layer": "1"}],
    "more later queries than keys": lambda: [{**small()[0], "q_future": np.ones((4, 50, 16), "f4")}],
    "later queries of other heads": lambda: [{**small()[0], "q_future": np.ones((3, 2, 16), "f4")}],
    "later queries that are NaN": lambda: [{**small()[0], "q_future": np.full((4, 2, 16), np.nan, "f4")}],
}

POLICIES = [
    "", "lapox", "laprox:", "laprox:pool", "laprox:pool=", "laprox:pool=avg:0", "laprox:pool=avg:99999999999999999999",
    "laprox:window=10000", "laprox:gqa=no", "laprox:allocation=none", "laprox:norm=sum,norm=sum", "laprox\nlaprox", "\x00",
    "laprox:sinks=-1", "expected_attention", "oracle:", "x" * 10**6, "random:seed=-1", "Laprox", "laprox " , None, 5, b"laprox",
    ["laprox"], "oracle:exhaustive",
]  # fmt: skip

BUDGETS = [
    0, -1, 8, "0", "0%", "101%", "1e3", "", " 10%", "10 %", "ten", math.nan, math.inf, -0.5, 1.5, 10**40, True, None, [10], "10%\n",
    "0.0000000000000000001", "+10", b"10%", 2**64,
]  # fmt: skip

SCORES = {
    "a list": lambda s: s.tolist(),
    "int": lambda s: s.astype(int),
    "two axes": lambda s: s[0],
    "one layer": lambda s: s[:1],
    "one candidate less": lambda s: s[..., 1:],
    "one candidate more": lambda s: np.concatenate([s, s[..., :1]], axis=-1),
    "NaN": lambda s: spoilt(s, math.nan),
    "infinite": lambda s: spoilt(s, math.inf),
    "empty": lambda s: s[:0],
    "transposed": lambda s: s.T,
}
NAMES = ["", "snapkv", "a b", "a/b", "x:allocation=no", "x:gqa=mean", "x:pool=avg:7,pool=avg:7", "\x1b[2J", 5]

SETS = {
    "no positions": lambda plan: (plan.offsets * 0, plan.kept[:0]),
    "offsets too short": lambda plan: (plan.offsets[:-1], plan.kept),
    "offsets too long": lambda plan: (np.append(plan.offsets, plan.offsets[-1]), plan.kept),
    "offsets descend": lambda plan: (plan.offsets[::-1], plan.kept),
    "offsets beyond": lambda plan: (plan.offsets + np.uint64(5), plan.kept),
    "offsets at the end of u64": lambda plan: (np.full_like(plan.offsets, 2**64 - 1), plan.kept),
    "no offsets": lambda plan: (plan.offsets[:0], plan.kept),
    "positions descend": lambda plan: (plan.offsets, plan.kept[::-1]),
    "positions twice": lambda plan: (plan.offsets, np.repeat(plan.kept[::2], 2)[: len(plan.kept)]),
    "positions beyond": lambda plan: (plan.offsets, plan.kept + np.uint32(1)),
    "positions below zero": lambda plan: (plan.offsets, plan.kept.astype(int) - 1),
    "positions of floats": lambda plan: (plan.offsets, plan.kept.astype(float)),
    "two axes": lambda plan: (plan.offsets, plan.kept[None]),
    "texts": lambda plan: ("offsets", plan.kept),
}
PATHS = ["", "cpu", "Fast", "gpu\n", None, 3]
SEEDS = [-1, 2**64, "1", None, 1.5, True]


def cases():
    for key, (name, change) in itertools.product(KEYS, ARRAYS.items()):
        yield f"{key} {name}", lambda key=key, change=change: laprox.score(with_array(key, change))
    for name, layers in LAYERS.items():
        yield f"layers {name}", lambda layers=layers: laprox.score(layers())
    for policy in POLICIES:
        yield f"policy {policy!r:.30}", lambda policy=policy: laprox.score(small(), policy)
    for budget in BUDGETS:
        yield f"budget {budget!r:.30}", lambda budget=budget: laprox.evict(small(), budget=budget)
    for name, change in SCORES.items():
        yield f"scores {name}", lambda change=change: laprox.evict(small(), scores=change(np.ones((2, 2, 32))), budget=20)
    for name in NAMES:
        yield f"name {name!r:.30}", lambda name=name: laprox.evict(small(), name, 20, scores=np.ones((2, 2, 32)))
    for name, change in SETS.items():
        yield f"set {name}", lambda change=change: laprox.error(small(), remade(laprox.evict(small(), budget=20), change))
    for path in PATHS:
        yield f"path {path!r}", lambda path=path: laprox.score(small(), path=path)
    for seed in SEEDS:
        yield f"seed {seed!r}", lambda seed=seed: laprox.score(small(), seed=seed)
    for path in ("/no/such/dump", "", "\x00", __file__, "/dev/null", "x" * 10000):
        yield f"dump {path!r:.30}", lambda path=path: laprox.Dump(path)
        yield f"plan {path!r:.30}", lambda path=path: laprox.Plan.load(path)
    for trials in (0, 1, -1, 2**40, "2"):
        yield f"trials {trials!r}", lambda trials=trials: laprox.bounds(small(), laprox.evict(small(), budget=20), trials=trials)
    for oracle in ("laprox", "", "oracle:none", "certified", "oracle:certified:nodes=-1", None):
        yield f"oracle {oracle!r}", lambda oracle=oracle: laprox.certify(small(), 20, oracle=oracle)
    for block in (0, -1, 1.5, "16", None, True):
        yield f"block {block!r}", lambda block=block: laprox.evict(small(), budget=20).pages(block)
    for positions in ([], [[[0]]], [[[-1], [0]]] * 2, [[[40], [0]]] * 2, [["a", "b"]] * 2, [[[0.5], [0]]] * 2, 5, [[[2**70], [0]]] * 2):
        yield f"positions {positions!r:.30}", lambda positions=positions: laprox.Plan.of(positions, small())
    yield "a plan of other layers", lambda: laprox.error(small()[:1], laprox.evict(small(), budget=20))
    yield "a plan that is none", lambda: laprox.error(small(), None)


def remade(plan, change):
    return laprox.Plan(*change(plan), plan.layers, plan.kv_heads, plan.context, plan.window)


CASES = list(cases())


def test_there_are_more_than_two_hundred_cases():
    assert len(CASES) > 200 and len({name for name, _ in CASES}) == len(CASES)


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CASES])
def test_bad_input_is_an_exception_of_one_line(call):
    with pytest.raises(EXPECTED) as refusal:
        call()
    line = str(refusal.value)
    assert line and line.isprintable() and len(line) <= 500, repr(line)


def test_good_input_is_none():
    assert laprox.score(small()).shape == (2, 2, 32)
    assert laprox.evict(small(), budget=20).counts.sum() == 80
