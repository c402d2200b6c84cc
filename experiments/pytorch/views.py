"""The views of an epoch, number for number those of the Rust side (`plugin-api/src/view/draw.rs`). Needs NumPy.

A view is a row of 18 integers: crop (image, top, left, height, width, flip), kind of mix (0 none, 1 cutmix, 2 mixup),
the partner's crop (six again), box (top, left, bottom, right), weight (of 65536). `info` is the table `set` of a label
store's index.json.
"""

import functools
import json
import math

import numpy as np

from philox import Rng, Streams

COLUMNS = 18
CROP, KIND, PARTNER, BOX, WEIGHT = slice(0, 6), 6, slice(7, 13), slice(13, 17), 17
CUTMIX, MIXUP = 1, 2


def draw_views(info, epoch, stage="relabel"):
    """The views of an epoch: every image once, in a random order. Gives int64 [images, 18]."""
    return draw_batches(info, epoch, range(count_batches(info)), stage)


def count_batches(info):
    """Batches of an epoch: views that share one box or weight."""
    return -(-info["images"] // max(info["views"]["batch_size"], 1))


def draw_batches(info, epoch, batches, stage="relabel"):
    """The views of some batches of an epoch, one after the other. Gives int64 [n, 18]."""
    rule, size = info["views"], max(info["views"]["batch_size"], 1)
    order = Rng(info["seed"], stage, "order", epoch).permutation(info["images"])
    images = [order[batch * size : (batch + 1) * size] for batch in batches]
    views = np.zeros((sum(map(len, images)), COLUMNS), np.int64)
    views[:, CROP] = draw_crops(info, epoch, np.concatenate(images), stage)
    start = 0
    for batch, members in zip(batches, images):
        rng = Rng(info["seed"], stage, "mix", epoch, batch)
        mix_batch(rule["mix"], views[start : start + len(members)], info["resolution"], rng)
        start += len(members)
    return views


def draw_crops(info, epoch, images, stage):
    """Crop and flip of each image. Gives int64 [n, 6]: image, top, left, height, width, flip."""
    streams = Streams(info["seed"], stage, "view", epoch, images)
    rows, side, rule = np.arange(len(images)), info["resolution"], info["views"]["crop"]
    crops = np.zeros((len(images), 6), np.int64)
    crops[:, 0], crops[:, 3:5] = images, side
    if rule["kind"] == "padded":
        for column in (1, 2):
            crops[:, column] = streams.below(rows, 2 * rule["padding"] + 1) - rule["padding"]
    elif rule["kind"] == "random-resized":
        random_resized(crops, streams, side, rule)
    elif rule["kind"] != "none":
        raise ValueError(f'unknown crop "{rule["kind"]}" (have: none, padded, random-resized)')
    crops[:, 5] = streams.uniform(rows) < info["views"]["flip"]
    return crops


def random_resized(crops, streams, side, rule):
    """torchvision's RandomResizedCrop: ten attempts, then the largest central box within the aspect ratios."""
    (small, large), (narrow, wide) = rule["scale"], rule["ratio"]
    low, high = math.log(narrow), math.log(wide)
    rows = np.arange(len(crops))
    for _ in range(10):
        area = float(side) * side * (small + (large - small) * streams.uniform(rows))
        aspect = np.array([math.exp(v) for v in low + (high - low) * streams.uniform(rows)])
        width, height = (np.rint(np.sqrt(v)).astype(np.int64) for v in (area * aspect, area / aspect))
        fits = (width >= 1) & (width <= side) & (height >= 1) & (height <= side)
        inside, height, width = rows[fits], height[fits], width[fits]
        crops[inside, 1] = streams.below(inside, side - height + 1)
        crops[inside, 2] = streams.below(inside, side - width + 1)
        crops[inside, 3], crops[inside, 4] = height, width
        rows = rows[~fits]
        if not len(rows):
            return
    height, width = side, side
    if narrow > 1:
        height = round(side / narrow)
    elif wide < 1:
        width = round(side * wide)
    crops[rows, 1:5] = (side - height) // 2, (side - width) // 2, height, width


def mix_batch(rule, views, side, rng):
    """Draws partners and the box or weight of a batch into its `views`, int64 [n, 18]."""
    kind = rule["kind"]
    if kind == "none":
        return
    if kind not in ("cutmix", "mixup"):
        raise ValueError(f'unknown mix "{kind}" (have: none, cutmix, mixup)')
    share = rng.beta(rule["alpha"], rule["alpha"])
    views[:, PARTNER] = views[rng.permutation(len(views)), CROP]
    if kind == "mixup":
        views[:, KIND], views[:, WEIGHT] = MIXUP, math.floor(share * 65536 + 0.5)
    else:
        views[:, KIND], views[:, BOX] = CUTMIX, cut_box(share, side, rng)


def cut_box(share, side, rng):
    """The box of CutMix's authors: side sqrt(1 - share) of the image, centred anywhere, cut at the border."""
    half = int(side * math.sqrt(1 - share)) // 2
    y, x = rng.below(side), rng.below(side)
    return [min(max(v, 0), side) for v in (y - half, x - half, y + half, x + half)]


def count_passes(prune, epochs):
    """Passes that a pruned store keeps, each as long as an epoch (`plugins/relabeler-fkd/src/prune.rs`)."""
    return min(max(math.ceil(epochs * prune["keep"]), 1), max(epochs, 1))


def planned_views(info, pass_index, prune=None):
    """The views that a stored pass has labels of, int64 [n, 18]; `prune`: `keep` and `of` among the options."""
    if prune is None or prune.get("of", "epochs") == "epochs":
        return draw_views(info, pass_index)
    count = count_batches(info)
    chosen = chosen_batches(json.dumps(info, sort_keys=True))[count * pass_index : count * (pass_index + 1)]
    return np.concatenate([draw_batches(info, int(i) // count, [int(i) % count]) for i in chosen])


@functools.lru_cache(maxsize=2)
def chosen_batches(info_json):
    """The batches of all epochs in the random order in which a store of `of = "batches"` takes them, int64 [n]."""
    info = json.loads(info_json)
    return Rng(info["seed"], "relabel", "prune").permutation(count_batches(info) * info["epochs"])
