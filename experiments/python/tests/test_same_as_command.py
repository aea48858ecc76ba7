"""Everything that the package computes is, to the bit, what the command computes on the same dump."""

import json

import numpy as np
import pytest

import laprox

# The other oracles take small problems alone, or minutes.
POLICIES = [name for name in laprox.POLICIES if not name.startswith("oracle:")] + ["oracle:certified:nodes=1"]
OPTIONS = ["laprox:gqa=exact,pool=none", "laprox:allocation=head", "snapkv:allocation=model,pool=max:5"]
# Whatever a policy needs or lacks, these have scores and sets.
PLAIN = ["laprox", "snapkv", "random", "streaming", *OPTIONS]


def assert_refused(policy, done, refusal):
    """The exception has the line of the command."""
    assert policy not in PLAIN and done.returncode == 2
    assert done.stderr.removeprefix("laprox: ").removeprefix("scores.npy: ") == f"{refusal.value}\n"


@pytest.mark.parametrize("policy", POLICIES + OPTIONS)
def test_scores_or_their_refusal_equal_those_of_the_command(policy, dump, sample, attempt, tmp_path):
    done = attempt("score", dump.path, "--policy", policy, "--out", "scores.npy")
    if done.returncode != 0:
        with pytest.raises(ValueError) as refusal:
            laprox.score(sample, policy)
        return assert_refused(policy, done, refusal)
    scores = laprox.score(sample, policy)
    assert np.array_equal(scores, np.load(tmp_path / "scores.npy"))
    draws = not np.array_equal(scores, laprox.score(sample, policy, seed=1))
    # Draws depend on the sample's name, which a list of layers has not.
    assert draws or np.array_equal(scores, laprox.score(sample.layers(), policy))


@pytest.mark.parametrize(
    "policy, path",
    [*((policy, "fast") for policy in POLICIES + OPTIONS), ("laprox", "reference"), ("snapkv", "reference")],
)
def test_sets_and_errors_or_their_refusal_equal_those_of_the_command(policy, path, dump, sample, attempt, tmp_path):
    budget = ["--policy", policy, "--budget", "10%", "--path", path]
    done = attempt("evict", dump.path, *budget, "--out", "kept", "--json")
    if done.returncode != 0:
        with pytest.raises(ValueError) as refusal:
            laprox.evict(sample, policy, "10%", path=path)
        return assert_refused(policy, done, refusal)
    if policy == "poisson":
        with pytest.raises(ValueError, match="a set without biases and values, which plans do not hold"):
            laprox.evict(sample, policy, "10%", path=path)
        return None
    document = json.loads(done.stdout)
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
