#!/usr/bin/env python3
"""Seconds of stages by one process and by several that MPI connects, one thread each, in turn: medians and their ratio.

    python benches/ranks.py EXPERIMENT.toml --stages recover relabel validate --set recover.iterations=100

Runs `alambic`, or the program that ALAMBIC names, and `mpirun` of Open MPI. The stages before are done once. A time is that of the whole
command, from its start to the merged result.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ALL = ["squeeze", "recover", "relabel", "validate"]


def command(arguments, size, stage, out):
    program = os.environ.get("ALAMBIC", "alambic")
    line = [program, "run", arguments.experiment, "--only", stage, "--out", str(out)]
    for change in arguments.set:
        line += ["--set", change]
    if size > 1:
        launcher = ["mpirun", "--allow-run-as-root", "--bind-to", "core", "-n", str(size)]
        line = [*launcher, *line, "--ranks", "mpi"]
    return line


def seconds(line, threads):
    began = time.monotonic()
    done = subprocess.run(
        line, env={**os.environ, "RAYON_NUM_THREADS": str(threads)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} failed:\n{done.stderr}")
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--stages", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--size", type=int, default=2, help="processes (2)")
    parser.add_argument("--repeats", type=int, default=5, help="of each (5)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        for stage in ALL:
            if stage in arguments.stages:
                times = {1: [], arguments.size: []}
                for _ in range(arguments.repeats):
                    for size, taken in times.items():
                        out = Path(folder) / "run"
                        if base.exists():
                            shutil.copytree(base, out)
                        taken.append(seconds(command(arguments, size, stage, out), 1))
                        shutil.rmtree(out)
                one, several = (statistics.median(taken) for taken in times.values())
                spread = ["{:.1f} to {:.1f}".format(min(t), max(t)) for t in times.values()]
                print(
                    f"| {stage} | {one:.1f} ({spread[0]}) | {several:.1f} ({spread[1]}) | **{one / several:.2f}** |",
                    flush=True,
                )
            if any(ALL.index(later) > ALL.index(stage) for later in arguments.stages):
                seconds(command(arguments, 1, stage, base), os.cpu_count())


if __name__ == "__main__":
    main()
