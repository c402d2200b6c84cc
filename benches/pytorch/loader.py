#!/usr/bin/env python3
"""Loading of training images: decoding, random resized crop, flip, normalisation. Alambic beside torchvision's DataLoader.

Both sides load the same images in blocks that alternate; while one works, the other waits. Ours has as many threads as the DataLoader has
workers. Figures are images a second, median over the rounds, and our process's peak memory.
"""

import argparse
import io
import statistics
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torchvision import transforms

from compare import Side

PROGRAM = Path(__file__).resolve().parent.parent.parent / "target/release/alambic-load"


class Parquet(torch.utils.data.Dataset):
    """Encoded images in memory, as the Hugging Face library maps them; decoded when asked for."""

    def __init__(self, paths, transform):
        import pyarrow.parquet

        tables = [pyarrow.parquet.read_table(path) for path in paths]
        column = next(name for name in tables[0].column_names if name in ("image", "img"))
        self.images = [row["bytes"] for table in tables for row in table.column(column).to_pylist()]
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.open(io.BytesIO(self.images[index])).convert("RGB")), 0


def dataset(arguments):
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    crop = transforms.RandomResizedCrop(arguments.resolution)
    transform = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    if arguments.format == "imagefolder":
        return torchvision.datasets.ImageFolder(arguments.train, transform)
    paths = sorted(Path(arguments.train).parent.glob(Path(arguments.train).name))
    return Parquet(paths, transform)


def torch_rate(images, arguments):
    """Images a second of a DataLoader that has its workers running."""
    count = arguments.steps * arguments.batch
    indices = torch.randint(len(images), (count + 2 * arguments.workers * arguments.batch,)).tolist()
    loader = torch.utils.data.DataLoader(images, arguments.batch, sampler=indices, num_workers=arguments.workers)
    batches = iter(loader)
    # The workers start, and the batches that they had ready are not counted.
    for _ in range(2 * arguments.workers):
        next(batches)
    start = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - start)


def our_rate(side, arguments):
    block = side.go(arguments.steps)
    return arguments.steps * arguments.batch / block["wall_secs"], block["peak_kib"] / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", choices=["parquet", "imagefolder"], required=True)
    parser.add_argument("--train", required=True, help="parquet files (a glob), or a folder of class folders")
    parser.add_argument("--resolution", type=int, required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="batches of a block")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cache-bytes", type=int, help="our bound on decoded pixels in memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    command = [PROGRAM, "--format", arguments.format, "--train", arguments.train]
    command += ["--resolution", arguments.resolution, "--batch", arguments.batch]
    if arguments.cache_bytes is not None:
        command += ["--cache-bytes", arguments.cache_bytes]
    side = Side("alambic", command, {"RAYON_NUM_THREADS": str(arguments.workers)})
    images = dataset(arguments)
    our_rate(side, arguments)
    rounds = []
    for _ in range(arguments.rounds):
        ours, peak = our_rate(side, arguments)
        rounds.append((ours, torch_rate(images, arguments), peak))
    side.end()
    ours, theirs, peaks = zip(*rounds)
    ratios = [a / b for a, b in zip(ours, theirs)]
    print(f"torchvision {torchvision.__version__}, {arguments.workers} workers; {arguments.workers} threads of alambic")
    for name, values in (("alambic, images/s", ours), ("DataLoader, images/s", theirs), ("ratio", ratios)):
        print(f"{name:22s} {statistics.median(values):9.2f}  ({min(values):.2f} to {max(values):.2f})")
    print(f"alambic, peak resident {max(peaks):7.0f} MiB")


if __name__ == "__main__":
    main()
