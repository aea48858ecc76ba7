"""Policies side by side, beside the proven optimum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laprox._layers import Dump, Layers
from laprox._plan import Plan
from laprox._stages import AnyBudget, AnyPolicy, _errors, _plans, _ranked, certify, spelt

COLUMNS = ("drop", "renormalised", "future", "over_bound")
HEADERS = ("drop", "renorm", "future", "/ optimum")


@dataclass(frozen=True)
class Row:
    """One policy at one budget on one sample; errors are norm(O_hat - O) / norm(O), layer-wise, over all layers."""

    sample: str
    policy: str
    budget: str
    #: Entries per KV head on average.
    entries_per_head: float
    drop: float
    renormalised: float
    #: None without later queries.
    future: float | None
    #: The `drop` error over the proven least one of any set of this size; None if it was not asked for.
    over_bound: float | None


@dataclass(frozen=True)
class Comparison:
    """The rows of :func:`ablate`; printed, a table."""

    rows: list[Row]

    def __str__(self) -> str:
        samples = dict.fromkeys(row.sample for row in self.rows)
        return "\n\n".join(f"{sample}\n\n{self._table(sample)}" for sample in samples)

    def _table(self, sample: str) -> str:
        rows = [row for row in self.rows if row.sample == sample]
        budgets = list(dict.fromkeys(row.budget for row in rows))
        shown = [(key, name) for key, name in zip(COLUMNS, HEADERS) if any(getattr(row, key) is not None for row in rows)]
        header = ["policy", *(f"{budget} {name}" for budget in budgets for _, name in shown)]
        lines = [header]
        for policy in dict.fromkeys(row.policy for row in rows):
            cells = {row.budget: row for row in rows if row.policy == policy}
            numbers = [getattr(cells.get(budget), key, None) for budget in budgets for key, _ in shown]
            lines.append([policy, *("-" if number is None else f"{number:.4f}" for number in numbers)])
        return _markdown(lines)


def ablate(
    layers: Layers,
    policies: Sequence[AnyPolicy],
    budgets: Sequence[AnyBudget] = ("5%", "20%"),
    *,
    optimum: str | None = "oracle:certified",
    seed: int = 0,
    path: str = "fast",
    seconds: int | None = None,
) -> Comparison:
    """Compares policies, in Python or not, at several budgets.

    Args:
        layers: as for :func:`laprox.score`; all samples of a dump.
        policies: names with options, or functions under :func:`laprox.policy`.
        optimum: the oracle that searches at every budget, so that every row says how far its set is from the best one at most;
            None for none.
        seconds: the limit of each search.

    >>> import laprox
    >>> @laprox.policy("mine")
    ... def mine(layer):
    ...     return layer.by_group(layer.attention.sum(axis=1))[:, : layer.candidates]
    >>> print(ablate(laprox.Dump(), ["laprox", mine], ["20%"], optimum=None))
    moby-dick-1
    <BLANKLINE>
    | policy | 20% drop | 20% renorm | 20% future |
    |--------|----------|------------|------------|
    | laprox |   0.1669 |     0.1057 |     0.0967 |
    | mine   |   ...
    """
    if isinstance(policies, (str, bytes)) or isinstance(budgets, (str, bytes)):
        raise ValueError("policies, budgets: expected lists, found a text")
    samples: list[Any] = list(layers) if isinstance(layers, Dump) else [layers]
    rows = []
    for sample in samples:
        ranked = [_ranked(policy, sample) for policy in policies]
        plans = _plans(sample, ranked, budgets, seed, path, seconds)
        for place, budget in enumerate(budgets):
            at_budget = [of_policy[place] for of_policy in plans]
            bounds = [math.nan] * len(at_budget)
            if optimum is not None:
                proof = certify(sample, budget, oracle=optimum, plans=at_budget, path=path, seconds=seconds)
                at_budget = [*at_budget, proof.plan]
                bounds = [*proof.over_bound[1:, -1], proof.over_bound[0, -1]]
            errors = _errors(sample, at_budget, path)
            rows += [_row(plan, spelt(budget), *found) for plan, *found in zip(at_budget, errors, bounds)]
    return Comparison(rows)


def _row(plan: Plan, budget: str, errors: Any, bound: float) -> Row:
    over_bound = None if math.isnan(bound) else float(bound)
    per_head = float(plan.counts.mean())
    found = (errors.drop, errors.renormalised, errors.future, over_bound)
    return Row(plan.sample, plan.policy, budget, per_head, *found)


def _markdown(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines)]
    first, *rest = widths

    def line(cells: list[str]) -> str:
        name, *numbers = cells
        return " | ".join([f"| {name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(numbers, rest))]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])
