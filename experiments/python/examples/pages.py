"""What engines with paged or shared blocks can hold of a head-wise plan, and the error that this costs.

    python pages.py                      # prints the table
    python pages.py --out FOLDER         # writes rows.csv and table.md, too

At equal memory: a plan is made so small that its pages fill the budget (`rounded`), or whole pages are chosen by the sum of their
entries' scores (`summed`). `per head`: every KV head has pages of its own. `shared`: the KV heads of a layer share theirs.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

import laprox

BLOCKS, BUDGETS, POLICIES = (1, 8, 16, 32, 64), (0.05, 0.1, 0.2), ("laprox", "laprox:pool=none")
HEADER = ("policy", "budget", "engine", "block", "kept_rounded_up")
ERRORS = ("drop_rounded", "drop_summed", "renormalised_rounded", "renormalised_summed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    sample = laprox.Dump()["moby-dick-1"]
    rows = [row for policy in POLICIES for row in of_policy(sample, policy)]
    compared = [row for row in rows if row[3] > 1 and None not in row[5:7]]
    better = [sum(row[summed] < row[summed - 1] for row in compared) for summed in (6, 8)]
    text = f"""{table(rows)}

Of {len(compared)} rows with blocks above 1, `summed` has the lower `drop` error in {better[0]} and the lower `renormalised` error
in {better[1]}.
"""
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(text)
        with open(out / "rows.csv", "w", newline="") as file:
            csv.writer(file).writerows([HEADER + ERRORS, *rows])


def of_policy(sample, policy):
    """A row per budget, engine and block."""
    scores = laprox.score(sample, policy)

    def cut(budget):
        return laprox.evict(sample, "scores:norm=sum", budget, scores=scores, allocation="model")

    for share in BUDGETS:
        asked = cut(share)
        most = int(asked.counts.sum())
        for engine, formed in (("per head", lambda plan: plan), ("shared", laprox.Plan.union)):
            for block in BLOCKS:
                up = formed(asked).pages(block)
                rounded = largest(lambda budget: formed(cut(budget)).pages(block), sample.window + 1, asked.counts.mean(), most)
                summed = best_pages(sample, scores, block, most, engine == "shared")
                errors = [None if plan is None else laprox.error(sample, plan) for plan in (rounded, summed)]
                drops = [None if error is None else error.drop for error in errors]
                renormalised = [None if error is None else error.renormalised for error in errors]
                yield policy, f"{100 * share:g}%", engine, block, up.counts.sum() / most, *drops, *renormalised


def largest(make, low, high, most):
    """The plan of the largest budget whose pages hold at most `most` entries; None if the least budget has more."""
    low, high, best = int(low), int(high), None
    while low <= high:
        middle = (low + high) // 2
        plan = make(middle)
        if plan.counts.sum() <= most:
            best, low = plan, middle + 1
        else:
            high = middle - 1
    return best


def best_pages(sample, scores, block, most, shared):
    """Whole pages by the sum of their scores, each layer's divided by its own sum; the window's pages stay in any case."""
    layers, kv_heads, candidates = scores.shape
    starts = np.arange(0, sample.context, block)
    padded = np.zeros((layers, kv_heads, sample.context))
    padded[..., :candidates] = scores / scores.sum(axis=(1, 2), keepdims=True)
    sums = np.add.reduceat(padded, starts, axis=2)
    sizes = np.broadcast_to(np.minimum(block, sample.context - starts), sums.shape)
    if shared:
        sums, sizes = sums.sum(axis=1, keepdims=True), sizes.sum(axis=1, keepdims=True)
    sums[..., starts + block > candidates] = np.inf
    order = np.argsort(-sums, axis=None, kind="stable")
    kept = np.zeros(sums.size, dtype=bool)
    kept[order] = np.cumsum(sizes.flat[order]) <= most
    if not kept[np.isinf(sums.flat)].all():
        return None
    mask = np.repeat(np.broadcast_to(kept.reshape(sums.shape), (layers, kv_heads, len(starts))), block, axis=2)[..., : sample.context]
    return laprox.Plan.of([[np.flatnonzero(head) for head in layer] for layer in mask], sample)


def table(rows):
    header = [
        "policy",
        "budget",
        "engine",
        "block",
        "rounded up",
        "drop: rounded",
        "drop: summed",
        "renorm: rounded",
        "renorm: summed",
    ]
    lines = [header, ["---"] * 3 + ["---:"] * 6]
    number = lambda value: "-" if value is None else f"{value:.4f}"  # noqa: E731
    for policy, budget, engine, block, up, *errors in rows:
        lines.append([f"`{policy}`", budget, engine, str(block), f"{up:.2f}", *map(number, errors)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
