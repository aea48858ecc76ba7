"""Presses for kvpress 0.5: the policies of the simulator, cut over the whole model.

    from laprox.kvpress import LaProxPress, PolicyPress

    press = LaProxPress(compression_ratio=0.9)
    pipeline("kv-press-text-generation", model=model)(context, question=question, press=press)

The hooks keep each layer's window queries during the prefill. After the last layer the policy ranks the entries of all layers together, and
kvpress's attention masks those that are evicted (`module.masked_key_indices`), as it does for AdaKV and KVzip: the cache keeps its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from kvpress import BasePress
from kvpress.presses.base_press import is_prefilling
from kvpress.utils import extract_keys_and_values, get_prerope_query_states
from transformers.models.llama.modeling_llama import rotate_half

from laprox._plan import Plan
from laprox._stages import evict, with_options


@dataclass
class PolicyPress(BasePress):
    """Any policy of the simulator, in kvpress's words.

    Args:
        policy: `NAME[:key=value,..]`, or a :func:`laprox.policy` in Python.
        compression_ratio: the share of the entries that is removed: every KV head keeps int(n * (1 - ratio)) on average, the window
            included.
        window_size: w, the last positions of the context, whose queries score the others.
        kernel_size: the positions over which scores are averaged; the policy's own by default.
        n_sink: how many of the first positions are kept in any case; the policy's own by default.
        path: the implementation that computes, as for :func:`laprox.evict`.
    """

    policy: Any = "laprox"
    compression_ratio: float = 0.0
    window_size: int = 32
    kernel_size: int | None = None
    n_sink: int | None = None
    path: str = "fast"
    #: The plan of the last prefill.
    plan: Plan | None = field(default=None, init=False)
    _layers: dict[int, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)
    _modules: dict[int, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.compression_ratio < 1:
            raise ValueError(f"compression_ratio: expected 0 to 1, found {self.compression_ratio}")

    def post_init_from_model(self, model: Any) -> None:
        """Begins anew."""
        self._layers.clear()
        self._modules.clear()

    def forward_hook(self, module: Any, input: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """Keeps a layer of the prefill; ranks after the last one."""
        hidden_states = kwargs["hidden_states"]
        # Older versions of transformers give no cache_position: a prefill is then as long as the cache.
        cache = _of_either_name(kwargs)
        keys, values = extract_keys_and_values(cache, module.layer_idx)
        position = kwargs.get("cache_position")
        length = hidden_states.shape[1]
        prefilling = keys.shape[2] == length if position is None else is_prefilling(position, length)
        if not prefilling or self.compression_ratio == 0:
            return output
        if keys.shape[0] != 1:
            raise ValueError(f"batch: expected 1, found {keys.shape[0]}")
        self._modules[module.layer_idx] = module
        self._layers[module.layer_idx] = {
            "q": window_queries(module, hidden_states, kwargs["position_embeddings"], self.window_size),
            "k": keys[0],
            "v": values[0],
            "o_proj": module.o_proj.weight,
            "scale": module.scaling,
            "layer": module.layer_idx,
        }
        if len(self._layers) == module.config.num_hidden_layers:
            self._press(keys.shape[2])
        return output

    def _press(self, context: int) -> None:
        """Evicts over all layers, and tells kvpress's attention."""
        numbers = sorted(self._layers)
        layers = [self._layers[number] for number in numbers]
        kept = int(context * (1 - self.compression_ratio))
        self.plan = evict(layers, self._policy(), kept, path=self.path)
        for place, number in enumerate(numbers):
            evicted = self.plan.to_masked_key_indices(place)
            device = self._layers[number]["k"].device
            self._modules[number].masked_key_indices = tuple(torch.from_numpy(one).to(device) for one in evicted)
        self.post_init_from_model(None)

    def _policy(self) -> Any:
        """The policy with kvpress's options."""
        options = {"pool": self.kernel_size and f"avg:{self.kernel_size}", "sinks": self.n_sink}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        if given and not isinstance(self.policy, str):
            raise ValueError("kernel_size, n_sink: expected none beside a policy in Python, which has options of its own")
        return with_options(self.policy, given) if given else self.policy


@dataclass
class LaProxPress(PolicyPress):
    """LaProx (arXiv 2605.07234) as published: complete column-row norms, averaged over 7 positions, one budget for the model.

    `LaProxPress(compression_ratio=0.9)` keeps a tenth of all entries.
    """

    policy: Any = field(default="laprox", init=False)


def window_queries(module: Any, hidden_states: torch.Tensor, position_embeddings: Any, window: int) -> torch.Tensor:
    """The post-RoPE queries of the last positions, [H, w, d]."""
    if hidden_states.shape[1] < window:
        raise ValueError(f"context: expected at least the window of {window} tokens, found {hidden_states.shape[1]}")
    query = get_prerope_query_states(module, hidden_states[:, -window:])[0]
    cos, sin = (one[0, -window:] for one in position_embeddings)
    return query * cos + rotate_half(query) * sin


def _of_either_name(kwargs: dict[str, Any]) -> Any:
    """The cache among a layer's arguments: its name differs between versions of transformers."""
    names = ("past_key_values", "cache", "past_key_value")
    cache = next((kwargs[name] for name in names if kwargs.get(name) is not None), None)
    if cache is None:
        raise ValueError(f"cache: expected one of {', '.join(names)} among a layer's arguments, found none")
    return cache
