#!/usr/bin/env python3
"""A whole run of SRe2L in PyTorch, with the structure of its authors' scripts: the comparison recipe
`experiments/comparison/cpu-sre2l_cifar10_convnet3-w32_ipc10.toml` without its controls.

    pipeline.py --data experiments/data/cifar10 --out OUT [--threads 2] [--compile] [--stages squeeze recover ..]

Says the seconds of each stage by the clock and of all processors, and the accuracies. `OUT` gets the teacher, the images and the labels.
"""

import argparse
import json
import math
import random
import resource
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import functional as TF

import networks
import works
from works import CLASSES, MEAN, STD

SIDE, PER_CLASS, BATCH = 32, 10, 50
PASSES = 300
SEEDS = (0, 1, 2)
NORMALISED = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])


class Pictures(Dataset):
    """CIFAR-10's binary files as torchvision hands them out: PIL images through a transform."""

    def __init__(self, files, transform):
        rows = numpy.concatenate([numpy.fromfile(file, numpy.uint8).reshape(-1, 3073) for file in sorted(files)])
        self.labels = rows[:, 0].astype(numpy.int64)
        self.pixels = rows[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1).copy()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def network():
    return networks.NETWORKS["convnet3-bn-32"].build(SIDE)


def trainer(model, lr, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, fused=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


@torch.no_grad()
def accuracy(model, test):
    model.eval()
    right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test)
    return 100 * right / len(test.dataset)


def squeeze(args, test):
    augment = T.Compose([T.RandomCrop(SIDE, padding=4), T.RandomHorizontalFlip(), NORMALISED])
    train = Pictures(args.data.glob("data_batch_*.bin"), augment)
    loader = DataLoader(train, 128, shuffle=True, drop_last=True, num_workers=args.threads, persistent_workers=True)
    model, epochs = network(), 6
    run = args.compiled(model)
    optimizer, schedule = trainer(model, 0.002, epochs * len(loader))
    for epoch in range(epochs):
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(run(images), labels).backward()
            optimizer.step()
            schedule.step()
        if (epoch + 1) % 3 == 0:
            found = accuracy(model, test)
    torch.save(model.state_dict(), args.out / "teacher.pt")
    return {"teacher": found}


def teacher_of(args):
    model = network()
    model.load_state_dict(torch.load(args.out / "teacher.pt"))
    return model.eval().requires_grad_(False)


def recover(args, _):
    model, iterations, lr = teacher_of(args), 1000, 0.1
    distances = works.watched(model)

    def loss_of(view, targets):
        distances.clear()
        loss = F.cross_entropy(model(view), targets)
        return loss + 0.05 * sum(d * (10.0 if i == 0 else 1.0) for i, d in enumerate(distances))

    loss_of = args.compiled(loss_of)
    targets = torch.arange(CLASSES * PER_CLASS) % CLASSES
    images = torch.randn(len(targets), 3, SIDE, SIDE, requires_grad=True)
    optimizer = torch.optim.Adam([images], lr=lr, betas=(0.5, 0.9))
    augment = T.Compose([T.RandomResizedCrop(SIDE, scale=(0.5, 1.0), antialias=True), T.RandomHorizontalFlip()])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    low, high = (0 - mean) / std, (1 - mean) / std
    for i in range(iterations):
        optimizer.param_groups[0]["lr"] = 0.5 * lr * (1 + math.cos(math.pi * i / iterations))
        view = torch.roll(augment(images), (random.randrange(-2, 3), random.randrange(-2, 3)), (2, 3))
        optimizer.zero_grad()
        loss = loss_of(view, targets)
        loss.backward()
        optimizer.step()
        images.data = torch.minimum(torch.maximum(images.data, low), high)
    folder = args.out / "images"
    folder.mkdir(exist_ok=True)
    pixels = ((images.detach() * std + mean) * 255).round().clamp(0, 255).byte()
    for i, (image, label) in enumerate(zip(pixels, targets)):
        TF.to_pil_image(image).save(folder / f"{label:02}_{i:03}.png")
    return {"loss": loss.item()}


def distilled(args):
    files = sorted((args.out / "images").glob("*.png"))
    return [Image.open(file).convert("RGB") for file in files]


def viewed(images, batch, views, cut):
    """The views of a batch: crop and flip of each image, then cutmix."""
    x = torch.stack([view_of(images[i], view) for i, view in zip(batch, views)])
    order, (top, left, bottom, right) = cut
    x[:, :, top:bottom, left:right] = x[order][:, :, top:bottom, left:right]
    return x


def view_of(image, view):
    *box, flip = view
    crop = TF.resized_crop(image, *box, [SIDE, SIDE])
    return NORMALISED(TF.hflip(crop) if flip else crop)


def drawn_cut():
    half = math.sqrt(1 - numpy.random.beta(1.0, 1.0)) * SIDE / 2
    y, x = random.randrange(SIDE), random.randrange(SIDE)
    corners = (y - half, x - half, y + half, x + half)
    return torch.randperm(BATCH), tuple(int(min(max(c, 0), SIDE)) for c in corners)


@torch.no_grad()
def relabel(args, _):
    model, images = args.compiled(teacher_of(args)), distilled(args)
    folder = args.out / "labels"
    folder.mkdir(exist_ok=True)
    for epoch in range(PASSES):
        for n, batch in enumerate(torch.randperm(len(images)).split(BATCH)):
            boxes = [T.RandomResizedCrop.get_params(images[i], (0.25, 1.0), (3 / 4, 4 / 3)) for i in batch]
            views = [(*box, random.random() < 0.5) for box in boxes]
            cut = drawn_cut()
            logits = model(viewed(images, batch, views, cut)).half()
            torch.save((batch, views, cut, logits), folder / f"{epoch}_{n}.pt")
    return {}


def validate(args, test):
    images, batches = distilled(args), CLASSES * PER_CLASS // BATCH
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = network()
        run = args.compiled(model)
        optimizer, schedule = trainer(model, 0.001, PASSES * batches)
        for epoch in range(PASSES):
            model.train()
            for n in range(batches):
                batch, views, cut, logits = torch.load(args.out / f"labels/{epoch}_{n}.pt", weights_only=False)
                soft = F.softmax(logits.float() / 4.0, dim=1)
                student = F.log_softmax(run(viewed(images, batch, views, cut)) / 4.0, dim=1)
                optimizer.zero_grad()
                F.kl_div(student, soft, reduction="batchmean").backward()
                optimizer.step()
                schedule.step()
            if (epoch + 1) % 150 == 0:
                reached = accuracy(model, test)
        found.append(reached)
    return {"students": found, "mean": sum(found) / len(found)}


STAGES = {"squeeze": squeeze, "recover": recover, "relabel": relabel, "validate": validate}


def processor_secs():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's binary files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="put the networks under torch.compile")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    args = parser.parse_args()
    args.compiled = torch.compile if args.compile else lambda thing: thing
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    tests = Pictures(args.data.glob("test_batch.bin"), NORMALISED)
    test = DataLoader(tests, 500, num_workers=args.threads, persistent_workers=True)
    total = 0.0
    for stage in args.stages:
        began, spent = time.perf_counter(), processor_secs()
        said = STAGES[stage](args, test)
        secs, spent = time.perf_counter() - began, processor_secs() - spent
        total += secs
        print(json.dumps({"stage": stage, "secs": round(secs, 1), "processor_secs": round(spent, 1), **said}), flush=True)
    print(json.dumps({"secs": round(total, 1)}))


if __name__ == "__main__":
    main()
