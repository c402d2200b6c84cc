#!/usr/bin/env bash
# Everything that needs a GPU, in at most 9 minutes: the tests on it, then steps beside PyTorch's. Results go into OUT.
#
#   benches/gpu.sh OUT [tests] [steps] [recipe]      # without a part: tests and steps
#
# Each part runs alone as well, and one that fails costs only itself. The programs are looked for in GPU_BIN (target/cuda/release by
# default): alambic, alambic-step, the plugins, and in GPU_BIN/tests the test programs (`benches/gpu_pack.sh` gathers them all).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?where the results go}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
bin=$(cd "${GPU_BIN:-target/cuda/release}" && pwd) || exit 1
failed=0

part_tests() { # every operation by finite differences, PyTorch's values, second order, plugins' kernels: on the GPU
    local status=0 program end=$((SECONDS + 200))
    for program in "$bin"/tests/*; do
        case $(basename "$program") in
            alambic) set -- derivatives_agree values_on_a_gpu ;; # the rest of them computes on the CPU
            *) set -- ;;
        esac
        echo "== $(basename "$program")"
        ALAMBIC_TEST_DEVICE=cuda:0 ALAMBIC_TEST_PLUGINS=$bin timeout $((end > SECONDS ? end - SECONDS : 1)) host/cuda/run.sh "$program" "$@" --test-threads 1 ||
            status=1
    done
    return $status
}

part_steps() {
    timeout 320 host/cuda/run.sh python3 benches/pytorch/gpu.py --program "$bin/alambic-step" --out "$out" --seconds 260
}

part_recipe() { # ten minutes of a recipe; again, and it goes on
    timeout 500 host/cuda/run.sh "$bin/alambic" run "${RECIPE:-experiments/gpu/gpu-sre2l_cifar10_resnet18_ipc10.toml}" --out "$out/run"
}

[ $# -gt 0 ] || set -- tests steps
for part in "$@"; do
    "part_$part" >"$out/$part.log" 2>&1 || failed=1
    echo "$part: $(grep . "$out/$part.log" | tail -n 1)"
done
exit $failed
