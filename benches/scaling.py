"""What a second thread gives: steps on one and on two threads, alternating, beside two processes of one thread at once.

The two processes share nothing, so what they do together is what the machine can give. Needs Python alone, and a built
`alambic-step` (cargo build --release).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

STEP = pathlib.Path(__file__).parent.parent / "target/release/alambic-step"


class Process:
    def __init__(self, threads, work):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([STEP, *work], stdin=pipe, stdout=pipe, text=True, env=environment)
        self.process.stdout.readline()

    def start(self, steps):
        self.steps = steps
        self.process.stdin.write(f"go {steps}\n")
        self.process.stdin.flush()

    def secs(self):
        """Clock and processor seconds of a step."""
        answer = json.loads(self.process.stdout.readline())
        return answer["wall_secs"] / self.steps, answer["cpu_secs"] / self.steps

    def run(self, steps):
        self.start(steps)
        return self.secs()


def told(name, values):
    return f"{name}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5, help="steps of a block")
    parser.add_argument("work", nargs="*", default=["recover"], help="arguments of alambic-step")
    args = parser.parse_args()
    one, other, two = (Process(threads, args.work) for threads in (1, 1, 2))
    for process in (one, other, two):
        process.run(2)
    second, machine, processor = [], [], []
    for _ in range(args.rounds):
        before, cpu = one.run(args.steps)
        shared, shared_cpu = two.run(args.steps)
        one.start(args.steps)
        other.start(args.steps)
        both = one.secs()[0], other.secs()[0]
        after, _ = one.run(args.steps)
        alone = (before + after) / 2
        second.append(alone / shared)
        machine.append(alone / both[0] + alone / both[1])
        processor.append(shared_cpu / cpu)
    print(f"{' '.join(args.work)}: {args.rounds} rounds of {args.steps} steps, median (least to most)")
    print(told("throughput of two threads over one", second))
    print(told("throughput of two processes over one", machine))
    print(told("processor seconds of two threads over one", processor))


if __name__ == "__main__":
    main()
