"""Evicted caches for transformers (4.56 and later): ragged heads, true positions, the memory of evicted entries freed.

    import laprox.transformers as lt

    prefilled = lt.prefill(model, input_ids)                     # a full cache, and the window's queries
    cache = lt.evict(model, prefilled.cache, prefilled.queries, policy="laprox", budget="10%")
    model.generate(input_ids, past_key_values=cache)             # goes on from it

The batch is one prompt without padding. The layers attend to all positions before them: sliding windows and capped logits are
refused. A cache of this module needs this module's attention, which :func:`evict` switches on; it is PyTorch's own for any other cache.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from laprox._plan import Plan
from laprox._stages import AnyBudget, AnyPolicy
from laprox._stages import evict as evict_layers

#: The name of the attention, for `model.set_attn_implementation`.
ATTENTION = "laprox"


@dataclass(frozen=True)
class Prefilled:
    """What a prompt leaves in a model."""

    #: The model's cache of all n positions.
    cache: Cache
    #: The post-RoPE queries of the last w positions: [H, w, d] of every layer.
    queries: list[torch.Tensor]
    #: The logits of the last position, [vocabulary].
    logits: torch.Tensor


def prefill(model: Any, input_ids: torch.Tensor, *, window: int = 32) -> Prefilled:
    """Runs a prompt of at least `window` tokens, [1, n], and keeps the window's queries."""
    if input_ids.ndim != 2 or input_ids.shape[0] != 1 or not 0 < window <= input_ids.shape[1]:
        raise ValueError(f"input_ids: expected [1, n] with n >= {window}, found {list(input_ids.shape)}")
    attention_modules(model)
    cache = DynamicCache()
    with attending(model), recording(window) as queries, torch.no_grad():
        logits = forward(model, input_ids, cache).logits[0, -1]
    return Prefilled(cache, [queries[layer] for layer in sorted(queries)], logits)


def continued(model: Any, cache: Any, tokens: torch.Tensor, before: Callable[[int], Any] = lambda step: None) -> torch.Tensor:
    """The logits after each of the tokens that are fed one by one, [tokens, vocabulary]."""
    logits = []
    for step, token in enumerate(tokens):
        before(step)
        with torch.no_grad():
            logits.append(forward(model, token.view(1, 1), cache).logits[0, -1])
    return torch.stack(logits)


def forward(model: Any, input_ids: torch.Tensor, cache: Any) -> Any:
    """A pass from a cache, whatever this version of transformers calls it."""
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    return model(input_ids, use_cache=True, **{name: cache})


def layers_of(model: Any, cache: Cache, queries: Sequence[torch.Tensor]) -> list[dict[str, Any]]:
    """The layers as :func:`laprox.score` takes them, in the cache's own memory."""
    modules = attention_modules(model)
    if not len(modules) == len(cache.layers) == len(queries):
        found = f"{len(cache.layers)} of the cache and queries of {len(queries)}"
        raise ValueError(f"cache: expected {len(modules)} layers, found {found}")

    def layer(number: int) -> dict[str, Any]:
        entries, module = cache.layers[number], modules[number]
        if entries.keys.shape[0] != 1:
            raise ValueError(f"cache: expected a batch of 1, found {entries.keys.shape[0]}")
        arrays = {"q": queries[number], "k": entries.keys[0], "v": entries.values[0], "o_proj": module.o_proj.weight}
        return {**arrays, "scale": module.scaling, "layer": number}

    return [layer(number) for number in range(len(modules))]


def evict(
    model: Any,
    cache: Cache,
    queries: Sequence[torch.Tensor],
    policy: AnyPolicy = "laprox",
    budget: AnyBudget = "10%",
    **options: Any,
) -> EvictedCache:
    """The cache that a policy leaves. The full one is freed once nothing else refers to it.

    Args:
        cache: the model's cache of a prompt, batch 1.
        queries: post-RoPE queries of the window, [H, w, d] of every layer, as :func:`prefill` keeps them.
        policy, budget, options: as for :func:`laprox.evict`.
    """
    plan = evict_layers(layers_of(model, cache, queries), policy, budget, **options)
    if model.config._attn_implementation != ATTENTION:
        model.set_attn_implementation(ATTENTION)
    return EvictedCache(cache, plan)


class EvictedCache(Cache):
    """A transformers cache that holds what a plan keeps of another one.

    The heads of a layer differ in length. New tokens are appended to every head, at their true positions.
    """

    def __init__(self, cache: Cache, plan: Plan):
        lengths = {entries.keys.shape[2] for entries in cache.layers}
        if lengths != {plan.context} or len(cache.layers) != len(plan.layers):
            found = f"{len(cache.layers)} of {sorted(lengths)}"
            raise ValueError(f"cache: expected {len(plan.layers)} layers of {plan.context} positions, found {found}")
        #: The plan that it was made by.
        self.plan = plan
        super().__init__(layers=[RaggedLayer(entries, plan, place) for place, entries in enumerate(cache.layers)])

    def nbytes(self) -> int:
        """The bytes of all keys and values."""
        heads = (head for layer in self.layers for head in (*layer.keys, *layer.values))
        return sum(head.numel() * head.element_size() for head in heads)


class RaggedLayer(CacheLayerMixin):
    """One layer of an :class:`EvictedCache`: keys and values of each KV head, [m, d]."""

    is_sliding = False
    is_compileable = False

    def __init__(self, entries: Any, plan: Plan, place: int):
        super().__init__()
        keys, values = entries.keys[0], entries.values[0]
        kept = [torch.from_numpy(plan.positions(place, head).astype("int64")) for head in range(plan.kv_heads)]
        kept = [positions.to(keys.device) for positions in kept]
        self.keys = [head[positions] for head, positions in zip(keys, kept, strict=True)]
        self.values = [head[positions] for head, positions in zip(values, kept, strict=True)]
        self.device, self.dtype = keys.device, keys.dtype
        self.seen = plan.context
        self.is_initialized = True

    def lazy_initialization(self, *states: torch.Tensor) -> None:
        """Nothing to do: the layer holds entries from the start."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Appends new entries to every head, and returns all of them as this module's attention takes them."""
        if key_states.shape[0] != 1:
            raise ValueError(f"cache: expected a batch of 1, found {key_states.shape[0]}")
        self.keys = [torch.cat([head, new]) for head, new in zip(self.keys, key_states[0], strict=True)]
        self.values = [torch.cat([head, new]) for head, new in zip(self.values, value_states[0], strict=True)]
        self.seen += key_states.shape[2]
        return Ragged(self.keys), Ragged(self.values)

    def get_seq_length(self, *args: Any) -> int:
        """How many positions the model has seen, evicted ones included: the next one's number."""
        return self.seen

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """As for the full cache. This module's attention does not read the mask."""
        return self.seen + (query if isinstance(query, int) else query.shape[0]), 0

    def get_max_length(self) -> int:
        """None: the layer grows."""
        return -1

    get_max_cache_shape = get_max_length

    def reset(self) -> None:
        """An evicted cache cannot begin anew: what it held is gone."""
        raise NotImplementedError("an EvictedCache cannot be reset, expected a new prefill")

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Beams need a batch."""
        raise NotImplementedError("an EvictedCache holds a batch of 1, expected no beams")


class Ragged:
    """Keys or values of heads that differ in length, on their way from a cache to the attention."""

    def __init__(self, heads: list[torch.Tensor]):
        self.heads = heads

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of the longest head: wrappers of attention functions, such as kvpress's, ask for it."""
        return 1, len(self.heads), max(map(len, self.heads)), self.heads[0].shape[1]


def ragged_attention(query: torch.Tensor, keys: Ragged, values: Ragged, scale: float | None) -> torch.Tensor:
    """softmax(q K^T * scale) V of each KV head: [1, H, queries, d]. The last entries of every head are the queries' own."""
    groups = query[0].unflatten(0, (len(keys.heads), -1))
    return torch.cat([_group(*group, scale) for group in zip(groups, keys.heads, values.heads, strict=True)])[None]


def _group(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float | None) -> torch.Tensor:
    """One KV head: query [G, queries, d], keys and values [m, d]."""
    new, mask = query.shape[1], None
    if new > 1:
        mask = torch.ones(new, len(keys), dtype=torch.bool, device=query.device).tril(len(keys) - new)
    shared = (query.shape[0], *keys.shape)
    return scaled_dot_product_attention(query, keys.expand(shared), values.expand(shared), attn_mask=mask, scale=scale)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The attention under the name `laprox`: over ragged heads, or PyTorch's own."""
    for window, queries in _recorders:
        queries.setdefault(module.layer_idx, query[0, :, -window:].detach().clone())
    if not isinstance(key, Ragged):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, **options)
    output = ragged_attention(query, key, value, options.get("scaling"))
    return output.transpose(1, 2).contiguous(), None


# Recorders of queries that are at work: how many of the last rows, and the rows of each layer.
_recorders: list[tuple[int, dict[int, torch.Tensor]]] = []

AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextlib.contextmanager
def recording(rows: int) -> Iterator[dict[int, torch.Tensor]]:
    """Keeps the last rows of post-RoPE queries of the first pass through every layer."""
    recorder = (rows, {})
    _recorders.append(recorder)
    try:
        yield recorder[1]
    finally:
        _recorders.remove(recorder)


@contextlib.contextmanager
def attending(model: Any, name: str = ATTENTION) -> Iterator[None]:
    """Runs a model under another attention."""
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attention_modules(model: Any) -> list[Any]:
    """The attention of every layer, in order, if it is of a kind that a plan is about."""
    modules = [one for one in model.modules() if hasattr(one, "layer_idx") and hasattr(one, "o_proj")]
    modules.sort(key=lambda module: module.layer_idx)
    for place, module in enumerate(modules):
        if module.layer_idx != place or not hasattr(module, "scaling"):
            raise ValueError(f"model: expected attention with o_proj and scaling in layer {place}, found none")
    if not modules:
        raise ValueError(f"model: expected layers with o_proj, found none in {type(model).__name__}")
    config = model.config.get_text_config()
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if window is not None and (kinds is None or "sliding_attention" in kinds):
        raise ValueError(f"model: expected no sliding window, found one of {window}")
    if getattr(config, "attn_logit_softcapping", None) is not None:
        raise ValueError(f"model: expected no cap on logits, found {config.attn_logit_softcapping}")
    return modules
