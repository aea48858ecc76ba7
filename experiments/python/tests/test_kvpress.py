"""Presses keep the set of `evict`, and kvpress decodes as the masked full cache does. A tiny random model; needs kvpress."""

import copy

import numpy as np
import pytest

import laprox

pytest.importorskip("kvpress")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from test_transformers import ids, model  # noqa: E402, F401

import laprox.transformers as lt  # noqa: E402
from laprox._check import masked  # noqa: E402
from laprox.kvpress import LaProxPress, PolicyPress  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


@laprox.policy("mine:allocation=model")
def mine(layer):
    """The mean attention."""
    return layer.by_group(layer.attention.mean(axis=1))[:, : layer.candidates]


PRESSES = {
    "laprox": (LaProxPress(0.7, window_size=16), "laprox"),
    "snapkv": (PolicyPress("snapkv", 0.7, window_size=16), "snapkv"),
    "kernel and sinks": (
        PolicyPress("snapkv:allocation=model", 0.7, 16, kernel_size=5, n_sink=3),
        "snapkv:allocation=model,pool=avg:5,sinks=3",
    ),
    "in Python": (PolicyPress(mine, 0.7, 16), mine),
}


@pytest.mark.parametrize("press, policy", PRESSES.values(), ids=PRESSES)
def test_a_press_keeps_the_set_of_evict_and_masks_the_rest(press, policy, model, ids):  # noqa: F811
    prefilled = lt.prefill(model, ids, window=16)
    plan = laprox.evict(lt.layers_of(model, prefilled.cache, prefilled.queries), policy, int(120 * 0.3))
    tokens, cache = ids[0, :20], transformers.DynamicCache()
    with lt.attending(model, "sdpa"):
        with torch.no_grad(), press(model):
            lt.forward(model, ids, cache)
        found = lt.continued(model, cache, tokens)
    assert np.array_equal(press.plan.kept, plan.kept) and np.array_equal(press.plan.offsets, plan.offsets)
    for module in lt.attention_modules(model):
        module.masked_key_indices = None
    expected = masked(model, copy.deepcopy(prefilled.cache), plan, tokens)
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * expected.abs().max())


def test_a_ratio_of_zero_evicts_nothing(model, ids):  # noqa: F811
    press = LaProxPress(0.0)
    with torch.no_grad(), press(model):
        model(ids)
    assert press.plan is None


@pytest.mark.parametrize("press", [LaProxPress(0.9, window_size=16), LaProxPress(0.5, window_size=500), PolicyPress("lapox", 0.5, 16)])
def test_what_cannot_be_pressed_is_one_line(press, model, ids):  # noqa: F811
    with pytest.raises(ValueError) as refusal, torch.no_grad(), press(model):
        model(ids)
    assert "\n" not in str(refusal.value)


def test_a_ratio_that_is_none_is_refused():
    with pytest.raises(ValueError, match="compression_ratio"):
        LaProxPress(1.0)
