"""A plan's forms say the same set."""

import hashlib
import json

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


@pytest.fixture
def captured(command, tmp_path):
    """A dump that holds its tokens, and one of the same shape that holds others."""
    sizes = ["--layers", 2, "--heads", 4, "--kv-heads", 2, "--head-dim", 8, "--hidden-size", 12]
    for name in ("own", "other"):
        command("synth", *sizes, "--context", 96, "--window", 8, "--future", 4, "--out", tmp_path / name)
        manifest = tmp_path / name / "manifest.json"
        document = json.loads(manifest.read_text())
        document["samples"][0]["bos"] = False
        manifest.write_text(json.dumps(document))
        np.save(tmp_path / name / "synthetic" / "tokens.npy", np.arange(100, dtype=np.uint32) + len(name))
    return [laprox.Dump(tmp_path / name) for name in ("own", "other")]


def test_a_plan_keeps_the_tokens_that_it_was_made_for_and_is_refused_for_others(captured, command, tmp_path):
    own, other = captured
    digest = hashlib.sha256((np.arange(96, dtype="<u4") + 3).tobytes()).hexdigest()
    plan = laprox.evict(own, budget="50%")
    assert plan.tokens_sha256 == own[0].tokens_sha256 == digest
    assert plan.union().tokens_sha256 == digest and laprox.Plan.of([[range(9)] * 2] * 2, own).tokens_sha256 == digest
    assert laprox.certify(own, "50%", oracle="oracle:certified:nodes=1").plan.tokens_sha256 == digest
    plan.save(tmp_path / "kept")
    for loaded in (laprox.Plan.load(tmp_path / "kept"), laprox.Plan.load(tmp_path / "kept", layers=own)):
        assert loaded.tokens_sha256 == digest and np.array_equal(loaded.kept, plan.kept)
    # The command checks what Python has saved, and Python what the command has.
    command("evict", own.path, "--retained", tmp_path / "kept")
    assert digest in command("evict", other.path, "--retained", tmp_path / "kept", code=2)
    command("evict", own.path, "--budget", "50%", "--out", tmp_path / "by-command")
    assert laprox.Plan.load(tmp_path / "by-command").tokens_sha256 == digest
    refused = [
        lambda: laprox.Plan.load(tmp_path / "by-command", layers=other),
        lambda: laprox.error(other, plan),
        lambda: laprox.bounds(other, plan, trials=2),
        lambda: laprox.certify(other, "50%", plans=[plan]),
    ]
    for call in refused:
        with pytest.raises(ValueError, match="expected a set for tokens with SHA-256 .*, found one for") as refusal:
            call()
        assert "\n" not in str(refusal.value)
    # Arrays do not say what they were made of.
    assert laprox.error(other[0].layers(), plan).drop > 0
    assert laprox.evict(own[0].layers(), budget="50%").tokens_sha256 is None


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
