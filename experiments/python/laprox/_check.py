"""A conformance check for caches: the positions that stay go in, and the logits that have to come out are known."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from laprox._plan import Plan
from laprox.transformers import EvictedCache, attending, attention_modules, continued, forward, prefill

_MASKED = "laprox_masked"
_plans: list[Plan] = []


@dataclass(frozen=True)
class CacheCheck:
    """What :func:`laprox.check_cache` has found."""

    #: The largest difference of a logit at each step.
    differences: list[float]
    #: Differences below this are rounding.
    tolerance: float
    #: Whether the cache said, before each step, that it has seen all positions, evicted ones included.
    positions_hold: bool

    @property
    def holds(self) -> bool:
        """Whether the cache decodes as the full one does with the evicted entries masked."""
        return self.positions_hold and all(difference <= self.tolerance for difference in self.differences)

    def __str__(self) -> str:
        if not self.positions_hold:
            return "broken: get_seq_length() is not the number of positions seen, so new tokens get wrong ones"
        worst = max(self.differences)
        if self.holds:
            return f"sound: logits differ by at most {worst:.1e} over {len(self.differences)} steps"
        first = next(step for step, difference in enumerate(self.differences) if not difference <= self.tolerance)
        return f"broken: logits differ by {worst:.1e} over {len(self.differences)} steps, first beyond {self.tolerance:g} at step {first}"


def check_cache(
    model: Any,
    make: Callable[[Any, Plan], Any] = EvictedCache,
    *,
    input_ids: torch.Tensor | None = None,
    plan: Plan | None = None,
    steps: int = 32,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> CacheCheck:
    """Tells a broken cache from a bad policy.

    A prompt is prefilled, a plan evicts positions of it, and tokens are decoded from the cache under test. The expected logits
    are those of the full cache whose evicted entries no query sees.

    Args:
        model: a transformers model, better in float32: the tolerance is for its logits.
        make: makes the cache under test of the model's full cache and a plan.
        input_ids: the prompt, [1, n]; 256 random tokens by default.
        plan: the positions that stay; by default a random number of random ones in every head.
        steps: how many tokens are decoded.
    """
    draw = np.random.default_rng(seed)
    vocabulary = model.config.vocab_size
    if input_ids is None:
        input_ids = torch.from_numpy(draw.integers(0, vocabulary, (1, 256))).to(model.device)
    window = 8 if plan is None else plan.window
    full = prefill(model, input_ids, window=window).cache
    plan = _random_plan(full, window, draw) if plan is None else plan
    tokens = torch.from_numpy(draw.integers(0, vocabulary, steps)).to(model.device)
    expected = masked(model, copy.deepcopy(full), plan, tokens)
    tested = make(full, plan)
    seen: list[bool] = []
    # This package's cache needs this package's attention; other caches have the caller's.
    with attending(model) if make is EvictedCache else contextlib.nullcontext():
        found = continued(model, tested, tokens, lambda step: seen.append(tested.get_seq_length() == plan.context + step))
    differences = (found - expected).abs().amax(dim=1).tolist()
    return CacheCheck([math.inf if math.isnan(one) else one for one in differences], tolerance, all(seen))


def masked(model: Any, cache: Any, plan: Plan, tokens: torch.Tensor) -> torch.Tensor:
    """The logits of tokens that follow a full cache whose evicted entries no query sees, [tokens, vocabulary]."""
    attention_modules(model)
    _plans.append(plan)
    try:
        with attending(model, _MASKED), torch.no_grad():
            return forward(model, tokens[None], cache).logits[0]
    finally:
        _plans.remove(plan)


def _masked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    *,
    scaling: float,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention to what the plan keeps and to everything after the context up to the query's own position, written out."""
    plan, new, total = _plans[-1], query.shape[2], key.shape[2]
    kept = torch.from_numpy(plan.to_mask()[module.layer_idx]).to(key.device)
    kept = torch.cat([kept, kept.new_ones(plan.kv_heads, total - plan.context)], dim=1)
    seen = kept[:, None] & kept.new_ones(new, total).tril(total - new)
    group = query.shape[1] // plan.kv_heads
    keys, values, seen = (one.repeat_interleave(group, dim=0) for one in (key[0], value[0], seen))
    logits = (query[0] @ keys.mT * scaling).masked_fill(~seen, -math.inf)
    return (logits.softmax(dim=-1) @ values).transpose(0, 1)[None].contiguous(), None


def _random_plan(cache: Any, window: int, draw: np.random.Generator) -> Plan:
    """A random number of random positions in every head, and the window."""
    _, kv_heads, context, _ = cache.layers[0].keys.shape
    candidates, own = context - window, np.arange(context - window, context)
    numbers = draw.integers(0, candidates + 1, (len(cache.layers), kv_heads)).flat
    heads = [np.append(np.sort(draw.permutation(candidates)[:number]), own) for number in numbers]
    offsets = np.cumsum([0] + [len(head) for head in heads])
    return Plan(offsets, np.concatenate(heads), tuple(range(len(cache.layers))), kv_heads, context, window)


AttentionInterface.register(_MASKED, _masked_attention)
AttentionMaskInterface.register(_MASKED, sdpa_mask)
