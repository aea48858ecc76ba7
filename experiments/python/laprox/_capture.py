"""A dump of a transformers model over a text."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from laprox import _laprox
from laprox._layers import Dump, native_layer
from laprox.transformers import attending, attention_modules, forward, recording


def capture(
    model: Any,
    tokenizer: Any,
    text: str,
    path: str | os.PathLike[str],
    *,
    context: int | None = None,
    window: int = 32,
    future: int = 0,
    layers: Sequence[int] | None = None,
    name: str = "text",
    force: bool = False,
) -> Dump:
    """Runs a model over a text and writes its activations and tokens as a dump of one sample. It appears whole or not at all.

    Args:
        model, tokenizer: of transformers, such as `AutoModelForCausalLM` and `AutoTokenizer` load them.
        path: the dump's folder, which does not exist.
        context: n, tokens of the text; as many as it has, less `future`, by default.
        window: w, the last positions of the context, whose queries score the others.
        future: t, tokens after the context, whose queries measure the `future` error.
        layers: the layers to write; all by default.
        name: the sample's.
        force: replace a dump that is there.
    """
    ids = tokenizer(text, return_tensors="pt").input_ids
    context = ids.shape[1] - future if context is None else context
    if not (0 < window <= context and future >= 0 and context + future <= ids.shape[1]):
        asked = f"{context} + {future} tokens and a window of {window} in them"
        raise ValueError(f"text: expected {asked}, found {ids.shape[1]} tokens")
    modules = attention_modules(model)
    numbers = sorted(range(len(modules)) if layers is None else set(layers))
    if not set(numbers) <= set(range(len(modules))):
        raise ValueError(f"layers: expected numbers below {len(modules)}, found {numbers}")
    ids = ids[:, : context + future].to(model.device)
    cache = DynamicCache()
    with attending(model), recording(window + future) as queries, torch.no_grad():
        forward(model, ids, cache)

    def layer(number: int) -> tuple[Any, ...]:
        entries, rows = cache.layers[number], queries[number]
        arrays = {"q": rows[:, :window], "k": entries.keys[0], "v": entries.values[0]}
        later = {"q_future": rows[:, window:]} if future else {}
        weight = modules[number].o_proj.weight
        return native_layer({**arrays, **later, "o_proj": weight, "scale": modules[number].scaling, "layer": number}, number)

    written = [layer(number) for number in numbers]
    _, scale, q, k, _, o_proj, _ = written[0]
    manifest = {
        "format": "kv-activation-dump",
        "version": 1,
        "model": {
            "name": os.path.basename(model.config.name_or_path or model.config.model_type),
            "layers": len(modules),
            "heads": q.shape[0],
            "kv_heads": k.shape[0],
            "head_dim": q.shape[2],
            "hidden_size": o_proj.shape[0],
            "attention_scale": scale,
            "source_dtype": str(model.dtype).removeprefix("torch."),
        },
        "layers": numbers,
        "window": window,
        "samples": [
            {
                "name": name,
                "context": context,
                "future": future,
                "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
                "bos": _added_start(tokenizer, text, ids),
            }
        ],
    }
    _laprox.write_dump(os.fspath(path), json.dumps(manifest), ids[0].tolist(), written, force)
    return Dump(path)


def _added_start(tokenizer: Any, text: str, ids: torch.Tensor) -> bool:
    """Whether the first token is a start token that the text does not hold."""
    start, spelt = getattr(tokenizer, "bos_token_id", None), getattr(tokenizer, "bos_token", None)
    return start is not None and ids[0, 0].item() == start and not text.startswith(spelt or "\0")
