"""Retained sets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from laprox import _laprox
from laprox._arrays import whole
from laprox._foreign import one_line
from laprox._layers import Dump, Layers, Sample, extents, number_of, sample_of, sequence

Sizes = tuple[str, list[int], int, int, int, str | None]


@dataclass(frozen=True, eq=False)
class Plan:
    """The positions that every KV head of every layer keeps, the observation window's among them.

    >>> from laprox import Dump, evict
    >>> plan = evict(Dump(), budget="10%")
    >>> print(plan.counts.shape, plan.counts.mean())     # [layers, Hkv], 10 % of 1024 tokens
    (5, 3) 102.0
    >>> print(plan.positions(0, 2)[-3:])                 # sorted, ends with the window
    [1021 1022 1023]
    >>> print(plan.to_mask().shape)                      # [layers, Hkv, n]
    (5, 3, 1024)
    """

    #: uint64 [layers * Hkv + 1]: where the positions of each KV head begin, and where the last ones end.
    offsets: np.ndarray
    #: uint32: the positions of each KV head, ascending.
    kept: np.ndarray
    #: The layers' numbers in the model.
    layers: tuple[int, ...]
    #: Hkv.
    kv_heads: int
    #: n.
    context: int
    #: w.
    window: int
    #: The sample that the set was made for.
    sample: str = "sample"
    #: The policy that made it; empty for a set that was made elsewhere.
    policy: str = ""
    #: The budget as asked for.
    budget: str = ""
    #: SHA-256 of the context's token ids as little-endian u32, if they are known. A plan is refused for other tokens.
    tokens_sha256: str | None = None
    _starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", whole(self.offsets, "offsets", np.uint64))
        object.__setattr__(self, "kept", whole(self.kept, "positions", np.uint32))
        _laprox.check_set(self._sizes, self.stored)
        object.__setattr__(self, "_starts", self.offsets.astype(np.intp))

    @classmethod
    def of(cls, positions: Any, layers: Layers, **facts: str) -> Plan:
        """A set from one's own positions: `positions[layer][head]` is a list, the window's positions need not be in it.

        >>> from laprox import Dump, error
        >>> dump = Dump()
        >>> plan = Plan.of([[range(0, 992, 8)] * 3] * 5, dump)      # every eighth position
        >>> print(plan.counts[0], error(dump, plan).drop < 1)
        [156 156 156] True
        """
        sample, numbers, kv_heads, context, window, tokens = sizes_of(layers)
        own = np.arange(context - window, context)
        try:
            heads = [[np.union1d(_positions(head), own) for head in layer] for layer in positions]
        except (TypeError, OverflowError) as error:
            raise ValueError(
                f"positions: expected lists of positions by layer and KV head, found another form: {one_line(error)}"
            ) from None
        if len(heads) != len(numbers) or any(len(layer) != kv_heads for layer in heads):
            found = [len(layer) for layer in heads]
            raise ValueError(f"positions: expected {len(numbers)} layers of {kv_heads} KV heads, found {found}")
        flat = [head for layer in heads for head in layer]
        offsets = np.cumsum([0] + [len(head) for head in flat], dtype=np.uint64)
        facts = {"tokens_sha256": tokens, **facts}
        return cls(offsets, np.concatenate(flat), tuple(numbers), kv_heads, context, window, sample, **facts)

    def positions(self, layer: int, head: int) -> np.ndarray:
        """The positions that KV head `head` of the `layer`-th layer keeps: uint32, ascending."""
        if not (0 <= layer < len(self.layers) and 0 <= head < self.kv_heads):
            sizes = f"{len(self.layers)} layers of {self.kv_heads} KV heads"
            raise IndexError(f"layer {layer}, KV head {head}: expected one of {sizes}")
        place = layer * self.kv_heads + head
        return self.kept[self._starts[place] : self._starts[place + 1]]

    @property
    def counts(self) -> np.ndarray:
        """How many positions each KV head keeps: int64 [layers, Hkv]."""
        return np.diff(self._starts).reshape(len(self.layers), self.kv_heads).astype(np.int64)

    def to_mask(self) -> np.ndarray:
        """Whether each position is kept: bool [layers, Hkv, n]."""
        mask = np.zeros((len(self.layers) * self.kv_heads, self.context), dtype=bool)
        heads = np.repeat(np.arange(len(mask)), np.diff(self._starts))
        mask[heads, self.kept] = True
        return mask.reshape(len(self.layers), self.kv_heads, self.context)

    def to_masked_key_indices(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """kvpress's form of the EVICTED entries of the `layer`-th layer: batch, KV head and position of each, int64.

        >>> from laprox import Dump, evict
        >>> batch, head, position = evict(Dump(), budget="10%").to_masked_key_indices(0)
        >>> len(batch) == len(head) == len(position)
        True
        """
        head, position = np.nonzero(~self.to_mask()[layer])
        return np.zeros_like(head), head, position

    def union(self) -> Plan:
        """What an engine keeps whose KV heads share their positions: every head of a layer keeps what any of them does."""
        shared = self.to_mask().any(axis=1, keepdims=True)
        return self._with(np.broadcast_to(shared, self.to_mask().shape))

    def pages(self, block: int) -> Plan:
        """What an engine keeps that frees whole blocks of `block` positions: every block that holds a kept position.

        >>> from laprox import Dump, evict
        >>> plan = evict(Dump(), budget="10%")
        >>> print(plan.pages(1).counts.sum(), plan.pages(1024).counts.sum())
        1530 15360
        """
        if not isinstance(block, (int, np.integer)) or isinstance(block, bool) or block < 1:
            raise ValueError(f"block: expected a number of positions above 0, found {block!r:.80}")
        starts = np.arange(0, self.context, min(int(block), self.context))
        touched = np.logical_or.reduceat(self.to_mask(), starts, axis=2)
        return self._with(np.repeat(touched, block, axis=2)[..., : self.context])

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes the folder that `laprox evict --out` writes, and `--retained` reads. It appears whole or not at all.

        Args:
            force: replace such a folder.
        """
        _laprox.save_set(os.fspath(path), self._sizes, self.stored, self.policy, self.budget, force)

    @classmethod
    def load(cls, path: str | os.PathLike[str], sample: str | None = None, *, layers: Layers | None = None) -> Plan:
        """Reads a folder of sets.

        Args:
            path: what :meth:`save` or `laprox evict --out` has written; or, with `layers`, `NAME.offsets.npy` and
                `NAME.positions.npy` of any program.
            sample: the sample's name, if there are several.
            layers: the layers that the set is for. Without them, the folder's `summary.json` tells the sizes. A set that was made
                for other tokens than those of a sample is refused.

        >>> import tempfile
        >>> from laprox import Dump, evict
        >>> plan = evict(Dump(), budget="10%")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plan.save(f"{folder}/kept")
        ...     again = Plan.load(f"{folder}/kept")
        >>> print((again.to_mask() == plan.to_mask()).all())
        True
        """
        sizes = None if layers is None else sizes_of(layers)
        if sizes is not None and sample is not None:
            sizes = (sample, *sizes[1:])
        found = _laprox.load_sets(os.fspath(path), sizes)
        named = [one for one in found if sample in (None, one[0][0])]
        if len(named) != 1:
            names = ", ".join(one[0][0] for one in found)
            raise ValueError(f"{os.fspath(path)}: expected one set of sample {sample or 'any name'}, found {names}")
        (name, numbers, kv_heads, context, window, tokens), stored = named[0]
        sizes = (tuple(numbers), kv_heads, context, window)
        return cls(stored["offsets"], stored["positions"], *sizes, name, tokens_sha256=tokens)

    @property
    def stored(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and positions."""
        return self.offsets, self.kept

    @property
    def _sizes(self) -> Sizes:
        return self.sample, list(self.layers), self.kv_heads, self.context, self.window, self.tokens_sha256

    def _with(self, mask: np.ndarray) -> Plan:
        """The positions of a mask, under the same names."""
        heads = mask.reshape(-1, self.context)
        offsets = np.concatenate([[0], np.cumsum(heads.sum(axis=1))]).astype(np.uint64)
        kept = np.nonzero(heads)[1].astype(np.uint32)
        sizes = (self.layers, self.kv_heads, self.context, self.window)
        return Plan(offsets, kept, *sizes, self.sample, self.policy, self.budget, self.tokens_sha256)

    def __repr__(self) -> str:
        per_head = self.counts.mean()
        return f"<laprox.Plan {self.policy or 'of one own'}: {per_head:.1f} of {self.context} per KV head>"


def _positions(head: Any) -> np.ndarray:
    """A KV head's positions; an empty list has no type of its own."""
    listed = np.asarray(head if hasattr(head, "__array__") else list(head))
    return whole(listed, "positions", np.uint32) if listed.size else np.zeros(0, np.uint32)


def sizes_of(layers: Layers) -> Sizes:
    """Name, layers' numbers, Hkv, n, w, and the digest of the tokens, if it is known."""
    if isinstance(layers, Dump):
        layers = sample_of(layers)
    if isinstance(layers, Sample):
        numbers, kv_heads = layers.dump.manifest["layers"], layers.dump.manifest["model"]["kv_heads"]
        return layers.name, numbers, kv_heads, layers.context, layers.window, layers.tokens_sha256
    given = sequence(layers)
    if not given:
        raise ValueError("layers: expected at least one, found none")
    numbers = [number_of(layer, place) for place, layer in enumerate(given)]
    q, k, future = (extents(given[0], 0, key) for key in ("q", "k", "q_future"))
    if len(q) != 3 or len(k) != 3:
        raise ValueError(f"layers[0]: expected q and k of 3 axes, found {len(q)} and {len(k)}")
    later = future[1] if len(future) == 3 else 0
    return "sample", numbers, k[0], k[1] - later, q[1], None
