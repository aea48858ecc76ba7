#!/usr/bin/env bash
# Everything that only a GPU can show, in one go: the tests of the stages on the real driver, the sanitizers, the times.
#
#   gpu/verify_on_device.sh pack      here, where there is Rust: builds the binaries into gpu/device/
#   gpu/verify_on_device.sh run       there, in a copy of the repository with gpu/device/: builds nothing, needs no Rust
#
# `run` also works under the interpreter, without a device: LAPROX_REQUIRE_GPU=0 LAPROX_GPU_SIM=1 gpu/verify_on_device.sh run
#
# On a device it needs a CUDA driver 550 or newer; for the sanitizers compute-sanitizer, and for the rate of bf16 products a python3
# with torch. It writes gpu/results/DEVICE.md and ends with 0 when all tests pass and the sanitizers find nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
binaries=gpu/device

pack() {
    rm -rf "$binaries" && mkdir -p "$binaries"
    local built name path
    built=$( { cargo test --release -p laprox-gpu --no-run --test stages --test ptx --test conformance --test resident && cargo bench -p laprox-gpu --no-run; } 2>&1)
    while read -r name path; do
        cp "$path" "$binaries/$name" && strip "$binaries/$name"
    done < <(sed -nE 's#.*Executable (tests|benches)/([a-z]+)[^(]*\((.*)\)#\1-\2 \3#p' <<<"$built")
    cp target/release/deps/liblaprox_ptxsim.so "$binaries/"
    git describe --always --dirty >"$binaries/commit"
    ls -l "$binaries"
}

run() {
    # Where the tests look for the sources and the committed dump.
    export CARGO_MANIFEST_DIR=gpu
    [ -d "$binaries" ] || { echo "$binaries is missing: pack it where there is Rust, and bring it along" >&2 && exit 3; }
    export LAPROX_REQUIRE_GPU=${LAPROX_REQUIRE_GPU:-1}
    local failed=0 report device
    step() { printf '\n== %s\n' "$*"; "$@" || failed=1; }

    device=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1 || true)
    printf 'device: %s\n' "${device:-none}"
    step "$binaries/tests-ptx"
    step "$binaries/tests-stages"
    step "$binaries/tests-conformance"
    step "$binaries/tests-resident"
    LAPROX_TFLOPS=${LAPROX_TFLOPS:-$(product_rate || true)}
    export LAPROX_TFLOPS
    report=/dev/null
    [ -n "$device" ] && report=gpu/results/$(tr -cs 'A-Za-z0-9' '-' <<<"${device%%,*}" | sed 's/^-*//; s/-*$//').md
    {
        printf '# %s\n\ndriver %s, %s, `gpu/verify_on_device.sh run`, commit %s\n\n' "${device%%,*}" "${device##*, }" \
            "$(date -u +%F)" "$(cat "$binaries/commit")"
        "$binaries/benches-stages" || failed=1
    } | tee "$report"
    if [ -n "${OUT:-}" ] && [ -n "$device" ]; then cp "$report" "$OUT/"; fi

    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck initcheck; do
            step compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 20 "$binaries/tests-stages" --test-threads 1 \
                attend:: project:: score:: select:: evaluate:: gram::products
        done
    else
        echo "compute-sanitizer is missing: not run" && failed=1
    fi
    exit "$failed"
}

# The rate of an 8192 x 8192 x 8192 product of random bf16 numbers, in TFLOP/s.
product_rate() {
    python3 - <<'PYTHON' 2>/dev/null
import torch
a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
for _ in range(3):
    a @ b
start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
start.record()
for _ in range(10):
    a @ b
end.record()
torch.cuda.synchronize()
print(round(2 * 8192**3 * 10 / (start.elapsed_time(end) / 1e3) / 1e12))
PYTHON
}

case "${1:-}" in
    pack) pack ;;
    run) run ;;
    *) echo "usage: $0 pack|run" >&2 && exit 2 ;;
esac
