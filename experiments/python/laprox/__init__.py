"""Which cached keys and values must stay so that a model's attention layers still put out what they did?

The simulator of KV-cache eviction, on arrays::

    import laprox

    layers = laprox.Dump()["moby-dick-1"]                         # or a list of mappings q, k, v, o_proj
    plan = laprox.evict(layers, policy="laprox", budget="10%")    # a Plan: positions, counts, masks, pages
    laprox.error(layers, plan).drop                               # the error of the layers' outputs
    laprox.certify(layers, budget="10%").lower_bound              # no set of this size has a lower one

| name | what it is |
|---|---|
| :class:`Dump`, :class:`Sample` | activation dumps |
| :func:`score`, :func:`evict` | scores, and the set that a policy keeps |
| :class:`Plan` | a retained set, in the forms that engines take |
| :func:`error`, :func:`certify`, :func:`bounds` | the errors of a set, the best set with a proof, the error bounds |
| :func:`policy`, :func:`ablate` | a policy in Python, and policies side by side |
| :func:`capture`, :func:`check_cache` | a dump of a transformers model; whether a cache decodes as it should (they import torch) |
| :mod:`laprox.transformers`, :mod:`laprox.kvpress` | evicted caches that decode; presses |

The command `laprox`, or `python -m laprox`, comes with the package.
"""

import atexit
import importlib
from typing import Any

from laprox import _laprox
from laprox._ablate import Comparison, Row, ablate
from laprox._layers import Dump, Sample
from laprox._plan import Plan
from laprox._policy import PolicyLayer, PolicyOfPython, policy
from laprox._stages import Certificate, Errors, bounds, certify, error, evict, score

__all__ = [
    "POLICIES",
    "Certificate",
    "Comparison",
    "Dump",
    "Errors",
    "Plan",
    "PolicyLayer",
    "PolicyOfPython",
    "Row",
    "Sample",
    "ablate",
    "bounds",
    "capture",
    "certify",
    "check_cache",
    "error",
    "evict",
    "policy",
    "score",
]

#: The names of all policies.
POLICIES: tuple[str, ...] = tuple(_laprox.policy_names())

# The interpreter may end without dropping the copy of the default dump.
atexit.register(_laprox.remove_temporary)

# These need torch, which is imported when they are first asked for.
_OF_TORCH = {"capture": "laprox._capture", "check_cache": "laprox._check", "CacheCheck": "laprox._check"}


def __getattr__(name: str) -> Any:
    if name not in _OF_TORCH:
        raise AttributeError(f"module 'laprox' has no attribute {name!r}")
    return getattr(importlib.import_module(_OF_TORCH[name]), name)
