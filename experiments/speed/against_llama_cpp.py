"""Measures the model runner beside llama.cpp on the same GGUF file: one process each, in turn, medians of all runs.

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \\
        pip install llama-cpp-python
    cargo build --release -p laprox-experiments --example runner_speed
    python against_llama_cpp.py ../../target/release/examples/runner_speed M.gguf --prompt 2048 --decode 64

The two programs alternate, because shared machines change their speed. llama.cpp gets the prompt in batches of 512.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

PROGRAMS = ("laprox", "llama.cpp")


def llama_cpp(arguments: argparse.Namespace) -> dict[str, float]:
    """Tokens per second of one run, in this process."""
    from llama_cpp import Llama

    start = time.perf_counter()
    model = Llama(
        arguments.model,
        n_ctx=arguments.prompt + arguments.decode + 8,
        n_batch=512,
        n_ubatch=512,
        n_threads=arguments.threads,
        n_threads_batch=arguments.threads,
        verbose=False,
    )
    loaded = time.perf_counter()
    model.eval([(index * 7919 + 13) % 1000 + 100 for index in range(arguments.prompt)])
    prefilled = time.perf_counter()
    for index in range(arguments.decode):
        model.eval([index + 100])
    done = time.perf_counter()
    return {
        "load_seconds": loaded - start,
        "prefill": arguments.prompt / (prefilled - loaded),
        "decode_one": arguments.decode / (done - prefilled),
        "resident_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run(program: str, arguments: argparse.Namespace, options: list[str]) -> dict[str, float]:
    sizes = [f"--{name}={getattr(arguments, name)}" for name in ("prompt", "decode", "threads")]
    if program == "laprox":
        command = [arguments.runner, arguments.model, *sizes, *options]
    else:
        command = [sys.executable, __file__, "--one", arguments.runner, arguments.model, *sizes]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other options, as --caches=0, go to the runner."
    )
    parser.add_argument("runner")
    parser.add_argument("model")
    parser.add_argument("--prompt", type=int, default=2048)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments, options = parser.parse_known_args()
    if arguments.one:
        print(json.dumps(llama_cpp(arguments)))
        return
    found = {program: [] for program in PROGRAMS}
    for _ in range(arguments.runs):
        for program in PROGRAMS:
            found[program].append(run(program, arguments, options))
            print(program, json.dumps(found[program][-1]), file=sys.stderr)
    print("|  | laprox | llama.cpp | ratio, median of pairs |\n|---|---|---|---|")
    for name in found["laprox"][0]:
        ours, theirs = ([line.get(name) for line in found[program]] for program in PROGRAMS)
        cells = [f"{statistics.median(ours):.2f}"]
        if None not in theirs:
            ratio = statistics.median(one / two for one, two in zip(ours, theirs))
            cells += [f"{statistics.median(theirs):.2f}", f"{ratio:.2f}"]
        print(f"| {name} | " + " | ".join(cells + [""] * (3 - len(cells))) + " |")


if __name__ == "__main__":
    main()
