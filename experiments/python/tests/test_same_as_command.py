"""Everything that the package computes is, to the bit, what the command computes on the same dump."""

import json

import numpy as np
import pytest

import laprox

ORACLES = [name for name in laprox.POLICIES if name.startswith("oracle:")]
# The other oracles take small problems alone, or minutes.
SEARCHES = ["oracle:certified:nodes=1"]
UNAVAILABLE = ["expected_attention"]
POLICIES = [name for name in laprox.POLICIES if name not in ORACLES + UNAVAILABLE] + SEARCHES
OPTIONS = ["laprox:gqa=exact,pool=none", "laprox:allocation=head", "snapkv:allocation=model,pool=max:5"]
UNRANKED = ["full", "criticalkv", *SEARCHES]


@pytest.mark.parametrize("policy", [policy for policy in POLICIES + OPTIONS if policy not in UNRANKED])
def test_scores_equal_those_of_the_command(policy, dump, sample, command, tmp_path):
    command("score", dump.path, "--policy", policy, "--out", "scores.npy")
    expected = np.load(tmp_path / "scores.npy")
    assert np.array_equal(laprox.score(sample, policy), expected)
    if policy != "random":  # which draws by the sample's name
        assert np.array_equal(laprox.score(sample.layers(), policy), expected)


@pytest.mark.parametrize("policy", UNRANKED + UNAVAILABLE)
def test_a_policy_without_scores_is_refused_as_by_the_command(policy, dump, command):
    line = command("score", dump.path, "--policy", policy, "--out", "scores.npy", code=2)
    with pytest.raises(ValueError) as refusal:
        laprox.score(dump, policy)
    assert line == f"laprox: scores.npy: {refusal.value}\n"


@pytest.mark.parametrize("policy", POLICIES + OPTIONS)
@pytest.mark.parametrize("path", ["fast", "reference"])
def test_sets_and_errors_equal_those_of_the_command(policy, path, dump, sample, command, tmp_path):
    if path == "reference" and policy not in ("laprox", "snapkv"):
        pytest.skip("the reference is slow, and scores of both paths meet the same cut")
    budget = ["--policy", policy, "--budget", "10%", "--path", path]
    document = json.loads(command("evict", dump.path, *budget, "--out", "kept", "--json"))
    plan = laprox.evict(sample, policy, "10%", path=path)
    assert plan.policy == document["policy"] and plan.budget == document["budget"]
    assert np.array_equal(plan.offsets, np.load(tmp_path / "kept" / "moby-dick-1.offsets.npy"))
    assert np.array_equal(plan.kept, np.load(tmp_path / "kept" / "moby-dick-1.positions.npy"))
    assert_rows(laprox.error(sample, plan, path=path), document["rows"])
    loaded = laprox.Plan.load(tmp_path / "kept")
    assert (loaded.to_mask() == plan.to_mask()).all() and loaded.layers == (1, 10, 15, 20, 29)
    assert np.array_equal(laprox.error(sample.layers(), loaded, path=path).values, laprox.error(dump, plan, path=path).values)


def assert_rows(errors, rows):
    """The errors are those of the rows of `summary.json`, number by number."""
    layers = [1, 10, 15, 20, 29, None]
    objectives, forms = ("drop", "renormalised", "future"), ("layer-wise", "head-wise")
    assert len(rows) == errors.values.size / 3
    for row in rows:
        place = (layers.index(row["layer"]), objectives.index(row["objective"]), forms.index(row["form"]))
        expected = [row["relative_error"], row["squared_error"], row["squared_norm"]]
        assert errors.values[place].tolist() == expected, row


def test_a_certificate_equals_that_of_the_command(dump, sample, command):
    policies = ["laprox", "snapkv:allocation=model"]
    oracle = "oracle:certified:nodes=1"
    asked = [item for policy in policies for item in ("--policy", policy)]
    named = ["--budget", "20%", "--oracle", oracle.removeprefix("oracle:")]
    document = json.loads(command("oracle", dump.path, *asked, *named, "--json"))
    plans = [laprox.evict(sample, policy, "20%") for policy in policies]
    proof = laprox.certify(sample, "20%", oracle=oracle, plans=plans)
    rows = [row for row in document["rows"] if row["layer"] is None]
    assert [row["relative_error"] for row in rows] == proof.errors[:, -1].tolist()
    assert [row["over_bound"] for row in rows] == proof.over_bound[:, -1].tolist()
    assert {row["relative_lower_bound"] for row in rows} >= {proof.lower_bound}
    assert rows[0]["nodes"] == proof.nodes and rows[0]["ended"] == proof.ended


def test_the_bounds_equal_those_of_the_command(dump, sample, command):
    document = json.loads(command("bounds", dump.path, "--budget", "5%", "--trials", "16", "--json"))
    rows = laprox.bounds(sample, laprox.evict(sample, budget="5%"), trials=16)
    keys = ["layer", "bound", "statement", "left", "right", "slack", "ratio", "holds"]
    for row, expected in zip(rows, document["rows"], strict=True):
        # JSON has no infinity.
        assert [None if row[key] == np.inf else row[key] for key in keys] == [expected[key] for key in keys]


def test_scores_of_numpy_are_cut_as_the_command_cuts_them(dump, sample, command, tmp_path):
    norms = np.stack([np.linalg.norm(layer["v"][:, :992].astype(float), axis=2) for layer in sample.layers()])
    np.save(tmp_path / "norms.npy", norms)
    command("evict", dump.path, "--scores", "norms.npy:allocation=model,sinks=4", "--budget", "5%", "--out", "kept")
    plan = laprox.evict(sample, "norms:sinks=4", "5%", scores=norms, allocation="model")
    assert np.array_equal(plan.kept, np.load(tmp_path / "kept" / "moby-dick-1.positions.npy"))


def test_a_saved_set_is_measured_by_the_command(dump, sample, command, tmp_path):
    plan = laprox.Plan.of([[range(0, 992, 8)] * 3] * 5, dump)
    plan.save(tmp_path / "kept")
    document = json.loads(command("evict", dump.path, "--retained", "kept", "--json"))
    assert_rows(laprox.error(sample, plan), document["rows"])
