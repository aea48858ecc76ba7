"""A policy in ten lines of Python, in the table beside the others and the proven optimum.

python own_policy.py
"""

import laprox


@laprox.policy("mine:allocation=model-raw")
def mine(layer):
    """The attention's mean plus its deviation over the window, times the size of what it is paid to."""
    attention = layer.attention[:, :, : layer.candidates]
    usual = attention.mean(axis=1) + attention.std(axis=1)
    return layer.by_group(usual * layer.projected_norms)


table = laprox.ablate(laprox.Dump(), ["laprox", "snapkv", mine, "streaming"], ["20%"], optimum="oracle:certified:nodes=1")
print(table)
assert all(row.over_bound >= 1 for row in table.rows)
