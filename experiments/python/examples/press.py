"""LaProx in kvpress's pipeline: compress a context, ask questions about it. Needs kvpress 0.5.

    python press.py MODEL --text chapter.txt --question "Who tells the story?"

MODEL is a folder or a name that `AutoModelForCausalLM.from_pretrained` loads.
"""

import argparse
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from laprox.kvpress import LaProxPress, PolicyPress

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--gguf-file")
parser.add_argument("--text", type=Path, required=True)
parser.add_argument("--question", default="Who tells the story?")
parser.add_argument("--compression-ratio", type=float, default=0.8)
arguments = parser.parse_args()

named = {"gguf_file": arguments.gguf_file} if arguments.gguf_file else {}
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="auto", **named)
tokenizer = AutoTokenizer.from_pretrained(arguments.model, **named)
answer = pipeline("kv-press-text-generation", model=model, tokenizer=tokenizer)
for press in (
    LaProxPress(compression_ratio=arguments.compression_ratio),
    PolicyPress("snapkv:allocation=model", compression_ratio=arguments.compression_ratio),
):
    said = answer(arguments.text.read_text(), question=arguments.question, press=press, max_new_tokens=32)
    print(f"{press.policy}, {press.plan.counts.mean():.0f} of {press.plan.context} per KV head: {said['answer']}")
