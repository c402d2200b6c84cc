"""The real images of a run: parquet files, a folder of class folders or CIFAR's binary files, as `[data]` says. Needs Pillow, and
pyarrow for parquet.

Also the control set of real images, which a run does not store.
"""

import glob
import io
import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from philox import Rng

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
LABEL_COLUMNS = ("label", "labels", "fine_label")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
# From this resolution on the shorter side is resized to 256/224 of it before the centre is cut out.
ZOOM_FROM_PX = 96


def open_split(data, split, base):
    """The images of a split: a list of (bytes, path or pixels, label), in the program's order, and the class names.

    data: the table `[data]`; split: "train" or "test"; base: the folder that its paths are relative to.
    """
    readers = {"parquet": read_parquet, "imagefolder": read_folders, "cifar": read_cifar}
    if data["format"] not in readers:
        raise ValueError(f'data.format: "{data["format"]}" is not read here (have: {", ".join(readers)})')
    names = readers[data["format"]](locate(data["train"], base), data)[1]
    items = readers[data["format"]](locate(data[split], base), data)[0]
    if data["format"] == "imagefolder":
        items = [(source, names.index(label)) for source, label in items]
        items.sort(key=lambda item: item[1])
    if "classes" not in data:
        return items, names
    chosen = [names.index(c) if isinstance(c, str) else c for c in data["classes"]]
    return [(s, chosen.index(label)) for s, label in items if label in chosen], [names[i] for i in chosen]


def locate(pattern, base):
    """The paths that a path or a glob names, sorted."""
    literal = Path(base) / pattern
    found = [literal] if literal.exists() else sorted(map(Path, glob.glob(pattern, root_dir=base)))
    found = [Path(base) / path for path in found]
    if not found:
        raise ValueError(f"nothing at {literal}; name the folder that the data's paths are relative to with --base")
    return found


def read_parquet(paths, data):
    """Items and class names of parquet files as the Hugging Face `datasets` library writes them."""
    import pyarrow.parquet

    items, names = [], None
    for path in paths:
        table = pyarrow.parquet.read_table(path)
        label = data.get("label_column") or next(n for n in LABEL_COLUMNS if n in table.column_names)
        image = data.get("image_column") or next(f.name for f in table.schema if holds_images(f.type))
        cells = table[image].to_pylist()
        encoded = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
        items += zip(encoded, table[label].to_pylist())
        facts = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = names or facts.get("info", {}).get("features", {}).get(label, {}).get("names")
    return items, names or [str(i) for i in range(max(label for _, label in items) + 1)]


def holds_images(kind):
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def read_cifar(paths, data):
    """Items, with pixels uint8 [32, 32, 3], and class names of CIFAR's binary files."""
    beside = {name: paths[0].with_name(name) for name in ("fine_label_names.txt", "batches.meta.txt")}
    found = [path for path in beside.values() if path.exists()]
    items = []
    for path in paths:
        raw = np.fromfile(path, np.uint8)
        labels = 2 if found and found[0].name.startswith("fine") or raw.size % 3073 else 1
        if raw.size % (labels + 3072):
            raise ValueError(f"{path}: {raw.size} bytes, expected a multiple of {labels + 3072}")
        records = raw.reshape(-1, labels + 3072)
        pixels = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        items += zip(pixels, records[:, labels - 1].tolist())
    if found:
        return items, found[0].read_text().split()
    return items, [str(i) for i in range(max(label for _, label in items) + 1)]


def read_folders(roots, data):
    """Items, with the class's name as label, and class names of folders of class folders."""
    folders = [folder for root in roots for folder in visible(root) if folder.is_dir()]
    items = [(path, folder.name) for folder in folders for path in walk(folder)]
    return items, sorted({folder.name for folder in folders})


def visible(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def walk(folder):
    """The images below a folder: first its own, then those of its folders."""
    entries = visible(folder)
    found = [path for path in entries if path.is_file() and path.name.lower().endswith(ENDINGS)]
    return found + [path for inner in entries if inner.is_dir() for path in walk(inner)]


def decode(items, data):
    """The images of some items at the run's resolution. Gives uint8 [N, 3, R, R]."""
    side = data["resolution"]
    pixels = np.empty((len(items), 3, side, side), np.uint8)
    for i, (source, _) in enumerate(items):
        if isinstance(source, np.ndarray):
            pixels[i] = np.asarray(square(Image.fromarray(source), data)).transpose(2, 0, 1)
            continue
        try:
            image = Image.open(source if isinstance(source, os.PathLike) else io.BytesIO(source)).convert("RGB")
        except (OSError, TypeError) as error:
            name = source if isinstance(source, os.PathLike) else f"image {i}"
            raise ValueError(f"{name}: cannot be read: {error}") from error
        pixels[i] = np.asarray(square(image, data)).transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def square(image, data):
    """Brings an image to the run's square: the shorter side resized and the centre cut out, or both sides resized."""
    side = data["resolution"]
    if image.size == (side, side):
        return image
    method = FILTERS[data.get("interpolation", "bilinear")]
    if data.get("resize", "shorter-crop") == "stretch":
        return image.resize((side, side), method)
    target = round(side * 256 / 224) if side >= ZOOM_FROM_PX else side
    shorter = min(image.size)
    resized = image.resize([target * length // shorter for length in image.size], method)
    left, top = (round((length - side) / 2) for length in resized.size)
    return resized.crop((left, top, left + side, top + side))


def random_real(items, classes, images_per_class, seed):
    """The items of the control `random-real`: image k of every class before image k + 1 of any."""
    orders = []
    for label in range(classes):
        own = [i for i, item in enumerate(items) if item[1] == label]
        order = Rng(seed, "recover", "random-real", class_index=label).permutation(len(own))
        orders.append([own[i] for i in order])
    return [items[orders[label][number]] for number in range(images_per_class) for label in range(classes)]
