#!/usr/bin/env python3
"""Checks philox.py and views.py against docs/random-vectors.json of the Rust side. Exits with 1 on a difference."""

import json
import sys
from pathlib import Path

import numpy as np

from philox import Rng, Streams, philox4x32
from views import count_batches, draw_views, planned_views

VECTORS = Path(__file__).resolve().parents[2] / "docs/random-vectors.json"
# Normals and betas go through sine, logarithm and root, whose last digit is the platform's.
CLOSE = 1e-12


def published():
    """Known answers of Philox's authors (Random123, kat_vectors, philox4x32 10)."""
    ones = 0xFFFFFFFF
    cases = [
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ones] * 4, (ones, ones), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ]
    for counter, key, expected in cases:
        yield "philox4x32", philox4x32(np.array(counter, np.uint64), key), expected, 0


def stream(case):
    """What one stream gives: name, got, expected, allowed difference."""

    def fresh():
        return Rng(case["seed"], case["stage"], case["purpose"], case["iteration"], case["item"], case["class"])

    yield "words", fresh().words(10), case["words"], 0
    yield "uniform", fresh().uniforms(6), case["uniform"], 0
    yield "normals", fresh().normals(7), case["normal"], CLOSE
    rng = fresh()
    yield "normal", [rng.normal() for _ in range(7)], case["normal"], CLOSE
    rng = fresh()
    yield "normal and uniform", [[rng.normal(), rng.uniform()] for _ in range(4)], case["normal_uniform"], CLOSE
    for part in case["below"]:
        rng = fresh()
        yield f"below {part['n']}", [rng.below(part["n"]) for _ in range(8)], part["values"], 0
        yield f"belows {part['n']}", fresh().belows([part["n"]] * 8), part["values"], 0
        if case["class"] == 0:
            yield f"streams below {part['n']}", side_by_side(case, part["n"]), part["values"], 0
    yield "permutation", fresh().permutation(20), case["permutation"], 0
    long, known = fresh().permutation(100_000), case["permutation_100000"]
    yield "long permutation", long[:8], known["start"], 0
    yield "weighted sum", [int((np.arange(1, 100_001) * long).sum())], [known["weighted_sum"]], 0
    for part in case["beta"]:
        rng = fresh()
        yield f"beta {part['a']} {part['b']}", [rng.beta(part["a"], part["b"]) for _ in range(6)], part["values"], CLOSE


def side_by_side(case, bound):
    """Eight draws from the case's stream, with another one beside it."""
    streams = Streams(case["seed"], case["stage"], case["purpose"], case["iteration"], [case["item"] + 1, case["item"]])
    return [int(streams.below(np.arange(2), bound)[1]) for _ in range(8)]


def pruned(info):
    """All batches of all epochs, chosen one by one: every view comes once."""
    info = dict(info, epochs=4)
    chosen = [planned_views(info, i, {"keep": 1.0, "of": "batches"}) for i in range(4)]
    drawn = [draw_views(info, epoch) for epoch in range(4)]
    yield "pruned batches", sorted(np.concatenate(chosen).tolist()), sorted(np.concatenate(drawn).tolist()), 0
    yield "batches", [count_batches(info)], [-(-info["images"] // info["views"]["batch_size"])], 0


def differs(got, expected, allowed):
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        return True
    if allowed == 0:
        return got.tolist() != expected.tolist()
    return bool(np.abs(got - expected).max() > allowed)


def main():
    vectors = json.loads(VECTORS.read_text())
    checks = [("published", check) for check in published()]
    for case in vectors["streams"]:
        checks += [(f"{case['stage']}/{case['purpose']} of seed {case['seed']}", check) for check in stream(case)]
    for case in vectors["views"]:
        rows = draw_views(case["set"], case["epoch"])
        where = f"views of epoch {case['epoch']} under {json.dumps(case['set']['views'])}"
        checks.append((where, ("rows", rows, case["rows"], 0)))
    checks += [("prune", check) for check in pruned(vectors["views"][-1]["set"])]
    faults = [(where, *check) for where, check in checks if differs(*check[1:])]
    for where, name, got, expected, _ in faults:
        print(f"{where}: {name}: got {np.asarray(got).tolist()}, expected {expected}", file=sys.stderr)
    print(f"{len(checks)} vectors, {len(faults)} differ")
    return 1 if faults or len(checks) < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
