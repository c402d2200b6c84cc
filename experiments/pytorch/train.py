#!/usr/bin/env python3
"""Trains a student on a distilled set and its stored labels in plain PyTorch, with the recipe of the run, and tests it.

    python train.py runs/quickstart --set distilled --seed 0
"""

import argparse
import json
import math
import sys
import time
import tomllib
from pathlib import Path

import torch
from torch.nn import functional as F

import data as real_data
from dataset import batches, load_images
from labels import LabelStore
from networks import build, initialise

SETS = ("distilled", "random-real")


def parse_arguments():
    parser = argparse.ArgumentParser(description="Train a student on a distilled set in plain PyTorch.")
    parser.add_argument("run", type=Path, help="run folder of alambic")
    parser.add_argument("--set", default="distilled", choices=SETS, help="which images; random-real is the control")
    parser.add_argument("--network", help="name of one of the run's students; the first by default")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--init", default="alambic", choices=("alambic", "torch"),
                        help="initial weights: those of the program for this seed, or PyTorch's own")
    parser.add_argument("--epochs", type=int, help="epochs; those of the labels by default")
    parser.add_argument("--batch-size", type=int, help="views in a batch; the run's by default, any will do")
    parser.add_argument("--base", type=Path, default=Path(__file__).resolve().parent.parent,
                        help="folder that the data's paths are relative to: that of the experiment's TOML")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="JSON file; RUN/pytorch/SET/NETWORK-seedK.json by default")
    return parser.parse_args()


def choose_network(recipe, wanted):
    """The student's table of `validate.architectures`, and its name."""
    students = {s.get("name", s["plugin"].replace("::", "-")): s for s in recipe["architectures"]}
    name = wanted or next(iter(students))
    if name not in students:
        raise ValueError(f'--network: no student "{name}" in this run (have: {", ".join(students)})')
    return students[name], name


def load_set(arguments, experiment, distilled):
    """The images to train on. Those of the control are chosen again from the training images."""
    if arguments.set == "distilled":
        return distilled
    table = experiment["data"]
    items, _ = real_data.open_split(table, "train", arguments.base)
    per_class = experiment["recover"]["images_per_class"]
    items = real_data.random_real(items, len(distilled.class_names), per_class, experiment["seed"])
    return distilled._replace(pixels=real_data.decode(items, table), labels=torch.tensor([label for _, label in items]))


def load_test(arguments, experiment, distilled):
    """The run's test images, with the normalisation of the distilled ones."""
    table = experiment["data"]
    items, names = real_data.open_split(table, "test", arguments.base)
    if names != distilled.class_names:
        raise ValueError(f"the data has classes {names}, the distilled images {distilled.class_names}")
    return distilled._replace(pixels=real_data.decode(items, table), labels=torch.tensor([label for _, label in items]))


def make_optimizer(network, table, decay):
    """The optimizer of the run. With decay = "weights" no bias and no norm decays."""
    table = dict(table)
    kind, weight_decay = table.pop("kind"), table.pop("weight_decay")
    makers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    params = list(network.parameters())
    decays = [p for p in params if decay == "all" or p.ndim > 1]
    stays = [p for p in params if decay != "all" and p.ndim <= 1]
    groups = [{"params": decays, "weight_decay": weight_decay}, {"params": stays, "weight_decay": 0}]
    return makers[kind]([group for group in groups if group["params"]], **table)


def lr_at(table, lr, epoch, epochs):
    """The learning rate of an epoch (`host/engine/src/optim/schedule.rs`)."""
    warmup, start = table.get("warmup_steps", 0), table.get("warmup_start", 0)
    if epoch < warmup:
        return lr * (start + (1 - start) * epoch / warmup)
    if table["kind"] == "constant":
        return lr
    if table["kind"] == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * min((epoch - warmup) / max(epochs - warmup, 1), 1)))
    if table["kind"] == "step":
        return lr * table.get("gamma", 0.1) ** sum(epoch >= m for m in table["milestones"])
    raise ValueError(f'unknown schedule "{table["kind"]}" (have: constant, cosine, step)')


def make_loss(component):
    """Loss of the student's logits against the teacher's, both [N, classes]."""
    name, params = component["plugin"].rpartition("::")[2], component.get("params", {})
    if name == "cross-entropy":
        smoothing = params.get("label_smoothing", 0)
        return lambda student, teacher: F.cross_entropy(student, teacher.softmax(1), label_smoothing=smoothing)
    if name != "kl":
        raise ValueError(f'loss "{name}" is not written here (have: cross-entropy, kl)')
    t = params.get("temperature", 1)
    scale = t * t if params.get("scale_by_t2", False) else 1

    def kl(student, teacher):
        log_q, log_p = (student / t).log_softmax(1), (teacher / t).log_softmax(1)
        return scale * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)

    return kl


@torch.no_grad()
def accuracy(network, images, batch_size=256):
    """Share of the images that the network classifies correctly, percent."""
    network.eval()
    device = next(network.parameters()).device
    mean, std = images.mean[:, None, None], images.std[:, None, None]
    correct = 0
    for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size)):
        x = ((pixels.float() / 255 - mean) / std).to(device)
        correct += int((network(x).argmax(1).cpu() == labels).sum())
    return 100 * correct / len(images.labels)


def train(network, images, store, test, recipe, epochs):
    """Trains the network in place. Gives top-1 after the last epoch and the best, percent."""
    device = next(network.parameters()).device
    loss_of, peak = make_loss(recipe["loss"]), recipe["optimizer"]["lr"]
    optimizer = make_optimizer(network, recipe["optimizer"], recipe["decay"])
    scores = {"top1_last": 0.0, "top1_best": 0.0}
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(recipe["schedule"], peak, epoch, epochs)
        network.train()
        total = seen = 0
        for x, logits, labels in batches(images, store, epoch, recipe["batch_size"]):
            loss = loss_of(network(x), logits.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, seen = total + float(loss.detach()) * len(labels), seen + len(labels)
        if not math.isfinite(total):
            raise ValueError(f"the loss is {total} in epoch {epoch}; lower the learning rate")
        if epoch + 1 == epochs or (epoch + 1) % recipe["evaluate_every"] == 0:
            top1 = accuracy(network, test)
            scores = {"top1_last": top1, "top1_best": max(top1, scores["top1_best"])}
            print(f"epoch {epoch + 1} of {epochs}: loss {total / seen:.5f}, top-1 {top1:.2f} %", file=sys.stderr)
    return scores


def main():
    arguments = parse_arguments()
    experiment = tomllib.loads((arguments.run / "experiment.toml").read_text())
    recipe = experiment["validate"]
    recipe["batch_size"] = arguments.batch_size or recipe["batch_size"]
    student, name = choose_network(recipe, arguments.network)
    distilled = load_images(arguments.run)
    store = LabelStore(arguments.run / "relabel" / arguments.set)
    test, images = load_test(arguments, experiment, distilled), load_set(arguments, experiment, distilled)
    torch.manual_seed(arguments.seed)
    side, classes = images.pixels.shape[-1], len(images.class_names)
    network = build(student["plugin"], student.get("params", {}), side, classes)
    if arguments.init == "alambic":
        initialise(network, experiment["seed"], arguments.seed + 1)
    network.to(arguments.device)
    images = images._replace(pixels=images.pixels.to(arguments.device))  # views are rendered where the images are
    epochs, start = arguments.epochs or store.info["epochs"], time.monotonic()
    scores = train(network, images, store, test, recipe, epochs)
    result = {
        "run": str(arguments.run), "set": arguments.set, "labels": store.relabeler, "network": name,
        "parameters": sum(p.numel() for p in network.parameters()), "seed": arguments.seed, "init": arguments.init,
        "epochs": epochs, "batch_size": recipe["batch_size"], "torch": torch.__version__, **scores,
        "seconds": round(time.monotonic() - start, 1),
    }
    metrics = arguments.run / "validate" / arguments.set / f"{name}-seed{arguments.seed}" / "metrics.json"
    if metrics.exists():
        result["alambic"] = json.loads(metrics.read_text())
    out = arguments.out or arguments.run / "pytorch" / arguments.set / f"{name}-seed{arguments.seed}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    beside = f" (alambic: {result['alambic']['top1_last']:.2f} %)" if "alambic" in result else ""
    print(f"top-1 {scores['top1_last']:.2f} %{beside}, {out}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
