"""A policy in Python is measured like any other."""

import numpy as np
import pytest

import laprox


@laprox.policy("mine:allocation=model")
def mine(layer):
    """The mean over the group of norm(a) * norm(b): unpooled LaProx."""
    attention = np.linalg.norm(layer.attention[:, :, : layer.candidates], axis=1)
    return layer.by_group(attention * layer.projected_norms)


def test_a_policy_in_python_agrees_with_the_same_one_in_rust(sample):
    same = laprox.score(sample, "laprox:pool=none", path="reference")
    assert np.allclose(laprox.score(sample, mine), same, rtol=1e-12, atol=0)
    plan, expected = laprox.evict(sample, mine, "10%"), laprox.evict(sample, "laprox:pool=none", "10%", path="reference")
    assert np.array_equal(plan.kept, expected.kept)


def test_a_policy_in_python_stands_in_the_table_beside_the_optimum(dump):
    comparison = laprox.ablate(dump, ["laprox", mine, "full"], ["20%"], optimum="oracle:certified:nodes=1")
    rows = {row.policy: row for row in comparison.rows}
    assert list(rows) == ["laprox", "mine:allocation=model", "full", "oracle:certified:nodes=1"]
    best = rows["oracle:certified:nodes=1"]
    assert 1 <= best.over_bound <= rows["mine:allocation=model"].over_bound <= rows["laprox"].over_bound < 3
    assert rows["full"].over_bound is None and rows["full"].drop == 0
    lines = str(comparison).splitlines()
    assert lines[2].split("|")[-2].strip() == "20% / optimum" and lines[5].startswith("| mine:allocation=model ")
    assert f"{rows['mine:allocation=model'].over_bound:.4f}" in lines[5]


def test_arrays_of_a_layer_are_those_of_the_dump(sample):
    seen = []
    laprox.policy("seen")(lambda layer: seen.append(layer) or np.ones((3, layer.candidates))).scores(sample)
    layer, stored = seen[0], sample.layers()[0]
    assert layer.number == 1 and layer.k.dtype == np.float64
    assert np.array_equal(layer.q, stored["q"]) and np.array_equal(layer.v, stored["v"][:, :1024])
    logits = np.einsum("hwd,hnd->hwn", layer.q, np.repeat(layer.k, 3, axis=0)) * 0.125
    logits[:, np.arange(32)[:, None] + 992 < np.arange(1024)] = -np.inf
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    assert np.allclose(layer.attention, weights / weights.sum(axis=2, keepdims=True), rtol=1e-10, atol=0)
    projected = np.einsum("hnd,hde->hne", np.repeat(layer.v, 3, axis=0), layer.o_proj.T.reshape(9, 64, 576))
    assert np.allclose(layer.projected_norms, np.linalg.norm(projected[:, :992], axis=2), rtol=1e-10, atol=0)


@pytest.mark.parametrize("result", [None, [1.0], np.ones((3, 991)), np.ones((3, 992), dtype=int), np.full((3, 992), np.nan)])
def test_scores_of_another_form_are_refused(result, sample):
    with pytest.raises(ValueError) as refusal:
        laprox.score(sample, laprox.policy("wrong")(lambda layer: result))
    assert "wrong" in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_error_of_a_policy_is_its_own(sample):
    with pytest.raises(ZeroDivisionError):
        laprox.score(sample, laprox.policy("broken")(lambda layer: 1 / 0))
