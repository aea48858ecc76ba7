"""Text from an evicted cache: prefill, evict, generate. Needs torch and transformers.

    python generate.py MODEL --text chapter.txt --budget 20%

MODEL is a folder or a name that `AutoModelForCausalLM.from_pretrained` loads.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import laprox.transformers as lt

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--gguf-file")
parser.add_argument("--text", type=Path, required=True)
parser.add_argument("--policy", default="laprox")
parser.add_argument("--budget", default="20%")
arguments = parser.parse_args()

named = {"gguf_file": arguments.gguf_file} if arguments.gguf_file else {}
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="auto", **named)
tokenizer = AutoTokenizer.from_pretrained(arguments.model, **named)
ids = tokenizer(arguments.text.read_text(), return_tensors="pt").input_ids[:, :1024].to(model.device)

prefilled = lt.prefill(model, ids)
cache = lt.evict(model, prefilled.cache, prefilled.queries, arguments.policy, arguments.budget)
full = sum(2 * layer.keys.numel() * layer.keys.element_size() for layer in prefilled.cache.layers)
print(f"{cache.plan}: {cache.nbytes() / 2**20:.1f} of {full / 2**20:.1f} MiB")
first = prefilled.logits.argmax().view(1, 1)
del prefilled

# The cache has seen all of `ids`, so generation goes on from the token after them.
text = model.generate(torch.cat([ids, first], dim=1), past_key_values=cache, max_new_tokens=48, do_sample=False)
print(tokenizer.decode(text[0, ids.shape[1] :]))
