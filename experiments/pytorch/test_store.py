#!/usr/bin/env python3
"""Checks labels.py, dataset.py and networks.py on a tiny run made here. Exits with 1 on a difference."""

import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torch.nn import functional as F

from compare_labels import compare
from dataset import batches, load_images, render, render_crops
from labels import LabelError, LabelStore, row_sizes
from networks import build, initialise
from views import BOX, CROP, CUTMIX, KIND, MIXUP, PARTNER, WEIGHT, draw_views

ROOT = Path(__file__).resolve().parents[2]
SIDE, CLASSES, EPOCHS = 8, 5, 3
INFO = {
    "images": 7, "classes": CLASSES, "resolution": SIDE, "seed": 3, "epochs": EPOCHS,
    "views": {"crop": {"kind": "padded", "padding": 2}, "flip": 0.5, "batch_size": 3,
              "mix": {"kind": "cutmix", "alpha": 1.0}},
}
COMPACT = {"top_k": 3, "bits": 4, "temperature": 2.0}


def write_images(run):
    """Seven random images as recover leaves them."""
    noise = np.random.default_rng(0)
    files, labels = [], [i % CLASSES for i in range(INFO["images"])]
    for i, label in enumerate(labels):
        files.append(f"{label:05}_c{label}/{i // CLASSES:05}.png")
        path = run / "recover/images" / files[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    facts = {"resolution": SIDE, "class_names": [f"c{i}" for i in range(CLASSES)], "labels": labels, "files": files,
             "normalization": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}}
    (run / "recover/set.json").write_text(json.dumps(facts))


def view_columns(views):
    """The columns of a shard that hold these views, int64 [n, 18]."""
    columns = {}
    for whose, part in (("", CROP), ("partner_", PARTNER)):
        crop = views[:, part]
        columns[f"view.{whose}image"] = crop[:, 0].astype(np.uint32)
        columns[f"view.{whose}crop"] = crop[:, 1:5].astype(np.int16)
        columns[f"view.{whose}flip"] = crop[:, 5].astype(np.uint8)
    columns["view.mix"] = views[:, KIND].astype(np.uint8)
    columns["view.cut"] = views[:, BOX].astype(np.int16)
    columns["view.weight"] = views[:, WEIGHT].astype(np.int32)
    return {name: np.ascontiguousarray(column) for name, column in columns.items()}


def pack(logits):
    """One row of `fkd-compact`, bit by bit; the options are `COMPACT`."""
    sizes = row_sizes(len(logits), COMPACT)
    order = sorted(range(len(logits)), key=lambda c: -logits[c])
    kept, others = order[: sizes["kept"]], order[sizes["kept"] :]
    gaps = [logits[order[0]] - z for z in logits]
    t = COMPACT["temperature"]
    shared = -t * math.log(sum(math.exp(-gaps[c] / t) for c in others) / len(others))
    head = np.array([logits[order[0]], gaps[kept[-1]], shared], "<f2")
    step = float(head[1]) / (2 ** sizes["gap_bits"] - 1)
    bits, at = 0, 0
    numbers = [(c, sizes["class_bits"]) for c in kept] + [(round(gaps[c] / step), sizes["gap_bits"]) for c in kept[1:]]
    for value, width in numbers:
        bits, at = bits | value << at, at + width
    return head.tobytes() + bits.to_bytes(-(-at // 8), "little")


def write_store(folder, plugin, params, records, stores_views):
    """A store of two shards: two passes, then one. records: a function of logits [n, classes]."""
    folder.mkdir(parents=True)
    shards = []
    for first, passes in ((0, 2), (2, 1)):
        views = np.concatenate([draw_views(INFO, first + i) for i in range(passes)])
        columns = view_columns(views) if stores_views else {}
        path = folder / f"labels-{first:05}.safetensors"
        save_file({**columns, **records(made_logits(first, len(views)))}, path)
        rows, size = [INFO["images"]] * passes, path.stat().st_size
        shards.append({"file": path.name, "first_pass": first, "rows": rows, "bytes": size})
    index = {"relabeler": {"plugin": plugin, "params": params}, "set": INFO, "shards": shards, "complete": True,
             "class_names": [f"c{i}" for i in range(CLASSES)],
             "layout": {"passes": EPOCHS, "index": "view", "stores_views": stores_views}}
    (folder / "index.json").write_text(json.dumps(index))


def made_logits(seed, rows):
    return np.random.default_rng(seed).normal(0, 3, (rows, CLASSES))


def make_run(run):
    write_images(run)
    write_store(run / "relabel/plain", "fkd", {}, lambda z: {"logits": z.astype(np.float16)}, True)
    packed = lambda z: {"packed": np.array([list(pack(row)) for row in z], np.uint8)}
    write_store(run / "relabel/compact", "fkd-compact", COMPACT, packed, False)


def expect(holds, what):
    if not holds:
        raise AssertionError(what)


def error_of(run):
    try:
        run()
    except (LabelError, ValueError) as error:
        return str(error)
    raise AssertionError("an error was expected")


def rendered_slowly(images, view):
    """One view pixel by pixel, f64 [3, R, R]."""

    def crop(row):
        image, top, left, height, width, flip = (int(v) for v in row)
        black = torch.zeros(3, 3 * SIDE, 3 * SIDE, dtype=torch.float64)
        black[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE] = images.pixels[image]
        cut = black[:, SIDE + top : SIDE + top + height, SIDE + left : SIDE + left + width]
        out = F.interpolate(cut[None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0] / 255
        return out.flip(2) if flip else out

    out = crop(view[CROP])
    if view[KIND] == CUTMIX:
        top, left, bottom, right = view[BOX]
        out[:, top:bottom, left:right] = crop(view[PARTNER])[:, top:bottom, left:right]
    elif view[KIND] == MIXUP:
        share = view[WEIGHT] / 65536
        out = out * share + crop(view[PARTNER]) * (1 - share)
    return (out - images.mean[:, None, None]) / images.std[:, None, None]


def check_rendering(run):
    images = load_images(run)
    crops = [
        {"kind": "none"},
        {"kind": "padded", "padding": 3},
        {"kind": "random-resized", "scale": [0.05, 1.0], "ratio": [0.5, 2.0]},
    ]
    for crop in crops:
        for mix in ({"kind": "none"}, {"kind": "cutmix", "alpha": 1.0}, {"kind": "mixup", "alpha": 0.8}):
            info = dict(INFO, images=7, views={"crop": crop, "flip": 0.5, "mix": mix, "batch_size": 4})
            views = np.concatenate([draw_views(info, epoch) for epoch in range(12)])
            slowly = torch.stack([rendered_slowly(images, view) for view in views])
            off = float((render(images, views) - slowly).abs().max())
            expect(off < 1e-5, f"{crop} {mix}: views differ by {off}")
    # host/src/stages/render.rs, resizing_is_torchs
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    pixels[:, :, 1:3, 1:3] = torch.tensor([[0, 10], [20, 30]])
    line = render_crops(pixels, torch.tensor([[0, 1, 1, 2, 2, 0]]))[0, 0, 1] * 255
    expect(torch.allclose(line, torch.tensor([5, 7.5, 12.5, 15])), f"resized to {line}")


def check_labels(run):
    plain, compact = LabelStore(run / "relabel/plain"), LabelStore(run / "relabel/compact")
    for pass_index in (2, 0, 1):
        drawn = draw_views(INFO, pass_index)
        for store in (plain, compact):
            expect(np.array_equal(store.views(pass_index), drawn), f"{store.folder}: views of pass {pass_index}")
    first = made_logits(0, 14)
    expect(np.abs(plain.logits(1) - first[7:]).max() < 0.01, "logits of pass 1")
    kept = np.argsort(-first[:7], axis=1)[:, :3]
    gap = np.take_along_axis(compact.logits(0) - first[:7], kept, axis=1)
    step = np.ptp(np.take_along_axis(first[:7], kept, axis=1), axis=1, keepdims=True) / 15
    expect((np.abs(gap) < 0.51 * step + 0.01).all(), f"compact logits are off by {gap}")
    figures = compare(plain, compact, 2.0, None)
    expect(0 < figures["mean_kl_nats"] < 0.02, f"{figures}")
    itself = compare(plain, plain, 2.0, None)
    expect(itself["mean_kl_nats"] == 0 and itself["same_top1"] == 1, f"{itself}")


def check_batches(run):
    images, store = load_images(run), LabelStore(run / "relabel/plain")
    whole = next(iter(batches(images, store, 4, 100)))
    expect([tuple(t.shape) for t in whole] == [(7, 3, SIDE, SIDE), (7, CLASSES), (7,)], "shapes of a batch")
    for size in (1, 3):
        parts = [torch.cat(part) for part in zip(*batches(images, store, 1, size))]
        expect(all(torch.equal(a, b) for a, b in zip(whole, parts)), f"batches of {size}")
    expect(torch.equal(whole[2], images.labels[store.views(1)[:, 0]]), "class labels")


def check_faults(run):
    store = LabelStore(run / "relabel/plain")
    expect("no labels of pass 3, expected 0 to 2" in error_of(lambda: store.logits(3)), "a pass beyond the last")
    path = run / "relabel/plain/labels-00002.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    said = error_of(lambda: LabelStore(run / "relabel/plain").logits(2))
    expect(f"{path}: it has {len(whole) - 9} bytes, expected {len(whole)}" in said, said)
    path.write_bytes(whole[:9] + b"?" * 31 + whole[40:])
    said = error_of(lambda: LabelStore(run / "relabel/plain").logits(2))
    expect(f"{path}: cannot be read" in said, said)
    path = run / "relabel/compact/labels-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-20] + b"\xff" * 20)
    said = error_of(lambda: LabelStore(run / "relabel/compact").logits(1))
    expect("labels-00000.safetensors" in said and "names class 7, expected 0 to 4" in said, said)
    index = run / "relabel/plain/index.json"
    index.write_text(index.read_text().replace('"complete": true', '"complete": false'))
    expect("not complete" in error_of(lambda: LabelStore(run / "relabel/plain")), "a store that is not complete")


def check_networks(_):
    network = build("resnet", {}, 224, 1000)
    state = {name: v for name, v in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    lines = [" ".join([name, *map(str, v.shape)]) for name, v in state.items()]
    known = (ROOT / "plugins/architecture-resnet/src/resnet18-state.txt").read_text().splitlines()
    expect(lines == known, "names and shapes of ResNet-18")
    count = lambda *component: sum(p.numel() for p in build(*component).parameters())
    expect(count("resnet", {"stem": "small"}, 32, 10) == 11_173_962, "parameters of a small ResNet-18")
    expect(count("resnet", {"depth": 50}, 224, 1000) == 25_557_032, "parameters of ResNet-50")
    expect(count("convnet", {}, 32, 10) == 320_010, "parameters of a ConvNet")
    initialise(network, 0, 1)
    deviation = float(network.layer2[0].conv1.weight.detach().std())
    expect(abs(deviation / math.sqrt(2 / (128 * 9)) - 1) < 0.01, f"initial deviation {deviation}")
    small = build("convnet", {"depth": 1, "width": 4, "norm": "none", "pooling": "max"}, 8, 3)
    initialise(small, 0, 1)
    largest = float(small.classifier.weight.detach().abs().max())
    expect(0.1 < largest < 0.125, f"initial bound of a linear layer of 64 inputs: {largest}")
    expect(small(torch.zeros(2, 3, 8, 8)).shape == (2, 3), "logits of a ConvNet")


def main():
    checks = [check_rendering, check_labels, check_batches, check_networks, check_faults]
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder))
        for check in checks:
            check(Path(folder))
    print(f"{len(checks)} checks hold")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"differs: {error}")
