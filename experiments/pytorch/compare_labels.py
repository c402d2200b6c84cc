#!/usr/bin/env python3
"""What a smaller label store loses: mean KL(decoded || original) over the views of both stores, and the bytes of each.

    python compare_labels.py runs/a/relabel/distilled runs/b/relabel/distilled --temperature 20
"""

import argparse
import json
import sys

import numpy as np

from labels import LabelError, LabelStore


def log_softmax(logits, temperature):
    """Of logits [n, classes], in f64."""
    z = logits.astype(np.float64) / temperature
    z -= z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def divergence(decoded, original, temperature):
    """KL of the decoded from the original distribution for each view, in nats. Logits [n, classes]; gives [n]."""
    log_p, log_q = log_softmax(decoded, temperature), log_softmax(original, temperature)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def compare(original, decoded, temperature, passes):
    """Figures of two stores over their common passes."""
    if original.class_names != decoded.class_names:
        names = f"{original.folder} has {original.class_names}, {decoded.folder} {decoded.class_names}"
        raise LabelError(f"other classes: {names}")
    count = min(original.passes, decoded.passes, passes or original.passes)
    losses, same = [], 0
    for pass_index in range(count):
        if not np.array_equal(original.views(pass_index), decoded.views(pass_index)):
            raise LabelError(f"pass {pass_index}: {original.folder} and {decoded.folder} have labels of other views")
        a, b = original.logits(pass_index), decoded.logits(pass_index)
        losses.append(divergence(b, a, temperature))
        same += int((a.argmax(1) == b.argmax(1)).sum())
    losses = np.concatenate(losses)
    bytes_per_view = [store.bytes() / store.count_views() for store in (original, decoded)]
    return {
        "temperature": temperature, "passes": count, "views": len(losses), "mean_kl_nats": float(losses.mean()),
        "max_kl_nats": float(losses.max()), "same_top1": same / len(losses),
        "bytes": [original.bytes(), decoded.bytes()], "bytes_per_view": bytes_per_view,
    }


def main():
    parser = argparse.ArgumentParser(description="Compare two label stores of the same views.")
    parser.add_argument("store_a", help="the original: relabel/SET of a run, as fkd keeps it")
    parser.add_argument("store_b", help="the smaller one, as fkd-compact")
    parser.add_argument("--temperature", type=float, default=20.0, help="of both; 20 is SRe2L's student loss")
    parser.add_argument("--passes", type=int, help="look at so many passes; all by default")
    arguments = parser.parse_args()
    stores = LabelStore(arguments.store_a), LabelStore(arguments.store_b)
    print(json.dumps(compare(*stores, arguments.temperature, arguments.passes), indent=2))


if __name__ == "__main__":
    try:
        main()
    except LabelError as error:
        sys.exit(f"error: {error}")
