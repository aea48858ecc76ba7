"""Milliseconds per layer of LaProx on CUDA tensors, beside kvpress's own presses, in one run.

    python examples/on_device.py --context 8192 32768

It needs `laprox`, kvpress and a CUDA device; `--device cpu --path fast` tries the script where there is none. The layers have the shape of
Llama-3.1-8B and random weights. What a press costs is the time of a prefill with it less that of one without, over the layers; medians of
runs in turns. Every press keeps a fifth and reads a window of 32 queries.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import sys
import time

import torch
import transformers
from kvpress import CriticalKVPress, SnapKVPress
from transformers import DynamicCache

import laprox.transformers as lt
from laprox.kvpress import LaProxPress, PolicyPress

REMOVED, WINDOW = 0.8, 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--context", type=int, nargs="+", default=[8192])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--path", default="gpu")
    arguments = parser.parse_args()
    model = random_llama(arguments)
    device = torch.cuda.get_device_name(0) if arguments.device.startswith("cuda") else "CPU"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("laprox", "kvpress", "transformers", "torch"))
    print(f"{device}; {versions}; Python {sys.version.split()[0]}\n")
    print("| context | press | ms per layer | first run, ms per layer |\n| --- | --- | --- | --- |")
    for context in arguments.context:
        ids = torch.randint(0, model.config.vocab_size, (1, context), device=model.device)
        for name, (first, median) in measured(model, ids, presses(arguments.path), arguments.runs).items():
            print(f"| {context} | {name} | {median:.2f} | {first:.2f} |", flush=True)


def random_llama(arguments):
    """Layers of Llama-3.1-8B's shape at its hidden size; a small feed-forward part, which no press reads."""
    heads = arguments.hidden // 128
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=arguments.hidden, intermediate_size=256, num_hidden_layers=arguments.layers,
        num_attention_heads=heads, num_key_value_heads=heads // 4, max_position_embeddings=1 << 20,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).to(arguments.device, torch.bfloat16).eval()


def presses(path):
    """The presses by name; SnapKV and CriticalKV are kvpress's."""
    snapkv = {"compression_ratio": REMOVED, "window_size": WINDOW}
    return {
        "kvpress SnapKVPress": SnapKVPress(**snapkv),
        "kvpress CriticalKVPress": CriticalKVPress(SnapKVPress(**snapkv)),
        f"PolicyPress snapkv, path {path}": PolicyPress("snapkv", **snapkv, path=path),
        f"LaProxPress, path {path}": LaProxPress(**snapkv, path=path),
    }


def measured(model, ids, presses, runs):
    """The first and the median cost of each press."""
    plain, costs = [], {name: [] for name in presses}
    seconds(model, ids, None)
    for _ in range(runs):
        plain.append(seconds(model, ids, None))
        for name, press in presses.items():
            costs[name].append(seconds(model, ids, press))
    layers, base = model.config.num_hidden_layers, statistics.median(plain)
    per_layer = lambda time: 1e3 * (time - base) / layers  # noqa: E731
    return {name: (per_layer(times[0]), per_layer(statistics.median(times))) for name, times in costs.items()}


def seconds(model, ids, press):
    """A prefill under a press, or under none."""
    with lt.attending(model, "sdpa"), torch.no_grad():
        start = now()
        if press is None:
            lt.forward(model, ids, DynamicCache())
        else:
            with press(model):
                lt.forward(model, ids, DynamicCache())
        end = now()
    for module in lt.attention_modules(model):
        module.masked_key_indices = None
    return end - start


def now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
