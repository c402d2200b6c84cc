#!/usr/bin/env python3
"""Seconds of stages by one process, by several that MPI connects, and by as many that each do all of it at once, one thread each, in turn:
medians, how many times as fast the connected ones are, and how many times as much the others do, which is what the machine can give.

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
    """One process, or several that MPI connects."""
    program = os.environ.get("ALAMBIC", "alambic")
    line = [program, "run", arguments.experiment, "--only", stage, "--out", str(out)]
    for change in arguments.set:
        line += ["--set", change]
    if size > 1:
        launcher = ["mpirun", "--allow-run-as-root", "--bind-to", "core", "-n", str(size)]
        line = [*launcher, *line, "--ranks", "mpi"]
    return line


def seconds(lines, threads):
    """Clock seconds until all of these have ended."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    began = time.monotonic()
    started = [
        subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in lines
    ]
    for process in started:
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"{' '.join(process.args)} failed:\n{said}")
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
                compare(arguments, stage, Path(folder))
            if any(ALL.index(later) > ALL.index(stage) for later in arguments.stages):
                seconds([command(arguments, 1, stage, base)], os.cpu_count())


def compare(arguments, stage, folder):
    size = arguments.size
    times = {"one": [], "connected": [], "apart": []}
    for _ in range(arguments.repeats):
        for how, taken in times.items():
            outs = [folder / f"run-{i}" for i in range(size if how == "apart" else 1)]
            for out in outs:
                if (folder / "base").exists():
                    shutil.copytree(folder / "base", out)
            ranks = size if how == "connected" else 1
            taken.append(seconds([command(arguments, ranks, stage, out) for out in outs], 1))
            for out in outs:
                shutil.rmtree(out)
    one, connected, apart = (statistics.median(taken) for taken in times.values())
    cells = [f"{statistics.median(t):.1f} ({min(t):.1f} to {max(t):.1f})" for t in times.values()]
    ratios = [f"**{one / connected:.2f}**", f"{size * one / apart:.2f}"]
    print(f"| {' | '.join([stage, *cells, *ratios])} |", flush=True)


if __name__ == "__main__":
    main()
