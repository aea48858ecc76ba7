"""Scores, sets, errors, certificates and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laprox import _laprox
from laprox._arrays import reals
from laprox._layers import Layers, native, tokens_of
from laprox._plan import Plan, Sizes, sizes_of
from laprox._policy import PolicyOfPython

AnyPolicy = str | PolicyOfPython
AnyBudget = str | int | float

OBJECTIVES = ("drop", "renormalised", "future")


def score(layers: Layers, policy: AnyPolicy = "laprox", *, seed: int = 0, path: str = "fast") -> np.ndarray:
    """The score of every candidate, float64 [layers, Hkv, n - w]: the higher one stays.

    Args:
        layers: a list of mappings with the arrays of each layer, or a sample of a dump. The arrays are `q` [H, w, d], the post-RoPE
            queries of the last w positions; `k` and `v` [Hkv, n, d], post-RoPE keys and values; `o_proj` [D, H * d] as
            PyTorch stores it. `q_future` [H, t, d] and t more rows of `k` and `v` are later queries; `scale` is the factor of q . k
            if it is not 1 / sqrt(d); `layer` is the layer's number. Arrays have `__array__` or `__dlpack__`, and hold f16, bf16,
            f32 or f64. Contiguous ones in the host's memory are not copied, but bf16 is widened to f32. With `path="gpu"`, `q`, `k` and
            `v` on the first CUDA device, in f16, bf16 or f32, are read where they lie.
        policy: `NAME[:key=value,..]`, as `laprox policies` lists them, or a :func:`laprox.policy` in Python.
        seed: the seed of a policy that draws.
        path: `reference` (f64), `fast` (f32, SIMD) or `gpu`.

    Raises:
        ValueError: one line that names the array, what was expected and what was found.
        RuntimeError: when `path` needs a device that is not there.

    >>> from laprox import Dump
    >>> score(Dump(), "snapkv").shape
    (5, 3, 992)
    """
    return _laprox.score(native(layers, path), _ranked(policy, layers), path, _seed(seed))


def evict(
    layers: Layers,
    policy: AnyPolicy = "laprox",
    budget: AnyBudget = "10%",
    *,
    scores: Any = None,
    allocation: str | None = None,
    seed: int = 0,
    path: str = "fast",
    seconds: int | None = None,
) -> Plan:
    """The set that a policy keeps.

    Args:
        layers: as for :func:`score`.
        policy: as for :func:`score`. With `scores`, a name for them and their options: `mine:pool=avg:7,sinks=4`.
        budget: entries per KV head on average, the window included: `128`, `"5%"` or `0.05` of the context.
        scores: one's own, [layers, Hkv, n - w], in place of a policy's.
        allocation: the part over which the budget is shared: `head`, `layer`, `model`, ...
        seconds: the limit of an oracle's search.

    >>> from laprox import Dump
    >>> sample = Dump()[0]
    >>> norms = [np.linalg.norm(layer["v"][:, :992].astype(float), axis=2) for layer in sample.layers()]
    >>> plan = evict(sample, scores=np.stack(norms), allocation="model", budget=128)
    >>> print(plan.counts.sum() / (5 * 3))
    128.0
    """
    if scores is not None:
        named = "scores" if policy == "laprox" else policy
        ranked = (with_allocation(named, allocation), reals(scores, "scores"))
    else:
        ranked = _ranked(policy, layers, allocation)
    return _plans(layers, [ranked], [budget], seed, path, seconds)[0][0]


def _plans(
    layers: Layers, ranked: Sequence[Any], budgets: Sequence[AnyBudget], seed: int, path: str, seconds: int | None
) -> list[list[Plan]]:
    """The plan of each policy at each budget. Policies share the work of preparing a layer."""
    texts = [spelt(budget) for budget in budgets]
    found = _laprox.evict(native(layers, path), ranked, texts, path, _seed(seed), seconds)
    sizes = sizes_of(layers)
    return [[_plan(kept, sizes) for kept in of_policy] for of_policy in found]


def _plan(kept: Any, sizes: Sizes) -> Plan:
    sample, numbers, kv_heads, context, window, tokens = sizes
    facts = (tuple(numbers), kv_heads, context, window, sample, kept["policy"], kept["budget"], tokens)
    return Plan(kept["offsets"], kept["positions"], *facts)


@dataclass(frozen=True)
class Errors:
    """norm(O_hat - O) / norm(O) of a set: of each layer, and over all layers together."""

    #: float64 [layers + 1, objective, form, (relative, squared error, squared norm)]: drop, renormalised, future; layer-wise,
    #: head-wise; the last layer is all of them together.
    values: np.ndarray

    @property
    def drop(self) -> float:
        """Retained weights stay as they are: what LaProx approximates."""
        return float(self.values[-1, 0, 0, 0])

    @property
    def renormalised(self) -> float:
        """Each row of weights is divided by its retained mass: what a model computes after an eviction."""
        return float(self.values[-1, 1, 0, 0])

    @property
    def future(self) -> float | None:
        """`renormalised` for later queries; None without them."""
        return None if np.isnan(self.values[-1, 2, 0, 0]) else float(self.values[-1, 2, 0, 0])

    def per_layer(self, objective: str = "drop", form: str = "layer-wise") -> np.ndarray:
        """The relative error of each layer, float64 [layers]; NaN for later queries that are not there."""
        return self.values[:-1, OBJECTIVES.index(objective), ("layer-wise", "head-wise").index(form), 0]


def error(layers: Layers, plan: Plan, *, path: str = "fast") -> Errors:
    """The errors that a set makes in the layers' outputs.

    >>> from laprox import Dump
    >>> dump = Dump()
    >>> errors = error(dump, evict(dump, budget="20%"))
    >>> round(errors.drop, 3), round(errors.renormalised, 3), round(errors.future, 3)
    (0.167, 0.106, 0.097)
    >>> errors.per_layer("renormalised").shape
    (5,)
    """
    return _errors(layers, [plan], path)[0]


def _errors(layers: Layers, plans: Sequence[Plan], path: str) -> list[Errors]:
    stored = [_stored(plan, layers) for plan in plans]
    return [Errors(values) for values in _laprox.errors(native(layers, path), stored, path)]


@dataclass(frozen=True)
class Certificate:
    """A set, its error, and a lower bound on the error of every set of its size."""

    #: The set that was found.
    plan: Plan
    #: The error that the search minimises: `drop`, or another one for another oracle.
    objective: str
    #: Its relative error.
    error: float
    #: No set of this size has a lower relative error. None if the oracle proves nothing.
    lower_bound: float | None
    #: For the set, then for each of `plans`: the relative error, float64 [1 + plans, layers + 1]; all layers last.
    errors: np.ndarray
    #: The same over the lower bound: how far a set is from the best one, at most. NaN where nothing is
    #: proven for its size.
    over_bound: np.ndarray
    #: The relaxations that the proof took.
    nodes: int | None
    #: Whether the search ended by itself and not at a limit.
    ended: bool

    @property
    def gap(self) -> float | None:
        """error / lower_bound - 1."""
        return None if self.lower_bound is None else float(self.over_bound[0, -1]) - 1.0


def certify(
    layers: Layers,
    budget: AnyBudget = "10%",
    *,
    oracle: str = "oracle:certified",
    plans: Sequence[Plan] = (),
    path: str = "fast",
    seconds: int | None = None,
) -> Certificate:
    """Searches for the best set and proves how good it is. `drop` errors are f64 here on every path, as the bound is.

    Args:
        oracle: an oracle with its options, such as `oracle:certified:allocation=layer,nodes=256`.
        plans: sets to hold against the bound. It is about sets of the budget's size; others have NaN in its place.

    >>> from laprox import Dump
    >>> dump = Dump()
    >>> quick = "oracle:certified:nodes=1"
    >>> proof = certify(dump, "20%", oracle=quick, plans=[evict(dump, budget="20%")])
    >>> print(proof.lower_bound <= proof.error <= proof.errors[1, -1])     # nothing beats the bound, nor LaProx the search
    True
    """
    stored = [_stored(plan, layers) for plan in plans]
    found = _laprox.certify(native(layers, path), oracle, spelt(budget), stored, path, seconds)
    bound = float(found["lower_bound"][-1])
    return Certificate(
        _plan(found["set"], sizes_of(layers)),
        found["objective"],
        float(found["error"][0, -1]),
        None if np.isnan(bound) else bound,
        found["error"],
        found["over_bound"],
        found["nodes"],
        found["ended"],
    )


def bounds(layers: Layers, plan: Plan, *, trials: int = 256, seed: int = 0) -> list[dict[str, Any]]:
    """The error bounds B1 to B10 for a set, by definition: a row per layer and bound, with both sides and whether it holds.

    Args:
        trials: draws per random statement.

    >>> from laprox import Dump
    >>> dump = Dump()
    >>> rows = bounds(dump, evict(dump, budget="5%"), trials=8)
    >>> all(row["holds"] for row in rows), sorted(rows[0])
    (True, ['bound', 'holds', 'layer', 'left', 'ratio', 'right', 'slack', 'statement'])
    """
    if isinstance(trials, bool) or not isinstance(trials, (int, np.integer)) or not 0 <= trials < 2**32:
        raise ValueError(f"trials: expected a number of draws, found {trials!r:.80}")
    rows = _laprox.bounds(native(layers), [_stored(plan, layers)], int(trials), _seed(seed))
    return [{key: value for key, value in row.items() if key != "set"} for row in rows]


def spelt(budget: Any) -> str:
    """A budget as the command spells it."""
    if isinstance(budget, bool) or not isinstance(budget, (str, int, float, np.integer, np.floating)):
        raise ValueError(f"budget: expected tokens (128), a percentage ('5%') or a fraction (0.05), found {budget!r:.80}")
    if isinstance(budget, (float, np.floating)):
        return np.format_float_positional(budget, trim="0")
    return str(budget)


def with_allocation(policy: str, allocation: str | None) -> str:
    """The policy's text with an allocation."""
    return policy if allocation is None else with_options(policy, [f"allocation={allocation}"])


def with_options(policy: str, options: Sequence[str]) -> str:
    """The policy's text with options after those that it has."""
    separator = "," if ":" in policy.removeprefix("oracle:") else ":"
    return policy + separator + ",".join(options)


def _ranked(policy: Any, layers: Layers, allocation: str | None = None) -> tuple[str, np.ndarray | None]:
    """A policy as the extension takes it: its text, and its scores if it is one in Python."""
    if isinstance(policy, PolicyOfPython):
        return with_allocation(policy.text, allocation), policy.scores(layers)
    if not isinstance(policy, str):
        raise ValueError(f"policy: expected a name or a laprox.policy, found {type(policy).__name__}")
    return with_allocation(policy, allocation), None


def _stored(plan: Any, layers: Layers) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(plan, Plan):
        raise ValueError(f"plan: expected a laprox.Plan, found {type(plan).__name__}")
    tokens = tokens_of(layers)
    if None not in (tokens, plan.tokens_sha256) and tokens != plan.tokens_sha256:
        found = f"expected a set for tokens with SHA-256 {tokens}, found one for {plan.tokens_sha256}"
        raise ValueError(f"plan: {plan.sample}: {found}")
    return plan.stored


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected a whole number from 0 to 2^64 - 1, found {seed!r:.80}")
    return int(seed)
