"""Scoring from torch tensors on the CPU, beside the command on a dump of the same numbers in memory.

    python examples/speed.py --folder /dev/shm

It needs `laprox` and torch, and twice the memory of the layers: 32 of Llama-3.1-8B's shape with 8192 tokens take 2.2 GB in f16. The command
is timed as a process, from start to end; both write or return the scores of all layers. Runs are in turns, and the medians count.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import laprox

SHAPE = ["--heads", 32, "--kv-heads", 8, "--head-dim", 128, "--hidden-size", 4096]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=lambda path: Path(path).resolve(), required=True, help="a folder in memory")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        dump, out = Path(folder) / "dump", Path(folder) / "scores.npy"
        sizes = ["--layers", arguments.layers, "--context", arguments.context, "--window", 32, "--future", 0, "--precision", "f16"]
        command("synth", *SHAPE, *sizes, "--out", dump)
        layers = [tensors(layer) for layer in laprox.Dump(dump)[0].layers()]
        times = {"command": [], "python": []}
        for _ in range(arguments.runs):
            start = time.perf_counter()
            command("score", dump, "--force", "--out", out)
            middle = time.perf_counter()
            scores = laprox.score(layers)
            times["command"].append(middle - start)
            times["python"].append(time.perf_counter() - middle)
        assert np.array_equal(scores, np.load(out)), "the scores differ"
    medians = {name: statistics.median(runs) for name, runs in times.items()}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("laprox", "torch", "numpy"))
    print(f"{arguments.layers} layers, n = {arguments.context}; {versions}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| | median s | all runs, s |\n| --- | --- | --- |")
    for name, runs in times.items():
        print(f"| {name} | {medians[name]:.2f} | {', '.join(f'{run:.2f}' for run in runs)} |")
    print(f"\npython / command: {medians['python'] / medians['command']:.2f}")


def tensors(layer):
    """The arrays of a layer as tensors in memory of their own."""
    return {key: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value for key, value in layer.items()}


def command(*arguments):
    """Runs `laprox`, away from the source, which would be imported in place of the wheel."""
    call, away = [sys.executable, "-m", "laprox", *map(str, arguments)], tempfile.gettempdir()
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=away)


if __name__ == "__main__":
    main()
