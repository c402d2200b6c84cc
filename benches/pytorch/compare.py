#!/usr/bin/env python3
"""Alambic's steps against PyTorch's on this machine: seconds of the CPU, seconds of the clock, peak memory.

Both sides are processes that live throughout and do a block of steps when told to; the blocks alternate, so that both see the same
minutes of the machine. Figures are medians over the rounds. Memory is the peak of the resident memory in a block, above what the same
process had with its libraries (for us: its plugins) loaded and no model.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import facts
import table
from networks import NETWORKS

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent.parent / "target/release/alambic-step"
OURS = "alambic"


@dataclasses.dataclass
class Subject:
    """A step that is compared."""

    work: str
    network: str
    batch: int
    side: int = 32


SUBJECTS = {
    "recover": Subject("recover", "resnet18", 32),
    "training": Subject("training", "resnet18", 32),
    "convnet-training": Subject("training", "convnet3", 64),
    "gradient-matching": Subject("gradient-matching", "convnet3", 64),
    "relabel": Subject("relabel", "resnet18", 32),
}
# Left out by default: relabelling in PyTorch is mostly the loading of images, which every script does differently.
DEFAULT = [name for name in SUBJECTS if name != "relabel"]

# Every shipped network at a size that its users meet: name, pixels a side, batch.
SIZES = [
    ("resnet18", 32, 32),
    ("resnet18", 64, 32),
    ("resnet18-imagenet", 224, 8),
    ("resnet50-imagenet", 224, 4),
    ("mobilenet-v2", 224, 8),
    ("efficientnet-b0", 224, 8),
    ("shufflenet-v2", 224, 8),
    ("densenet121", 224, 4),
    ("vit-tiny", 224, 8),
    ("bn-vit-tiny", 224, 8),
    ("vgg11", 32, 64),
    ("wrn-16-2", 32, 64),
    ("convnet3-bn", 32, 64),
    ("convnet3-bn-32", 32, 100),
    ("convnet3-bn-32", 32, 50),
    ("convnet3", 32, 64),
    ("alexnet", 32, 64),
    ("lenet", 32, 64),
    ("mlp", 32, 64),
]
# Recover pulls towards the statistics of BatchNorms, which these do not have.
WITHOUT_BATCH_NORM = ("vit-tiny", "convnet3", "alexnet", "lenet", "mlp")


def matrix():
    """Recover and training of every size, by name."""
    rows = {}
    for network, side, batch in SIZES:
        for work in ("recover", "training"):
            if work == "training" or network not in WITHOUT_BATCH_NORM:
                rows[f"{work} {network} {side} px batch {batch}"] = Subject(work, network, batch, side)
    return rows


class Side:
    """A process that does blocks of steps."""

    def __init__(self, name, command, environment):
        self.name = name
        self.blocks = []
        self.process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.base = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended with code {self.process.wait()}; its errors stand above")
        return json.loads(line)

    def go(self, steps):
        self.process.stdin.write(f"go {steps}\n")
        self.process.stdin.flush()
        return self.read()

    def record(self, steps):
        block = self.go(steps)
        self.blocks.append(
            {
                "cpu_secs": block["cpu_secs"] / steps,
                "wall_secs": block["wall_secs"] / steps,
                "peak_mib": (block["peak_kib"] - self.base["base_kib"]) / 1024,
                "value": block["value"],
            }
        )

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def median(blocks):
    return {key: statistics.median(b[key] for b in blocks) for key in ("cpu_secs", "wall_secs", "peak_mib")}


def environments(isa, threads, keep_memory):
    """What the two sides are told in environment variables: ours, PyTorch's."""
    ours = {"RAYON_NUM_THREADS": str(threads)}
    # One process to compile in: helpers would go on in the background.
    peers = {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    if isa == "avx2":
        ours["ALAMBIC_ISA"] = "avx2"
        peers |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    if keep_memory:
        # What `alambic` sets for itself: freed memory stays with the process.
        peers |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    return ours, peers


def start(options, subject, threads, form):
    """The process of a side; `form` is ours or a form of PyTorch."""
    ours, peers = environments(options.isa, threads, options.peer_keeps_memory)
    size = ["--batch", options.batch or subject.batch, "--side", subject.side]
    if options.synthetic:
        size += ["--synthetic", options.synthetic]
    if form == OURS:
        size += ["--precision", options.precision]
        return Side(form, [options.program, subject.work, "--network", NETWORKS[subject.network].ours, *size], ours)
    command = [sys.executable, HERE / "peer.py", subject.work, "--network", subject.network, *size]
    command += ["--form", form, "--threads", threads]
    if options.isa == "avx2":
        command += ["--vector-bits", 256]
    return Side(form, command, peers)


def compare(options, name, subject, threads):
    """One subject at one number of threads: all sides in turn, round after round."""
    sides, failed = [], {}
    try:
        for form in [OURS, *options.forms]:
            side = start(options, subject, threads, form)
            try:
                # The first steps compile, fill caches and make the optimizer's state.
                side.go(options.warm_up)
                sides.append(side)
            except RuntimeError as error:
                if form == OURS:
                    raise
                failed[form] = str(error)
                print(error, file=sys.stderr)
        steps = max(1, round(options.block_secs / (sides[0].go(1)["wall_secs"])))
        for at in range(options.rounds):
            # The order turns, so that nobody always follows the same neighbour.
            for i in range(len(sides)):
                sides[(at + i) % len(sides)].record(steps)
            print(".", end="", file=sys.stderr, flush=True)
    finally:
        for side in sides:
            side.end()
    print(f" {name}, {threads} thread(s)", file=sys.stderr)
    batch = options.batch or subject.batch
    return {
        "subject": name,
        **dataclasses.asdict(subject),
        "batch": batch,
        "synthetic": (options.synthetic or batch) if subject.work == "gradient-matching" else None,
        "threads": threads,
        "steps_of_a_block": steps,
        "sides": {s.name: {"median": median(s.blocks), "base": s.base, "blocks": s.blocks} for s in sides},
        "failed": failed,
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=sorted(SUBJECTS), default=DEFAULT)
    parser.add_argument("--matrix", action="store_true", help="in place of subjects: recover and training of every shipped network")
    parser.add_argument("--only", default="", help="subjects whose name holds this text")
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of threads; 1 and 2, or 2 for the matrix")
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=["eager", "compiled", "bf16", "bf16-compiled"],
        default=["eager", "compiled"],
        help="how PyTorch does it; bf16 is autocast with channels-last images, and needs AMX to be fast",
    )
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="of our layers; bf16 needs AVX512-BF16")
    parser.add_argument("--isa", choices=["native", "avx2"], default="native", help="avx2 holds both sides to AVX2")
    parser.add_argument("--peer-keeps-memory", action="store_true", help="give PyTorch's process the malloc settings of ours")
    parser.add_argument("--neighbours", type=int, default=0, help="other processes that keep a core busy meanwhile")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm-up", type=int, default=3, help="steps before anything is measured")
    parser.add_argument("--block-secs", type=float, default=2.0, help="about how long a block of ours lasts")
    parser.add_argument("--batch", type=int, help="instead of each subject's own")
    parser.add_argument("--synthetic", type=int, help="synthetic images in gradient matching; by default as many as real ones")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--json", type=Path, help="write everything here, each block included")
    options = parser.parse_args()
    if not options.program.is_file():
        parser.error(f"{options.program} is missing; make it with `cargo build --release`")
    return options


def main():
    options = parse()
    subjects = matrix() if options.matrix else {name: SUBJECTS[name] for name in options.subjects}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items() if key != "json"}
    settings["program"] = options.program.name
    result = {"machine": facts.machine(), "settings": settings, "rows": []}
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.neighbours)]
    try:
        for name, subject in subjects.items():
            if options.only not in name:
                continue
            for threads in options.threads or ([2] if options.matrix else [1, 2]):
                result["rows"].append(compare(options, name, subject, threads))
                # A matrix takes hours: what is measured is kept.
                if options.json:
                    options.json.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        for neighbour in neighbours:
            neighbour.kill()
    print(table.matrix(result) if options.matrix else table.document(result))


if __name__ == "__main__":
    main()
