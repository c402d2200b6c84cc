#!/usr/bin/env bash
# Runs a program of a build with the feature `cuda` where a GPU is: finds the NVIDIA libraries that it opens (the driver aside,
# which the system knows), in a CUDA toolkit or in the packages that PyTorch's wheels bring.
#
#   host/cuda/run.sh target/cuda/release/alambic run experiments/gpu/...
set -euo pipefail
packages=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
found=
for folder in ${packages:+"$packages"/*/lib} /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
    # The libcuda of a folder of stubs is a dummy.
    case $folder in */stubs*) continue ;; esac
    if [ -d "$folder" ]; then found=$found${found:+:}$folder; fi
done
export LD_LIBRARY_PATH=$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# What the driver compiles from PTX is kept, so that only the first run waits for it.
export CUDA_CACHE_MAXSIZE=${CUDA_CACHE_MAXSIZE:-1073741824}
exec "$@"
