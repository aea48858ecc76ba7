"""Policies in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from laprox import _laprox
from laprox._arrays import reals
from laprox._layers import Dump, Layers, Sample, native_layer, sample_of, sequence


class PolicyLayer:
    """One layer as a policy sees it: arrays in float64, computed when they are first asked for."""

    def __init__(self, layer: Mapping[str, Any], place: int):
        self._native = native_layer(layer, place)
        #: The layer's number in the model.
        self.number: int = self._native[0]

    @cached_property
    def q(self) -> np.ndarray:
        """Post-RoPE queries of the window, [H, w, d]."""
        return _wide(self._native[2])

    @cached_property
    def k(self) -> np.ndarray:
        """Post-RoPE keys, [Hkv, n, d]."""
        return _wide(self._native[3][:, : self._context])

    @cached_property
    def v(self) -> np.ndarray:
        """Values, [Hkv, n, d]."""
        return _wide(self._native[4][:, : self._context])

    @cached_property
    def o_proj(self) -> np.ndarray:
        """The output projection as PyTorch stores it, [D, H * d]."""
        return _wide(self._native[5])

    @cached_property
    def attention(self) -> np.ndarray:
        """The window's attention, [H, w, n]."""
        return _laprox.attention(self._native)

    @cached_property
    def projected_norms(self) -> np.ndarray:
        """The norms of the candidates' projected values, norm(v_i W_h), [H, n - w]."""
        return _laprox.projected_norms(self._native)

    @property
    def candidates(self) -> int:
        """n - w: positions 0 to n - w may be evicted."""
        return self._context - self._native[2].shape[1]

    def by_group(self, of_heads: np.ndarray) -> np.ndarray:
        """The mean over the query heads of each KV head: [H, ..] becomes [Hkv, ..]."""
        kv_heads = self._native[3].shape[0]
        return of_heads.reshape(kv_heads, -1, *of_heads.shape[1:]).mean(axis=1)

    @property
    def _context(self) -> int:
        future = self._native[6]
        return self._native[3].shape[1] - (0 if future is None else future.shape[1])


class PolicyOfPython:
    """A policy that :func:`policy` has made of a function. It stands wherever a policy's name does."""

    def __init__(self, text: str, function: Callable[[PolicyLayer], Any]):
        #: NAME[:key=value,..]
        self.text = text
        self.function = function
        self.__doc__ = function.__doc__

    def scores(self, layers: Layers) -> np.ndarray:
        """The scores of every layer, [layers, Hkv, n - w]."""
        if isinstance(layers, Dump):
            layers = sample_of(layers)
        of_layers = layers.layers() if isinstance(layers, Sample) else sequence(layers)
        scores = [self._of_layer(PolicyLayer(layer, place)) for place, layer in enumerate(of_layers)]
        if not scores or any(one.shape != scores[0].shape for one in scores):
            found = [one.shape for one in scores]
            raise ValueError(f"{self.text}: expected scores [Hkv, n - w] of every layer, found {found}"[:480])
        return np.stack(scores)

    def _of_layer(self, layer: PolicyLayer) -> np.ndarray:
        return _wide(reals(self.function(layer), f"scores of {self.text} in layer {layer.number}"))

    def __call__(self, layer: PolicyLayer) -> Any:
        return self.function(layer)

    def __repr__(self) -> str:
        return f"<laprox.policy {self.text}>"


def policy(text: str) -> Callable[[Callable[[PolicyLayer], Any]], PolicyOfPython]:
    """Makes a function a policy: it gets a layer and returns the score of every candidate, [Hkv, n - w]; the higher one stays.

    Args:
        text: a name of letters, digits and `._+-@`, with the options that act after the score:
            `mine:allocation=model,pool=avg:7,sinks=4`. By default every KV head keeps its own best.

    >>> from laprox import Dump, evict, score
    >>> @policy("mine:allocation=model")
    ... def mine(layer):
    ...     mean = layer.attention.mean(axis=1)[:, : layer.candidates]     # [H, n - w]
    ...     return layer.by_group(mean * layer.projected_norms)            # [Hkv, n - w]
    >>> score(Dump(), mine).shape, evict(Dump(), mine, "20%").policy
    ((5, 3, 992), 'mine:allocation=model')
    """
    if not isinstance(text, str):
        raise ValueError(f"policy: expected a name, found {type(text).__name__}")
    return lambda function: PolicyOfPython(text, function)


def _wide(array: np.ndarray) -> np.ndarray:
    """The numbers in float64; uint16 holds the bits of bf16."""
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)
