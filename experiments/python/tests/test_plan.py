"""A plan's forms say the same set."""

import numpy as np
import pytest

import laprox


@pytest.fixture(scope="module")
def plan(sample):
    return laprox.evict(sample, budget="10%")


def test_counts_positions_and_mask_agree(plan):
    mask = plan.to_mask()
    assert mask.shape == (5, 3, 1024) and (mask.sum(axis=2) == plan.counts).all()
    for layer, head in np.ndindex(5, 3):
        assert np.array_equal(np.flatnonzero(mask[layer, head]), plan.positions(layer, head))
    assert mask[:, :, -32:].all()


def test_masked_key_indices_are_what_the_mask_leaves_out(plan):
    for layer in range(5):
        evicted = np.ones((1, 3, 1024), dtype=bool)
        evicted[plan.to_masked_key_indices(layer)] = False
        assert np.array_equal(evicted[0], plan.to_mask()[layer])


def test_the_union_is_shared_by_the_heads_of_a_layer(plan):
    union = plan.union().to_mask()
    assert (union == plan.to_mask().any(axis=1, keepdims=True)).all()


@pytest.mark.parametrize("block", [1, 7, 16, 64, 1000, 1024, 4096])
def test_pages_are_whole_blocks_that_hold_a_kept_position(plan, block):
    pages, kept = plan.pages(block).to_mask(), plan.to_mask()
    for start in range(0, 1024, block):
        touched = kept[..., start : start + block].any(axis=2, keepdims=True)
        assert (pages[..., start : start + block] == touched).all()


def test_more_positions_do_not_make_another_size(plan, sample):
    assert (laprox.error(sample, plan.pages(16)).drop) < laprox.error(sample, plan).drop


def test_a_saved_plan_is_loaded_with_and_without_its_summary(plan, sample, tmp_path):
    plan.save(tmp_path / "kept")
    with pytest.raises(ValueError, match="exists"):
        plan.save(tmp_path / "kept")
    plan.save(tmp_path / "kept", force=True)
    loaded = laprox.Plan.load(tmp_path / "kept", "moby-dick-1")
    assert np.array_equal(loaded.kept, plan.kept) and loaded.layers == plan.layers and loaded.window == 32
    (tmp_path / "kept" / "summary.json").unlink()
    with pytest.raises(FileNotFoundError):
        laprox.Plan.load(tmp_path / "kept")
    assert np.array_equal(laprox.Plan.load(tmp_path / "kept", layers=sample.layers(), sample="moby-dick-1").kept, plan.kept)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"sets": []}',
        '{"sets": [{"sample": "moby-dick-1"}]}',
        "\x00",
        "[" * 100_000,
        '{"sets": [{"sample": "../x", "layers": [1], "kv_heads": 18446744073709551615, "context": 18446744073709551615, "window": 1}]}',
    ],
)
def test_a_hostile_summary_is_refused(text, plan, tmp_path):
    plan.save(tmp_path / "kept")
    (tmp_path / "kept" / "summary.json").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as refusal:
        laprox.Plan.load(tmp_path / "kept")
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 500
