"""A set of images, and its views as tensors with their labels. Needs PyTorch, NumPy and Pillow.

Views are rendered as the Rust side does it (`host/src/stages/render.rs`): crop, bilinear resize, flip, mix, normalise.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from views import BOX, CROP, CUTMIX, KIND, MIXUP, PARTNER, WEIGHT

# Views rendered at once: what bounds the memory beside the batch itself.
CHUNK = 64


class ImageSet(NamedTuple):
    """Images of one size with their classes and the normalisation of whoever labelled them."""

    pixels: torch.Tensor  # uint8 [N, 3, R, R]
    labels: torch.Tensor  # int64 [N]
    class_names: list
    mean: torch.Tensor  # f32 [3], for pixels in 0 to 1
    std: torch.Tensor


def load_images(run):
    """The distilled images of a run folder: `recover/set.json` and the files that it names."""
    recover = Path(run) / "recover"
    facts = json.loads((recover / "set.json").read_text())
    side = facts["resolution"]
    pixels = np.empty((len(facts["files"]), 3, side, side), np.uint8)
    for i, name in enumerate(facts["files"]):
        path = recover / "images" / name
        try:
            image = Image.open(path).convert("RGB")
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error}") from error
        if image.size != (side, side):
            raise ValueError(f"{path}: it has {image.width}x{image.height} pixels, expected {side}x{side}")
        pixels[i] = np.asarray(image).transpose(2, 0, 1)
    return ImageSet(
        torch.from_numpy(pixels), torch.tensor(facts["labels"]), facts["class_names"], *normalization(facts)
    )


def normalization(facts):
    """Mean and deviation of set.json, f32 [3] each."""
    return tuple(torch.tensor(facts["normalization"][key], dtype=torch.float32) for key in ("mean", "std"))


def render(images, views):
    """Views, int64 [N, 18], as normalised images, f32 [N, 3, R, R], on the device of the pixels."""
    parts = [render_chunk(images, views[i : i + CHUNK]) for i in range(0, len(views), CHUNK)]
    return torch.cat(parts)


def render_chunk(images, views):
    views = torch.as_tensor(views, device=images.pixels.device)
    out, kind = render_crops(images.pixels, views[:, CROP]), views[:, KIND]
    mixed = (kind > 0).nonzero()[:, 0]
    if len(mixed):
        out[mixed] = mix(out[mixed], render_crops(images.pixels, views[mixed, PARTNER]), views[mixed])
    mean, std = (v.to(out.device)[:, None, None] for v in (images.mean, images.std))
    return (out - mean) / std


def mix(own, other, views):
    """Pastes the box, or adds the shares, of the partners. own, other: f32 [n, 3, R, R]; views [n, 18]."""
    place = torch.arange(own.shape[-1], device=own.device)
    top, left, bottom, right = (v[:, None] for v in views[:, BOX].unbind(1))
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    pasted = rows[:, None, :, None] & columns[:, None, None, :] & (views[:, KIND] == CUTMIX)[:, None, None, None]
    weight = (views[:, WEIGHT].float() / 65536)[:, None, None, None]
    is_mixup = (views[:, KIND] == MIXUP)[:, None, None, None]
    own = torch.where(is_mixup, own * weight + other * (1 - weight), own)
    return torch.where(pasted, other, own)


def taps(side, size):
    """Where rows or columns of the output read: two places in a crop of `size` [n], share of the second, [n, side]."""
    scale = size.float() / side
    at = ((torch.arange(side, device=size.device) + 0.5) * scale[:, None] - 0.5).clamp(min=0)
    last = size[:, None] - 1
    low = at.long().minimum(last)
    return low, (low + 1).minimum(last), at - low


def render_crops(pixels, crops):
    """Crops, int64 [n, 6], in [0, 1], f32 [n, 3, R, R]; what lies outside of the image is black.

    The resize is that of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    side = pixels.shape[-1]
    image, top, left, height, width, flip = crops.unbind(1)
    flat = pixels[image].float().flatten(2)  # [n, 3, R R]
    y0, y1, fy = taps(side, height)
    x0, x1, fx = (torch.where(flip[:, None] > 0, v.flip(1), v) for v in taps(side, width))

    def read(y, x):
        y, x = (y + top[:, None])[:, :, None], (x + left[:, None])[:, None, :]
        inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)  # [n, R, R]
        at = (y.clamp(0, side - 1) * side + x.clamp(0, side - 1)).flatten(1)[:, None].expand(-1, 3, -1)
        return flat.gather(2, at).unflatten(2, (side, side)) * inside[:, None]

    fx, fy = fx[:, None, None, :], fy[:, None, :, None]
    upper = read(y0, x0) * (1 - fx) + read(y0, x1) * fx
    lower = read(y1, x0) * (1 - fx) + read(y1, x1) * fx
    return (upper * (1 - fy) + lower * fy) / 255


class EpochViews(Dataset):
    """The views of one epoch. A list of rows gives images [n, 3, R, R], logits [n, classes] and class labels [n]."""

    def __init__(self, images, store, epoch):
        check_fit(images, store)
        pass_index = epoch % store.passes
        self.images, self.views = images, store.views(pass_index)
        self.logits = torch.from_numpy(store.logits(pass_index))

    def __len__(self):
        return len(self.views)

    def __getitem__(self, rows):
        views = self.views[rows]
        return render(self.images, views), self.logits[rows], self.images.labels[views[:, 0]]


def check_fit(images, store):
    """Labels and images must be of one set."""
    found = {"images": len(images.labels), "classes": len(images.class_names), "resolution": images.pixels.shape[-1]}
    for key, value in found.items():
        if store.info[key] != value:
            raise ValueError(f"{store.folder}: the labels are of {store.info[key]} {key}, and the images {value}")
    if store.class_names != images.class_names:
        names = f"{store.class_names}, the images {images.class_names}"
        raise ValueError(f"{store.folder}: the labels have classes {names}")


def batches(images, store, epoch, batch_size):
    """The batches of an epoch in its order, as `EpochViews` gives them."""
    views = EpochViews(images, store, epoch)
    sampler = BatchSampler(SequentialSampler(views), batch_size, drop_last=False)
    return DataLoader(views, sampler=sampler, batch_size=None)
