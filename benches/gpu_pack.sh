#!/usr/bin/env bash
# Builds what `benches/gpu.sh` runs and gathers it, stripped, in FOLDER: for a machine that has a GPU and no compiler.
#
#   benches/gpu_pack.sh FOLDER        # then, there: GPU_BIN=FOLDER benches/gpu.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?where the programs go}
source host/cuda/build-env.sh
cargo_cuda build --release --workspace --features alambic/cuda
rm -rf "$folder"
mkdir -p "$folder/tests"
cp target/cuda/release/alambic target/cuda/release/alambic-step target/cuda/release/*.so "$folder"
cargo_cuda test -p alambic -p alambic-engine --features alambic/cuda --lib --test reference --no-run \
    --message-format json | python3 -c '
import json, shutil, sys
for line in sys.stdin:
    made = json.loads(line) if line.startswith("{") else {}
    if made.get("executable") and made.get("profile", {}).get("test"):
        name = made["target"]["name"]
        shutil.copy(made["executable"], f"{sys.argv[1]}/tests/{name}")
' "$folder"
strip "$folder"/alambic "$folder"/alambic-step "$folder"/*.so "$folder"/tests/*
du -sh "$folder"
