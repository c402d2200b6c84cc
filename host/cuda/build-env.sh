#!/usr/bin/env bash
# Builds with the feature `cuda` on a machine without an NVIDIA toolkit, driver or GPU. Meant to be sourced:
#
#   source host/cuda/build-env.sh
#   cargo_cuda build --release --features alambic/cuda
#
# The toolkit comes from PyPI, pinned below, and lies under target/cuda-toolchain (ALAMBIC_CUDA_TOOLCHAIN names another folder);
# the program is built in target/cuda. What is changed in the sources of two dependencies, and why, stands in patch_sources.py.
# Needs bash, cargo, a C++ compiler and python3 with pip. The first call takes a few minutes, later ones none.

# A driver compiles code for its GPU from PTX that is no newer than itself: CUDA 13.0 runs from driver 580 on.
_alambic_cuda_packages=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-nvrtc==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
)

_alambic_cuda_env() {
    local root here stamp toolkit
    root=$(dirname "$(cargo locate-project --workspace --message-format plain)") || return 1
    here=$root/host/cuda
    export ALAMBIC_CUDA_TOOLCHAIN=${ALAMBIC_CUDA_TOOLCHAIN:-$root/target/cuda-toolchain}
    toolkit=$ALAMBIC_CUDA_TOOLCHAIN/python/nvidia/cu13
    mkdir -p "$ALAMBIC_CUDA_TOOLCHAIN/link"
    if [ "$(cat "$ALAMBIC_CUDA_TOOLCHAIN/packages" 2>/dev/null)" != "${_alambic_cuda_packages[*]}" ]; then
        rm -rf "$ALAMBIC_CUDA_TOOLCHAIN/python"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
            --target "$ALAMBIC_CUDA_TOOLCHAIN/python" "${_alambic_cuda_packages[@]}" || return 1
        chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
        ln -sfn lib "$toolkit/lib64"
        # The CUDA runtime is linked statically, so that the program starts where there is none.
        ln -sfn "$toolkit/lib/libcudart_static.a" "$ALAMBIC_CUDA_TOOLCHAIN/link/libcudart.a"
        echo "${_alambic_cuda_packages[*]}" >"$ALAMBIC_CUDA_TOOLCHAIN/packages"
    fi
    export CUDA_HOME=$toolkit NVCC=$toolkit/bin/nvcc CUDARC_CUDA_VERSION=13000
    export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
    case ":$PATH:" in *":$toolkit/bin:"*) ;; *) export PATH=$toolkit/bin:$PATH ;; esac
    # NVRTC is opened at run time, and opens a second library by its name.
    case ":${LD_LIBRARY_PATH:-}:" in
        *":$toolkit/lib:"*) ;;
        *) export LD_LIBRARY_PATH=$toolkit/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
    esac
    stamp=$(cat "$root/Cargo.lock" "$here/patch_sources.py" | sha256sum)
    if [ "$(cat "$ALAMBIC_CUDA_TOOLCHAIN/sources.stamp" 2>/dev/null)" != "$stamp" ]; then
        rm -rf "$ALAMBIC_CUDA_TOOLCHAIN/sources"
        (cd "$root" && cargo vendor --quiet --locked --versioned-dirs "$ALAMBIC_CUDA_TOOLCHAIN/sources" >/dev/null) || return 1
        python3 "$here/patch_sources.py" "$ALAMBIC_CUDA_TOOLCHAIN/sources" || return 1
        echo "$stamp" >"$ALAMBIC_CUDA_TOOLCHAIN/sources.stamp"
    fi
}

_alambic_cuda_env || {
    echo "host/cuda/build-env.sh: failed" >&2
    return 1 2>/dev/null || exit 1
}

# cargo with the patched sources and a target folder of its own.
cargo_cuda() {
    # After the subcommand: clippy hands its arguments on, and nothing that stands before it.
    CARGO_TARGET_DIR=$(dirname "$ALAMBIC_CUDA_TOOLCHAIN")/cuda cargo "$1" \
        --config 'source.crates-io.replace-with="patched"' \
        --config "source.patched.directory=\"$ALAMBIC_CUDA_TOOLCHAIN/sources\"" --locked --offline "${@:2}"
}
