#!/usr/bin/env python3
"""Holds `laprox capture` against transformers: activations, logits and token ids of tiny models made here.

    cargo build --release && cargo build --release --example logits
    python experiments/compare_transformers.py target/release > table.md

Needs torch, transformers 5, tokenizers, sentencepiece, gguf and numpy. It is run by hand, not by the tests, which state the same without
Python (tests/model/naive.rs). The table of its last run is in README.md beside this file.

Activations: for each architecture, rotary scaling and variant, transformers' own class draws a model of two layers. Its weights and biases are
random, its norms are far from one, and it has a head dimension that is not hidden / heads where the class allows one. The model is saved as a
snapshot and written as GGUF with the names, the permutation and the extra tensors of llama.cpp's converter. For prompts of 1 to 300 tokens,
q, k and v of every layer and the logits after every token are compared. A figure is the largest difference over the largest magnitude: that of
q, k and v, and that of the logits.

Tokens: for each set of rules before BPE a vocabulary is trained here with the regular expression of the model's own tokenizer.json, and one
with SentencePiece. The ids that capture writes have to be those of the library that trained it, on pages of several kinds.

Exit code 1 when a difference exceeds 1e-4 or ids differ.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

LENGTHS = (1, 2, 17, 64, 300)
ORIGINAL_LEN = 64  # of the first training, where a scaling has one
MOST = 1e-4
END = "<|end|>"
SIZES: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 6,
                         "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}  # fmt: skip


def yarn(**further: Any) -> dict[str, Any]:
    return {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL_LEN, **further}


def longrope(pairs: int, **further: Any) -> dict[str, Any]:
    short, long = [[round(first + step * pair, 3) for pair in range(pairs)] for first, step in ((1.0, 0.1), (1.5, 0.9))]
    keys = {"rope_type": "longrope", "short_factor": short, "long_factor": long}
    return {**keys, "original_max_position_embeddings": ORIGINAL_LEN, **further}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": ORIGINAL_LEN}  # fmt: skip
SCALINGS: dict[str, dict[str, Any]] = {
    "none": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": LLAMA3,
    "yarn": yarn(),
    "yarn, attention_factor": yarn(attention_factor=1.3),
    "yarn, mscale": yarn(mscale=2.0, mscale_all_dim=0.7),
    "yarn, betas, no truncation": yarn(beta_fast=8.0, beta_slow=0.5, truncate=False),
}


@dataclass(frozen=True)
class Case:
    """A model to draw: its class, its name in GGUF, its rotary scaling, and what else sets it apart."""

    name: str
    gguf_name: str
    scaling: str = "none"
    variant: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    rope: dict[str, Any] | None = None

    def config(self, vocabulary_len: int) -> Any:
        rope = {**(self.rope or SCALINGS[self.scaling]), "rope_theta": 10_000.0}
        keys = {**SIZES, "vocab_size": vocabulary_len, "rope_parameters": rope, "pad_token_id": None, "bos_token_id": None,
                "eos_token_id": vocabulary_len - 1, **self.keys}  # fmt: skip
        return getattr(transformers, f"{self.name}Config")(**keys)


def cases() -> list[Case]:
    wide = {"head_dim": 16}
    rows = [("Llama", "llama", wide), ("Mistral", "llama", {**wide, "sliding_window": None}), ("Qwen2", "qwen2", {}),
            ("Qwen3", "qwen3", wide), ("Olmo2", "olmo2", {})]  # fmt: skip
    found = [Case(name, row, scaling, "", keys) for name, row, keys in rows for scaling in SCALINGS]
    phi3: dict[str, Any] = {"original_max_position_embeddings": ORIGINAL_LEN}
    part = {"partial_rotary_factor": 0.75}
    found += [
        Case("Phi3", "phi3", "none", "", phi3),
        Case("Phi3", "phi3", "longrope", "", phi3, longrope(4)),
        Case("Phi3", "phi3", "longrope, attention_factor", "", phi3, longrope(4, attention_factor=1.2)),
        Case("Phi3", "phi3", "none", "rotates 3/4", {**phi3, **part}, {**SCALINGS["none"], **part}),
        Case("Phi3", "phi3", "longrope", "rotates 3/4", {**phi3, **part}, {**longrope(3), **part}),
        Case("Phi3", "phi3", "none", "tied", {**phi3, "tie_word_embeddings": True}),
    ]
    for name, row, keys in rows:
        found.append(Case(name, row, "none", "tied", {**keys, "tie_word_embeddings": True}))
        found.append(Case(name, row, "none", "one KV head", {**keys, "num_key_value_heads": 1}))
        found.append(Case(name, row, "none", "a KV head per query head", {**keys, "num_key_value_heads": 6}))
    biased = {"attention_bias": True}
    found.append(Case("Llama", "llama", "none", "biases", {**wide, **biased, "mlp_bias": True}))
    found.append(Case("Qwen3", "qwen3", "none", "biases", {**wide, **biased}))
    found.append(Case("Olmo2", "olmo2", "none", "biases", biased))
    return found


def draw(case: Case, vocabulary_len: int) -> Any:
    """A model with random weights, wide enough that attention is far from uniform."""
    torch.manual_seed(len(case.name) + len(case.scaling))
    model = getattr(transformers, f"{case.name}ForCausalLM")(case.config(vocabulary_len)).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name else 0.0
            parameter.copy_(centre + (torch.rand(parameter.shape) - 0.5) * 0.6)
    return model


def reference(model: Any, ids: list[int]) -> tuple[dict[int, list[np.ndarray]], np.ndarray]:
    """What the attention of each layer receives, and the logits."""
    seen: dict[int, list[np.ndarray]] = {}

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> Any:
        seen[module.layer_idx] = [tensor[0].numpy().copy() for tensor in (query, key, value)]
        return eager_attention_forward(module, query, key, value, mask, scaling=scaling, dropout=0.0)

    AttentionInterface.register("seen", attention)
    AttentionMaskInterface.register("seen", eager_mask)
    model.set_attn_implementation("seen")
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return seen, logits


class Laprox:
    """The programs under test, and a folder for their files."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder

    def capture(self, model: Path, text: Path, count: int, window: int) -> Path | None:
        """A dump; None if the text has fewer tokens."""
        dump = self.folder / "dump"
        shutil.rmtree(dump, ignore_errors=True)
        command = ["capture", "--model", model, "--text", text, "--context", count, "--window", window, "--future", 0, "--out", dump]
        return dump if run(self.binaries / "laprox", *command, unless=f"expected at least {count} tokens") else None

    def activations(self, model: Path, text: Path, count: int) -> dict[int, list[np.ndarray]]:
        dump = self.capture(model, text, count, window=count)
        assert dump is not None, "the text is long enough"
        layers = json.loads((dump / "manifest.json").read_text())["layers"]
        return {n: [np.load(dump / text.stem / f"layer_{n:03}.{x}.npy") for x in "qkv"] for n in layers}

    def logits(self, model: Path, text: Path, count: int) -> np.ndarray:
        run(self.binaries / "examples/logits", model, text, count, self.folder / "logits.npy")
        return np.load(self.folder / "logits.npy")

    def tokens(self, model: Path, text: Path, count: int) -> list[int] | None:
        """The ids of a text of exactly that many tokens; None if it has another number of them."""
        dump = self.capture(model, text, count, window=1)
        if dump is None or self.capture(model, text, count + 1, window=1):
            return None
        self.capture(model, text, count, window=1)
        return np.load(dump / text.stem / "tokens.npy").tolist()


def run(*command: object, unless: str | None = None) -> bool:
    """Runs a command, which may only fail with this message."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode and not (unless and unless in done.stderr):
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.returncode == 0


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest magnitude; infinite for another shape."""
    if found.shape != expected.shape:
        return math.inf
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# The model's files: a snapshot, and GGUF as llama.cpp's converter writes it.


def byte_tokenizer() -> Tokenizer:
    """A token per byte, one of two letters, because the writer leaves out an empty list of merges, and one that ends a text."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer


def save_snapshot(folder: Path, model: Any, tokenizer: Tokenizer) -> Path:
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    return folder


def expressible(case: Case) -> bool:
    """Whether GGUF has the keys of the scaling."""
    return case.scaling in ("none", "linear", "yarn") or case.name == "Phi3" or (case.scaling, case.name) == ("llama3", "Llama")


def save_gguf(path: Path, case: Case, model: Any, add_vocabulary: Callable[[gguf.GGUFWriter], None]) -> Path:
    config, writer = model.config, gguf.GGUFWriter(path, case.gguf_name)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    add_rotary(writer, case, config, head_dim)
    add_vocabulary(writer)
    names = gguf.get_tensor_name_map(writer_arch(case), config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        values = tensor.numpy()
        permuted = {"q_proj": heads, "k_proj": kv_heads}.get(name.split(".")[-2])
        if permuted and case.gguf_name == "llama":
            halves = values.reshape(permuted, 2, len(values) // permuted // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(stored, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def writer_arch(case: Case) -> gguf.MODEL_ARCH:
    return next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == case.gguf_name)


def add_rotary(writer: gguf.GGUFWriter, case: Case, config: Any, head_dim: int) -> None:
    rope = config.rope_parameters
    rotary_dim = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(rotary_dim)
    kind = rope["rope_type"]
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(ORIGINAL_LEN)
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, rotary_dim))
    if kind == "longrope":
        ratio = config.max_position_embeddings / ORIGINAL_LEN
        inferred = math.sqrt(1 + math.log(ratio) / math.log(ORIGINAL_LEN))
        writer.add_rope_scaling_attn_factors(rope.get("attention_factor") or inferred)
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))


def llama3_divisors(rope: dict[str, Any], rotary_dim: int) -> np.ndarray:
    """As the converter computes them."""
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    divisors = []
    for channel in range(0, rotary_dim, 2):
        wave_len = 2 * math.pi * rope["rope_theta"] ** (channel / rotary_dim)
        smooth = min(max((ORIGINAL_LEN / wave_len - low) / (high - low), 0.0), 1.0)
        divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


def add_bpe(writer: gguf.GGUFWriter, tokenizer: Tokenizer, rules: str) -> None:
    held = json.loads(tokenizer.to_str())
    special = {token["id"] for token in held["added_tokens"]}
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rules)
    writer.add_token_list(tokens)
    kinds = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL)
    writer.add_token_types([kinds[0] if number in special else kinds[1] for number in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in held["model"]["merges"]])
    writer.add_bos_token_id(vocabulary[END])
    writer.add_eos_token_id(vocabulary[END])
    writer.add_add_bos_token(False)


def compare_activations(laprox: Laprox) -> float:
    """Prints a line per class and form, a column per scaling, over all variants; returns the largest difference."""
    tokenizer, text = byte_tokenizer(), laprox.folder / "text.txt"
    text.write_text("".join(chr(32 + 7 * n * n % 90) for n in range(max(LENGTHS))))
    figures: dict[tuple[str, str], dict[str, list[float]]] = {}
    for case in cases():
        model = draw(case, tokenizer.get_vocab_size())
        folder = laprox.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        forms = {"snapshot": save_snapshot(folder, model, tokenizer)}
        if expressible(case):
            forms["GGUF"] = save_gguf(laprox.folder / "model.gguf", case, model, lambda w: add_bpe(w, tokenizer, "gpt-2"))
        references = {n: reference(model, tokenizer.encode(text.read_text()).ids[:n]) for n in LENGTHS}
        for form, path in forms.items():
            worst = figures.setdefault((case.name, form), {}).setdefault(case.scaling, [0.0, 0.0])
            for count, (expected, logits) in references.items():
                for layer, tensors in laprox.activations(path, text, count).items():
                    worst[0] = max(worst[0], *map(difference, tensors, expected[layer]))
                worst[1] = max(worst[1], difference(laprox.logits(path, text, count), logits))
            print(f"{case.name}, {case.scaling}, {case.variant or 'plain'}, {form}", file=sys.stderr, flush=True)
    scalings = list(dict.fromkeys(case.scaling for case in cases()))
    print("| class | form | " + " | ".join(scalings) + " |\n|---|---|" + "---|" * len(scalings))
    for (name, form), row in figures.items():
        cells = [" / ".join(f"{figure:.0e}" for figure in row[scaling]) if scaling in row else "-" for scaling in scalings]
        print(f"| {name} | {form} | " + " | ".join(cells) + " |")
    return max(figure for row in figures.values() for pair in row.values() for figure in pair)


# Tokens.

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s%s"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def cased(contractions: str, digits: str) -> str:
    return "|".join((CASED % ("*", "+", contractions), CASED % ("+", "*", contractions), digits, REST))


# The regular expressions of the models' own tokenizer.json, by GGUF's name for them; whether merges are ignored; the normaliser.
RULES: dict[str, tuple[list[str], bool, Any]] = {
    "gpt-2": ([GPT2], False, None),
    "smollm": ([r"\p{N}", GPT2], False, None),
    "qwen2": ([CL100K.replace("{1,3}", "")], False, normalizers.NFC()),
    "llama-bpe": ([CL100K], True, None),
    "dbrx": ([CL100K], False, None),
    "tekken": ([cased("", r"\p{N}")], True, None),
    "gpt-4o": ([cased(CONTRACTIONS + "?", r"\p{N}{1,3}")], False, None),
}
CHINESE = "北京是中华人民共和国的首都。今天天气很好,我们去公园散步吧!人工智能正在改变世界,语言模型可以写诗、翻译和回答问题。鯨は海に住む哺乳類です。"
PAGES: dict[str, Callable[[], str]] = {
    "English": lambda: (Path(__file__).parent / "README.md").read_text()[:6000],
    "code": lambda: (Path(__file__).parent / "src/model/forward.rs").read_text()[:6000],
    "Chinese": lambda: "\n".join(CHINESE[n % 40 :] + CHINESE[: n % 40] for n in range(12)),
    "emoji": lambda: "".join(f"{a}{b} naïve e\u0301 👩‍👩‍👧 {a}\n" for a, b in zip("😀🐋🎉❤️👍🏽🇩🇪" * 9, "🚀✨🌍" * 27, strict=False)),
    "digits": lambda: " ".join(f"{n**3} 0x{n:04x} {n / 7:.5f} ١٢٣ ⅷ" for n in range(90)),
    "spaces": lambda: "   leading\n\n\n" + "\n".join(" " * (n % 9) + "a" + " " * (n % 5) + "B  \t\r\n" + "\t" * (n % 3) for n in range(90)),
    "special tokens": lambda: f"{END}a{END}{END} b {END}\n<|en d|>{END}'S".join(["It's DON'T we'LL HTTPServer camelCase"] * 9),
}


def train(patterns: list[str], ignores_merges: bool, normalizer: Any, corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(END, normalized=False, special=True)])
    return tokenizer


def train_sentencepiece(folder: Path, corpus: list[str]) -> Any:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for page in corpus for line in page.splitlines() if line), model_prefix=str(folder / "spm"),
        model_type="bpe", vocab_size=2000, byte_fallback=True, normalization_rule_name="identity", character_coverage=0.99,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2,
        hard_vocab_limit=False, control_symbols=[END])  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))


def add_sentencepiece(writer: gguf.GGUFWriter, spm: Any) -> None:
    numbers = range(spm.vocab_size())
    kinds = [(spm.is_unknown, gguf.TokenType.UNKNOWN), (spm.is_control, gguf.TokenType.CONTROL), (spm.is_byte, gguf.TokenType.BYTE)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([spm.id_to_piece(number) for number in numbers])
    writer.add_token_scores([spm.get_score(number) for number in numbers])
    writer.add_token_types([next((kind for holds, kind in kinds if holds(n)), gguf.TokenType.NORMAL) for n in numbers])
    writer.add_bos_token_id(spm.bos_id())
    writer.add_eos_token_id(spm.eos_id())


def compare_tokens(laprox: Laprox) -> bool:
    """Prints a line per tokenizer and form; returns whether all ids are equal."""
    pages = {name: page() for name, page in PAGES.items()}
    corpus = list(pages.values())
    print("\n| rules | form | " + " | ".join(pages) + " |\n|---|---|" + "---|" * len(pages))
    case, all_equal = Case("Llama", "llama", keys={"max_position_embeddings": 1 << 16, "tie_word_embeddings": True}), True
    for rules, description in RULES.items():
        tokenizer = train(*description, corpus)
        model = draw(case, tokenizer.get_vocab_size())
        folder, path = laprox.folder / "model", laprox.folder / "model.gguf"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        save_snapshot(folder, model, tokenizer)
        save_gguf(path, case, model, lambda writer: add_bpe(writer, tokenizer, rules))
        own = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        expected = {name: own(page)["input_ids"] for name, page in pages.items()}
        for form, place in (("snapshot", folder), ("GGUF", path)):
            all_equal &= compare_pages(laprox, f"{rules} | {form}", place, pages, expected)
    spm, path = train_sentencepiece(laprox.folder, corpus), laprox.folder / "model.gguf"
    save_gguf(path, case, draw(case, spm.vocab_size()), lambda writer: add_sentencepiece(writer, spm))
    # SentencePiece itself recognises no special token in a text.
    expected = {name: [spm.bos_id(), *spm.encode(page)] for name, page in pages.items() if name != "special tokens"}
    return compare_pages(laprox, "SentencePiece | GGUF", path, pages, expected) and all_equal


def compare_pages(laprox: Laprox, name: str, model: Path, pages: dict[str, str], expected: dict[str, list[int]]) -> bool:
    text, cells, all_equal = laprox.folder / "text.txt", [], True
    for page, content in pages.items():
        if page not in expected:
            cells.append("-")
            continue
        text.write_bytes(content.encode())
        equal = laprox.tokens(model, text, len(expected[page])) == expected[page]
        cells.append(f"{len(expected[page])} equal" if equal else "DIFFER")
        all_equal &= equal
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return all_equal


def main() -> int:
    parser = argparse.ArgumentParser(description="Holds laprox capture against transformers.")
    parser.add_argument("binaries", type=Path, help="the folder of the built programs, such as target/release")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        laprox = Laprox(parser.parse_args().binaries.absolute(), Path(folder))
        worst = compare_activations(laprox)
        all_equal = compare_tokens(laprox)
    print(f"\nlargest difference {worst:.1e}, token ids {'equal' if all_equal else 'differ'}")
    return 0 if worst < MOST and all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
