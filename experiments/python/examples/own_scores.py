"""Scores of one's own, from NumPy alone: measured, and held against the proven optimum.

python own_scores.py
"""

import numpy as np

import laprox

sample = laprox.Dump()["moby-dick-1"]  # or laprox.Dump("D")["NAME"], or a list of mappings q, k, v, o_proj
scores = []
for layer in sample.layers():
    # The norms of the values, one score per candidate. The window's own positions stay in any case.
    norms = np.linalg.norm(layer["v"][:, : sample.context - sample.window].astype(np.float64), axis=2)
    scores.append(norms / norms.sum())

plan = laprox.evict(sample, scores=np.stack(scores), allocation="model", budget="20%")
published = laprox.evict(sample, "laprox", "20%")
proof = laprox.certify(sample, "20%", oracle="oracle:certified:nodes=1", plans=[plan, published])
for name, one, over in zip(["value norms", "laprox"], [plan, published], proof.over_bound[1:, -1]):
    errors = laprox.error(sample, one)
    print(f"{name:11}  drop {errors.drop:.3f}  renormalised {errors.renormalised:.3f}  {over:.2f} times the least possible drop")
assert laprox.error(sample, published).drop < laprox.error(sample, plan).drop
