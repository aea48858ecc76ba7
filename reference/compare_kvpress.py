#!/usr/bin/env python3
"""Holds the scores of `laprox` against those of NVIDIA's kvpress, on the activations of a dump.

    pip install kvpress==0.5.5 gguf
    python reference/compare_kvpress.py fixtures/data/smollm2-135m --laprox target/release/laprox \\
        --model SmolLM2-135M-Instruct.Q4_1.gguf --text chapter.txt --context 2500

The `score` methods of kvpress's own classes run on every layer of the dump's first sample, in f64. What they read from a model comes
from the dump: the window's attention, and the weight of o_proj. Prints a Markdown table: per policy the largest difference over the largest
score, over all candidates and layers, and the candidates that only one of both has in a top 20 % of each KV head. With `--model` a
second table follows, of the policies that read more of a model than a dump held before: `laprox capture` runs the model over the text, and
so does transformers under kvpress's presses, in f32. It is run by hand; reference/compare_kvpress.md holds its output.
"""

import argparse
import json
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from kvpress.presses import kvzip_press
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from kvpress import (
    CapPress,
    ChunkKVPress,
    CURPress,
    ExpectedAttentionPress,
    KeyDiffPress,
    KnormPress,
    KVzipPress,
    LagKVPress,
    SnapKVPress,
    TOVAPress,
)

SHARE = 0.2


class Layer:
    """One layer of a dump, in the shape in which kvpress reads a model's."""

    def __init__(self, dump: Path, manifest: dict, index: int):
        model, sample = manifest["model"], manifest["samples"][0]
        heads, self.kv_heads, dim = model["heads"], model["kv_heads"], model["head_dim"]
        self.window, self.context = manifest["window"], sample["context"]

        def read(name: str) -> torch.Tensor:
            return torch.from_numpy(np.load(dump / name).astype(np.float64))

        tensors = {kind: read(f"{sample['name']}/layer_{index:03}.{kind}.npy") for kind in "qkv"}
        self.keys, self.values = (tensors[kind][None, :, : self.context] for kind in "kv")
        self.queries = tensors["q"]
        weight = read(f"weights/layer_{index:03}.o_proj.npy")
        config = SimpleNamespace(
            num_attention_heads=heads, num_key_value_heads=self.kv_heads, head_dim=dim, hidden_size=weight.shape[0]
        )
        self.module = SimpleNamespace(
            config=config,
            head_dim=dim,
            num_key_value_groups=heads // self.kv_heads,
            o_proj=SimpleNamespace(weight=weight),
        )
        keys = self.keys[0].repeat_interleave(heads // self.kv_heads, dim=0)
        logits = self.queries @ keys.transpose(1, 2) * model["attention_scale"]
        masked = torch.ones(logits.shape[1:], dtype=torch.bool).triu(self.context - self.window + 1)
        self.attention = logits.masked_fill(masked, -torch.inf).softmax(-1)[None]

    def scores(self, press) -> np.ndarray:
        """The press's scores of the candidates, `[Hkv, n - w]`."""
        hidden = torch.empty(1, self.context, 0)
        scores = press.score(self.module, hidden, self.keys, self.values, self.attention, {})
        return scores[0, :, : self.context - self.window].numpy()


class WindowCapPress(CapPress):
    """Without the queries before RoPE: the mean of the window's stands for them, as in laprox."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer = layer

    def _query_anchor(self, module, hidden_states):
        return self.layer.queries.mean(dim=1)[None]


def chunks(layer: Layer) -> np.ndarray:
    """The mean over chunks that ChunkKVPress compares, of the candidates."""
    press = ChunkKVPress(SnapKVPress(window_size=layer.window, kernel_size=1))
    summed = layer.scores(press.press).sum(axis=0)
    means = [np.full(len(part), part.mean()) for part in np.split(summed, range(press.chunk_length, len(summed), press.chunk_length))]
    return np.tile(np.concatenate(means), (layer.kv_heads, 1))


# The policy, how kvpress computes the same, and what still differs.
COMPARED = {
    "snapkv": (lambda layer: layer.scores(SnapKVPress(window_size=layer.window, kernel_size=7)), ""),
    "tova": (lambda layer: layer.scores(TOVAPress()), ""),
    "knorm": (lambda layer: layer.scores(KnormPress()), ""),
    "keydiff": (lambda layer: layer.scores(KeyDiffPress()), ""),
    "curdkv": (lambda layer: layer.scores(CURPress()), "kvpress sets its first 4 scores to 1; `sinks=4` does that in laprox"),
    "lagkv": (lambda layer: layer.scores(LagKVPress()), "positions of one rank tie, and kvpress orders them at random"),
    "capkv": (
        lambda layer: layer.scores(WindowCapPress(layer)),
        "the anchor is the mean of the window's queries in both; kvpress's solve is in f32; its first 4 scores are the largest",
    ),
    "chunkkv": (chunks, "kvpress keeps whole chunks, and counts the window into them"),
}


class RecordedExpectedAttention(ExpectedAttentionPress):
    """Keeps the scores of every layer."""

    def __init__(self):
        super().__init__(compression_ratio=0.01)
        self.scores = []

    def score(self, *args, **kwargs):
        scores = super().score(*args, **kwargs)
        self.scores.append(scores[0])
        return scores


class RecordedKVzip(KVzipPress):
    """Keeps the scores in place of evicting by them."""

    def compress_post(self, model):
        self.scores = self.score_val[:, 0].clone()


class WithoutPrefix:
    """A tokenizer whose chat template puts nothing before a message: `laprox capture` runs plain text."""

    chat_template = "given"

    def __init__(self, tokenizer):
        turn = tokenizer.apply_chat_template([{"role": "user", "content": "#"}], add_generation_prompt=True, tokenize=False)
        self.encode, self.suffix = tokenizer.encode, turn.split("#")[1]

    def apply_chat_template(self, messages, **_):
        return messages[0]["content"] + self.suffix


@torch.inference_mode()
def of_model(file: Path, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The presses' scores of a context, `[layers, Hkv, n]`."""
    named = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**named, dtype=torch.float32).eval()
    tokenizer = WithoutPrefix(AutoTokenizer.from_pretrained(**named))
    kvzip_press.AutoTokenizer = SimpleNamespace(from_pretrained=lambda _: tokenizer)
    presses = {
        "expected_attention": RecordedExpectedAttention(),
        "kvzip": RecordedKVzip(compression_ratio=0.01),
        "kvzip+": RecordedKVzip(compression_ratio=0.01, kvzip_plus_normalization=True),
    }
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    for press in presses.values():
        with press(model):
            model.model(input_ids=ids, past_key_values=DynamicCache())
    scores = {name: press.scores for name, press in presses.items()}
    stacked = {name: torch.stack(list(of_press)) for name, of_press in scores.items()}
    return {name: of_press.double().numpy() for name, of_press in stacked.items()}


def captured(arguments: argparse.Namespace, folder: Path) -> Path:
    """The dump that `laprox capture` makes with default options."""
    command = [arguments.laprox, "capture", "--model", arguments.model, "--text", arguments.text]
    command += ["--context", arguments.context, "--future", 0, "--out", folder / "dump"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return folder / "dump"


# What still differs.
NOTES = {
    "expected_attention": "two runs of the model in f32; kvpress gives its first 4 positions the largest score",
    "kvzip": "two runs of the model in f32",
    "kvzip+": "two runs of the model in f32",
}


def compare_model(arguments: argparse.Namespace, first: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dump = captured(arguments, Path(folder))
        manifest = json.loads((dump / "manifest.json").read_text())
        sample, layers = manifest["samples"][0], len(manifest["layers"])
        tokens = np.load(dump / sample["name"] / "tokens.npy")[: sample["context"]]
        print(f"\nThe model in f32 over {len(tokens)} tokens, all {layers} layers.\n")
        header()
        for policy, theirs in of_model(arguments.model, tokens).items():
            mine = ours(arguments.laprox, dump, policy, layers)
            row(policy, mine, theirs[..., : mine.shape[-1]], first, NOTES[policy])


def header() -> None:
    print("| policy | largest difference | other in the top 20 % | what differs |")
    print("|---|---|---|---|")


def row(policy: str, mine: np.ndarray, theirs: np.ndarray, first: int, note: str) -> None:
    # The first positions are kept by an option in laprox, by their scores in kvpress.
    mine, theirs = mine[..., first:], theirs[..., first:]
    difference = np.abs(mine - theirs).max() / np.abs(theirs).max()
    others = (top(mine) & ~top(theirs)).sum()
    print(f"| `{policy}` | {difference:.1e} | {others} of {top(mine).sum()} | {note} |")


def ours(laprox: str, dump: Path, policy: str, layers: int) -> np.ndarray:
    """The scores that `laprox score` writes, `[layers, Hkv, n - w]`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.npy"
        command = [laprox, "score", str(dump), "--policy", policy, "--path", "reference", "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip())
        scores = np.load(out)
    assert len(scores) == layers
    return scores


def top(scores: np.ndarray) -> np.ndarray:
    """The candidates in the top share of each KV head; ties go to the lower position."""
    count = int(SHARE * scores.shape[-1])
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :count]
    mask = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=-1)
    return mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("--laprox", default="laprox", help="the command (default: from the PATH)")
    parser.add_argument("--model", type=Path, help="a GGUF file, for the second table")
    parser.add_argument("--text", type=Path, help="the text that the model reads")
    parser.add_argument("--context", type=int, default=2500, help="its first tokens (default: %(default)s)")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.dump / "manifest.json").read_text())
    layers = [Layer(arguments.dump, manifest, index) for index in manifest["layers"]]
    first = 4

    print(f"kvpress {version('kvpress')}, torch {version('torch')}, {manifest['model']['name']}, {len(layers)} layers,")
    print(f"{layers[0].context} tokens, a window of {layers[0].window}; scores in f64.\n")
    header()
    for policy, (press, note) in COMPARED.items():
        theirs = np.stack([press(layer) for layer in layers])
        mine = ours(arguments.laprox, arguments.dump, policy, len(layers))
        row(policy, mine, theirs, first, note)
    if arguments.model:
        compare_model(arguments, first)


if __name__ == "__main__":
    main()
