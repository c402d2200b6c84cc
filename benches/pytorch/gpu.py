#!/usr/bin/env python3
"""Steps on a GPU, this project's beside PyTorch's with the same work: seconds of the clock and peak memory of the device.

    gpu.py --program target/cuda/release/alambic-step --out OUT [--only TEXT] [--seconds 400]

Each side is a process of its own that is asked for blocks of steps (`alambic-step`, `peer.py`). A block of each takes turns, the
first of each is not counted, and the median of the others is told. OUT gets `gpu.json` and `gpu.md`, written anew after every row: a
row that fails says why and costs only itself.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BLOCKS = 4

# Network, pixels a side, images in a batch, steps of a block.
SIZES = [
    ("resnet18", 32, 100, 20),
    ("resnet18", 64, 100, 10),
    ("resnet18-imagenet", 224, 100, 10),
    ("resnet50-imagenet", 224, 100, 5),
]
WORKS = ["recover", "training", "relabel"]
# Ours, and PyTorch's at the same precision: as the authors wrote it, and the fastest it has.
PRECISIONS = {
    "f32": [("eager", False)],
    "tf32": [("eager", True), ("compiled", True)],
    "bf16": [("bf16", True), ("bf16-compiled", True)],
}


def ordered():
    """All rows, those first on which it depends how fast the project says it is: there may be no time for the others."""
    rows = [(size, work, precision) for size in SIZES for work in WORKS for precision in PRECISIONS]
    said = [("recover", "f32"), ("recover", "tf32"), ("training", "bf16")]
    return sorted(rows, key=lambda row: not (row[0][:2] in [SIZES[0][:2], SIZES[2][:2]] and row[1:] in said))


class Side:
    """A process that does steps on demand."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            said = self.process.stderr.read().strip().splitlines() or ["it ended without a word"]
            # Python's last line may be a hint; what went wrong stands where the exception is named.
            named = [line for line in said if "Error" in line or "Exception" in line or "Unsupported" in line]
            raise RuntimeError((named or said)[-1][:300])
        return json.loads(line)

    def block(self, steps):
        self.process.stdin.write(f"go {steps}\n")
        self.process.stdin.flush()
        return self.read()

    def end(self):
        self.process.kill()
        self.process.wait()


def commands(program, device, work, network, side, batch, precision, forms):
    common = ["--network", network, "--batch", str(batch), "--side", str(side)]
    yield "alambic", [str(program), work, *common, "--device", device, "--precision", precision]
    for form, tf32 in forms:
        command = [sys.executable, str(HERE / "peer.py"), work, *common, "--device", device.split(":")[0], "--form", form]
        yield f"torch {form}", command + ["--tf32"] * tf32


def measure(command_of, steps):
    """Milliseconds of a step and peak bytes of each side, or why there are none."""
    sides, found = {}, {}
    for name, command in command_of:
        try:
            sides[name] = Side(command)
            # Compiles, plans and fills caches.
            sides[name].block(steps)
        except Exception as error:
            found[name] = {"error": str(error)}
            if name in sides:
                sides.pop(name).end()
    blocks = {name: [] for name in sides}
    try:
        for _ in range(BLOCKS):
            for name, side in list(sides.items()):
                try:
                    blocks[name].append(side.block(steps))
                except Exception as error:
                    found[name] = {"error": str(error)}
                    sides.pop(name).end()
    finally:
        for side in sides.values():
            side.end()
    for name in sides:
        done = blocks[name]
        found[name] = {
            "ms": 1000 * statistics.median(b["wall_secs"] / b["steps"] for b in done),
            "peak_bytes": max(b["device_peak_bytes"] or 0 for b in done),
        }
    return found


def table(rows):
    lines = ["| step | precision | side | ms | peak GiB | against ours |", "|---|---|---|---|---|---|"]
    for row in rows:
        title = f"{row['work']}, {row['network']}, {row['side']} px, {row['batch']} images"
        ours = row["sides"].get("alambic", {}).get("ms")
        for name, side in row["sides"].items():
            if "error" in side:
                cells = [side["error"], "", ""]
            else:
                ratio = f"{side['ms'] / ours:.2f}" if ours else ""
                cells = [f"{side['ms']:.2f}", f"{side['peak_bytes'] / 2**30:.2f}", ratio]
            lines.append(f"| {title} | {row['precision']} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--seconds", type=float, default=400, help="no row begins after so many")
    parser.add_argument("--device", default="cuda:0", help="cuda:N; cpu shows that all of it works where there is no GPU")
    parser.add_argument("--batch", type=int, help="images in a batch, in place of each row's")
    parser.add_argument("--steps", type=int, help="steps of a block, in place of each row's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    began, rows = time.monotonic(), []
    for (network, side, batch, steps), work, precision in ordered():
        batch, steps = args.batch or batch, args.steps or steps
        name = f"{work} {network} {side} {precision}"
        if args.only not in name:
            continue
        if time.monotonic() - began > args.seconds:
            print(f"no time left for {name}", file=sys.stderr)
            continue
        sides = measure(commands(args.program, args.device, work, network, side, batch, precision, PRECISIONS[precision]), steps)
        rows.append({"work": work, "network": network, "side": side, "batch": batch, "precision": precision, "sides": sides})
        print(name, json.dumps(sides), flush=True)
        (args.out / "gpu.json").write_text(json.dumps(rows, indent=1))
        (args.out / "gpu.md").write_text(table(rows))


if __name__ == "__main__":
    main()
