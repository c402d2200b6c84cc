#!/usr/bin/env python3
"""The tables of a comparison in Markdown: from compare.py, or from the JSON that it wrote."""

import json
import sys
from pathlib import Path

OURS = "alambic"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def spread(blocks, key):
    values = [b[key] for b in blocks]
    return f"{min(values):.3f}-{max(values):.3f}"


def facts(machine, settings):
    flags = [name for name, there in machine["flags"].items() if there]
    without = [name for name, there in machine["flags"].items() if not there]
    lines = [
        f"{machine['date']}; {machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB, "
        f"{machine['system']}",
        f"has {', '.join(flags) or 'none'} of {', '.join(machine['flags'])}" + (f", lacks {', '.join(without)}" if without else ""),
        f"commit {machine['commit']}{', changed since' if machine['changed_since_commit'] else ''}, {machine['rustc']}; "
        f"PyTorch {machine['torch']}, torchvision {machine['torchvision']}, Python {machine['python']}",
        f"instructions: {settings['isa']}; median of {settings['rounds']} rounds of blocks of about {settings['block_secs']:g} s; "
        f"load before {machine['load_before']:.2f}"
        + (f"; beside {settings['neighbours']} busy processes" if settings.get("neighbours") else "")
        + ("; PyTorch's process keeps freed memory as ours does" if settings["peer_keeps_memory"] else ""),
    ]
    return "\n".join(f"- {line}" for line in lines)


def ratios(rows):
    head = ["subject", "threads", "PyTorch", "CPU s", "its CPU s", "ratio", "clock s", "its clock s", "ratio", "peak MiB", "its peak MiB", "ratio"]
    lines = [row(head), row(["---"] * len(head))]
    for r in rows:
        ours = r["sides"][OURS]["median"]
        synthetic = f" + {r['synthetic']}" if r["synthetic"] else ""
        subject = f"{r['work']}, {r['network']}, batch {r['batch']}{synthetic}"
        for form, side in r["sides"].items():
            if form == OURS:
                continue
            cells = [subject, str(r["threads"]), form]
            for key, digits in (("cpu_secs", 3), ("wall_secs", 3), ("peak_mib", 0)):
                mine, its = ours[key], side["median"][key]
                cells += [f"{mine:.{digits}f}", f"{its:.{digits}f}", f"**{mine / its:.2f}**"]
            lines.append(row(cells))
        for form in r["failed"]:
            lines.append(row([subject, str(r["threads"]), form, "cannot do it"] + [""] * 8))
    return "\n".join(lines)


def second_thread(rows):
    """How many times faster two threads are than one, by the clock."""
    by_subject = {}
    for r in rows:
        by_subject.setdefault(r["subject"], {})[r["threads"]] = r["sides"]
    head = ["subject", "side", "1 thread, clock s", "2 threads, clock s", "times faster"]
    lines = [row(head), row(["---"] * len(head))]
    for subject, by_threads in by_subject.items():
        if not {1, 2} <= by_threads.keys():
            continue
        for form in (f for f in by_threads[1] if f in by_threads[2]):
            one, two = (by_threads[n][form]["median"]["wall_secs"] for n in (1, 2))
            lines.append(row([subject, form, f"{one:.3f}", f"{two:.3f}", f"{one / two:.2f}"]))
    return "\n".join(lines) if len(lines) > 2 else ""


def ranges(rows):
    head = ["subject", "threads", "side", "CPU s of a step, least to most", "clock s, least to most"]
    lines = [row(head), row(["---"] * len(head))]
    for r in rows:
        for form, side in r["sides"].items():
            cells = [r["subject"], str(r["threads"]), form, spread(side["blocks"], "cpu_secs"), spread(side["blocks"], "wall_secs")]
            lines.append(row(cells))
    return "\n".join(lines)


def matrix(result):
    """A row for each subject: our share of the clock and of the memory of each form of PyTorch."""
    forms = result["settings"]["forms"]
    head = ["step", "threads", "ours, clock s", *(f"time, {form}" for form in forms), *(f"memory, {form}" for form in forms)]
    lines = [row(head), row(["---"] * len(head))]
    for r in result["rows"]:
        ours = r["sides"][OURS]["median"]
        cells = [f"{r['work']}, {r['network']}, {r['side']} px, batch {r['batch']}", str(r["threads"]), f"{ours['wall_secs']:.4f}"]
        for key in ("wall_secs", "peak_mib"):
            for form in forms:
                side = r["sides"].get(form)
                cells.append(f"{ours[key] / side['median'][key]:.2f}" if side else "cannot do it")
        lines.append(row(cells))
    return facts(result["machine"], result["settings"]) + "\n\n" + "\n".join(lines)


def document(result):
    rows = result["rows"]
    parts = [facts(result["machine"], result["settings"]), ratios(rows), second_thread(rows), ranges(rows)]
    return "\n\n".join(part for part in parts if part)


if __name__ == "__main__":
    read = json.loads(Path(sys.argv[1]).read_text())
    print(matrix(read) if read["settings"].get("matrix") else document(read))
