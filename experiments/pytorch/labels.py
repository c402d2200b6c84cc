"""A label store: `relabel/<set>/` of a run folder, its index.json and its shards. Needs NumPy and safetensors.

Shards are mapped into memory, so that of one that is larger than memory only the pass in use is read.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

import views as view_rows

RELABELERS = ("fkd", "fkd-compact", "fkd-pruned")


class LabelError(ValueError):
    """A store that is not what index.json says; the message names file and place."""


class LabelStore:
    """The labels of a set. An epoch of a training replays the pass `epoch % passes`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        path = self.folder / "index.json"
        try:
            self.index = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise LabelError(f"{path}: cannot be read: {error}") from error
        self.relabeler = self.index["relabeler"]["plugin"].rpartition("::")[2]
        self.options = self.index["relabeler"].get("params", {})
        if self.relabeler not in RELABELERS:
            raise LabelError(f'{path}: relabeler "{self.relabeler}" (have: {", ".join(RELABELERS)})')
        if not self.index["complete"]:
            raise LabelError(f"{path}: the labels are not complete; run the relabel stage again")
        self.info, self.class_names = self.index["set"], self.index["class_names"]
        if self.info["views"].get("color_jitter"):
            raise LabelError(f"{path}: views with color_jitter, which these scripts do not render")
        if self.info["views"].get("before"):
            raise LabelError(f"{path}: views with tiles or rand_augment, which these scripts do not render")
        self.passes = self.index["layout"]["passes"]
        self.held = None, None

    def bytes(self):
        """Bytes of all shards."""
        return sum(shard["bytes"] for shard in self.index["shards"])

    def count_views(self):
        """Views with a label of their own."""
        return sum(sum(shard["rows"]) for shard in self.index["shards"])

    def views(self, pass_index):
        """The views of a pass, stored or drawn again. Gives int64 [n, 18] (see views.py)."""
        path, tensors, rows = self.open_pass(pass_index)
        if not self.index["layout"]["stores_views"]:
            return view_rows.planned_views(self.info, pass_index, self.options.get("prune"))
        return read_views(path, tensors, rows)

    def logits(self, pass_index):
        """The teacher's logits of the views of a pass. Gives f32 [n, classes]."""
        path, tensors, rows = self.open_pass(pass_index)
        if self.relabeler != "fkd-compact":
            return read_rows(path, tensors, "logits", rows, [self.info["classes"]]).astype(np.float32)
        sizes = row_sizes(self.info["classes"], self.options)
        packed = read_rows(path, tensors, "packed", rows, [sizes["bytes"]], np.uint8)
        return unpack(packed, self.info["classes"], self.options, f'{path}: "packed" from row {rows.start} on')

    def open_pass(self, pass_index):
        """Path of the shard that holds a pass, its mapped tensors, and the range of the pass's rows in them."""
        for shard in self.index["shards"]:
            number = pass_index - shard["first_pass"]
            if 0 <= number < len(shard["rows"]):
                start = sum(shard["rows"][:number])
                path = self.folder / shard["file"]
                return path, self.open_shard(path, shard), range(start, start + shard["rows"][number])
        raise LabelError(f"{self.folder}: no labels of pass {pass_index}, expected 0 to {self.passes - 1}")

    def open_shard(self, path, shard):
        """The mapped tensors of a shard, whose length must be the one that was written."""
        if self.held[0] == path:
            return self.held[1]
        try:
            size = path.stat().st_size
            if size != shard["bytes"]:
                raise LabelError(f"{path}: it has {size} bytes, expected {shard['bytes']}: label the set again")
            tensors = safe_open(path, framework="np")
        except (OSError, SafetensorError) as error:
            raise LabelError(f"{path}: cannot be read: {error}") from error
        rows = sum(shard["rows"])
        for name in tensors.keys():
            found = tensors.get_slice(name).get_shape()[0]
            if found != rows:
                raise LabelError(f'{path}: "{name}" has {found} rows, expected {rows}')
        self.held = path, tensors
        return tensors


def read_rows(path, tensors, name, rows, shape, dtype=None):
    """Some rows of a tensor of a shard, [n, *shape]."""
    have = tensors.keys()
    if name not in have:
        raise LabelError(f'{path}: no tensor "{name}" (have: {", ".join(sorted(have))})')
    part = tensors.get_slice(name)[rows.start : rows.stop]
    if list(part.shape[1:]) != list(shape) or dtype not in (None, part.dtype.type):
        kind = "" if dtype is None else f" of type {dtype.__name__}"
        raise LabelError(f'{path}: "{name}" is {part.dtype} {list(part.shape)}, expected rows of {list(shape)}{kind}')
    return part


def read_views(path, tensors, rows):
    """The columns `view.*` of some rows (`host/src/artifact/view_columns.rs`) as int64 [n, 18]."""

    def column(name, shape, dtype):
        return read_rows(path, tensors, f"view.{name}", rows, shape, dtype)

    def crop(whose):
        image = column(f"{whose}image", [], np.uint32)[:, None].astype(np.int64)
        sides = column(f"{whose}crop", [4], np.int16)
        return np.concatenate([image, sides, column(f"{whose}flip", [], np.uint8)[:, None]], axis=1)

    views = np.zeros((len(rows), view_rows.COLUMNS), np.int64)
    views[:, view_rows.CROP] = crop("")
    if "view.mix" not in tensors.keys():
        return views
    kinds = views[:, view_rows.KIND] = column("mix", [], np.uint8)
    if kinds.max(initial=0) > view_rows.MIXUP:
        row = rows.start + int(np.argmax(kinds > view_rows.MIXUP))
        raise LabelError(f"{path}: view.mix is {kinds.max()} in row {row}, expected 0, 1 (cutmix) or 2 (mixup)")
    mixed = kinds > 0
    views[mixed, view_rows.PARTNER] = crop("partner_")[mixed]
    if (kinds == view_rows.CUTMIX).any():
        views[:, view_rows.BOX] = column("cut", [4], np.int16)
    if (kinds == view_rows.MIXUP).any():
        views[:, view_rows.WEIGHT] = column("weight", [], np.int32)
    return views


def row_sizes(classes, options):
    """How a row of `fkd-compact` is laid out: kept classes, bits of a class and of a gap, bytes."""
    kept, gap_bits = min(options.get("top_k", 20), classes), options.get("bits", 8)
    class_bits = (classes - 1).bit_length()
    bits = kept * class_bits + (kept - 1) * gap_bits
    return {"kept": kept, "class_bits": class_bits, "gap_bits": gap_bits, "bytes": 6 + -(-bits // 8)}


def unpack(packed, classes, options, where):
    """Logits of rows of `fkd-compact` (`plugins/relabeler-fkd/src/compact.rs`).

    A row: the largest logit, the gap to the smallest kept one, the gap to the value of all others (f16, little endian);
    then from the lowest bit on the kept classes and the gaps of all but the first, in steps of the largest gap over
    `2^bits - 1`.

    packed: uint8 [n, bytes]. Gives f32 [n, classes].
    """
    sizes = row_sizes(classes, options)
    kept, class_bits, gap_bits = sizes["kept"], sizes["class_bits"], sizes["gap_bits"]
    head = np.ascontiguousarray(packed[:, :6]).view("<f2").astype(np.float64)  # [n, 3]
    bits = np.unpackbits(packed[:, 6:], axis=1, bitorder="little").astype(np.int64)
    split = kept * class_bits

    def numbers(part, count, width):
        return part.reshape(len(packed), count, width) @ (1 << np.arange(width))  # [n, count]

    chosen = numbers(bits[:, :split], kept, class_bits)
    if chosen.max(initial=0) >= classes:
        row = int(np.argmax(chosen.max(axis=1) >= classes))
        raise LabelError(f"{where}: row {row} names class {chosen[row].max()}, expected 0 to {classes - 1}")
    levels = np.zeros((len(packed), kept), np.int64)
    levels[:, 1:] = numbers(bits[:, split : split + (kept - 1) * gap_bits], kept - 1, gap_bits)
    step = head[:, 1] / (2**gap_bits - 1)
    logits = np.repeat((head[:, 0] - head[:, 2])[:, None], classes, axis=1)
    np.put_along_axis(logits, chosen, head[:, :1] - step[:, None] * levels, axis=1)
    return logits.astype(np.float32)
