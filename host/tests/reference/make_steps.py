"""Recovered images of each variant after a few steps, and students after a few epochs, for host/tests/program/steps.rs. Made with PyTorch 2.15, in double precision:

    python3 make_steps.py > steps.json

Everything is written anew here but the random numbers, which are those of experiments/pytorch/philox.py, and initial weights: images and teachers by formula,
the pass of real images, starts, views, losses, steps of SGD (whose first step shows the size of a gradient, where Adam's shows
its sign), hooks. The variants are those of steps.rs, by name.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(str(pathlib.Path(__file__).parents[3] / "experiments/pytorch"))
from networks import convnet, initialise  # noqa: E402
from philox import Rng  # noqa: E402

CLASSES, EACH, SIDE, IPC, STEPS, LR = 3, 12, 8, 4, 4, 2.0
MEAN, STD = 0.5, 0.25


def picture(label, number):
    """As `common::images::picture`, [3, 8, 8] in 0..255."""
    image = np.zeros((SIDE, SIDE))
    for y in range(SIDE):
        for x in range(SIDE):
            on = [x < 4, y < 4, (x + y) % 2 == 0][label]
            noise = (x * 31 + y * 17 + number * 7) % 60
            image[y, x] = 190 + noise if on else noise
    return np.stack([image] * 3)


def normalised(images):
    return (torch.tensor(np.stack(images)) / 255 - MEAN) / STD


class Teacher(nn.Module):
    def __init__(self, depth, width, phase):
        super().__init__()
        layers, channels = [], 3
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (SIDE >> depth) ** 2, CLASSES)
        # Element i is sin(1.3 i + phase), scaled, in single precision as files have it.
        for name, value in self.state_dict().items():
            if value.is_floating_point():
                values = torch.sin(1.3 * torch.arange(value.numel(), dtype=torch.float64) + phase).reshape(value.shape)
                scale = {"running_mean": 0.2, "running_var": 0.3}.get(name.split(".")[-1], 0.4)
                value.copy_((scale * values + (0.9 if name.endswith("running_var") else 0)).float())
        self.double().eval()
        self.seen = []
        for module in self.features:
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                module.register_forward_pre_hook(lambda module, x: self.seen.append((module, x[0])))

    def forward(self, x):
        self.seen.clear()
        return self.classifier(self.features(x).flatten(1))


def stream(seed, purpose, **place):
    return Rng(seed, "recover", purpose, **place)


def real_order(seed, purpose, label):
    return stream(seed, purpose, class_index=label).permutation(EACH)


def statistics(module, x, dims, patch):
    """Mean and population variance over `dims` of [N, C, H, W], and of a convolution those of patches."""
    found = [x.mean(dims), x.var(dims, correction=0)]
    if isinstance(module, nn.Conv2d) and patch:
        n, c, height, width = x.shape
        rows, columns = -(-height // patch), -(-width // patch)
        x = F.interpolate(x, (rows * patch, columns * patch), mode="bilinear")
        x = x.reshape(n, c, rows, patch, columns, patch)
        within = [1, 3, 5] + [0] * (0 in dims)
        found += [s.flatten(int(0 not in dims)) for s in (x.mean(within), x.var(within, correction=0))]
    return found


class BnStats:
    def __init__(self, per="batch", first_layer=10.0, variance=1.0):
        self.per, self.first, self.variance = per, first_layer, variance

    def learn(self, teacher, by_class):
        self.real = []
        for images in by_class:
            teacher(images)
            norms = [x for module, x in teacher.seen if isinstance(module, nn.BatchNorm2d)]
            self.real.append([(x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), correction=0).detach()) for x in norms])

    def value(self, teacher, view, labels, _moment):
        total = 0
        norms = [(module, x) for module, x in teacher.seen if isinstance(module, nn.BatchNorm2d)]
        for i, (module, x) in enumerate(norms):
            if self.per == "batch":
                pairs = [(x, (module.running_mean, module.running_var))]
            else:
                pairs = [(x[labels == label], self.real[label][i]) for label in labels.unique().tolist()]
            apart = 0
            for own, (mean, var) in pairs:
                apart = apart + (mean - own.mean((0, 2, 3))).norm() / len(pairs)
                apart = apart + self.variance * (var - own.var((0, 2, 3), correction=0)).norm() / len(pairs)
            total = total + (self.first if i == 0 else 1) * apart
        return total


class LayerStats:
    def __init__(self, average=0.0, drop=0.0, classes=0.0, patch=16):
        self.average, self.drop, self.classes, self.patch = average, drop, classes, patch
        self.past = {}

    def learn(self, teacher, by_class):
        self.all, self.own = {}, [{} for _ in by_class]
        for label, images in enumerate(by_class):
            teacher(images)
            for i, (module, x) in enumerate(teacher.seen):
                whole = statistics(module, x, (0, 2, 3), self.patch)
                each = [s.mean(0) for s in statistics(module, x, (2, 3), self.patch)]
                for what, (a, b) in enumerate(zip(whole, each)):
                    self.all[i, what] = self.all.get((i, what), 0) + a.detach() / len(by_class)
                    self.own[label][i, what] = b.detach()

    def value(self, teacher, view, labels, moment):
        seed, iteration = moment
        rng, total = stream(seed, "layer-stats", iteration=iteration), 0
        for i, (module, x) in enumerate(teacher.seen):
            conv = isinstance(module, nn.Conv2d)
            if conv and rng.uniform() < self.drop:
                continue
            for what, got in enumerate(statistics(module, x, (0, 2, 3), self.patch)):
                if self.average:
                    past = self.average * self.past.get((i, what), 0) + (1 - self.average) * got.detach()
                    self.past[i, what] = past
                    got = got + (past - got.detach())
                running = [module.running_mean, module.running_var] if not conv else None
                whole = self.all[i, what] if conv else running[what]
                own = torch.stack([self.own[label][i, what] for label in labels.tolist()]).mean(0)
                weight = 10 if i == 0 else 1
                for real, share in ((whole, 1 - self.classes), (own, self.classes)):
                    if share:
                        total = total + weight * share * (real - got).norm()
        return total


class Densification:
    def learn(self, teacher, by_class):
        pass

    def value(self, teacher, view, labels, _moment):
        total = 0
        pooled = F.adaptive_avg_pool2d(view, (2, 2)).flatten(1)
        for label in labels.unique():
            rows = pooled[labels == label]
            values = torch.linalg.eigvalsh(rows @ rows.t())
            total = total + F.kl_div(values.log_softmax(0), (values / 4).softmax(0).detach(), reduction="sum")
        return total


def crop_box(rng, rule, iteration):
    if rule[0] == "padded":
        top, left = (rng.below(2 * rule[1] + 1) - rule[1] for _ in range(2))
        return top, left, SIDE, SIDE
    low, high = rule[1](iteration), 1.0
    for _ in range(10):
        area = SIDE * SIDE * (low + (high - low) * rng.uniform())
        ratio = [math.log(3 / 4), math.log(4 / 3)]
        aspect = math.exp(ratio[0] + (ratio[1] - ratio[0]) * rng.uniform())
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= width <= SIDE and 1 <= height <= SIDE:
            top = rng.below(SIDE - height + 1)
            return top, rng.below(SIDE - width + 1), height, width
    return 0, 0, SIDE, SIDE


def view_of(canvas, variant, seed, iteration, first, items):
    """Crop and flip of each image or of all, then one roll."""
    pad = variant["crop"][1] if variant["crop"][0] == "padded" else 0
    padded = F.pad(canvas, [pad] * 4)
    parts, roll = [], None
    for place in range(len(canvas)):
        item = items[place] if variant["scope"] == "crop" else first
        rng = stream(seed, "view", item=item, iteration=iteration)
        top, left, height, width = crop_box(rng, variant["crop"], iteration)
        flip = rng.uniform() < 0.5
        own = [rng.below(3) - 1, rng.below(3) - 1]
        roll = roll or own
        part = padded[place : place + 1, :, top + pad : top + pad + height, left + pad : left + pad + width]
        part = F.interpolate(part, (SIDE, SIDE), mode="bilinear")
        parts.append(part.flip(3) if flip else part)
    return torch.cat(parts).roll(roll, (2, 3))


def start(variant, seed, teacher, order):
    """Canvas and labels in the order of the set."""
    places = [(n, c) for n in range(IPC) for c in range(CLASSES)]
    if order == "class":
        places = [(n, c) for c in range(CLASSES) for n in range(IPC)]
    chosen = {}
    for label in range(CLASSES):
        if variant["init"] == "noise":
            draw = lambda n: stream(seed, "init", class_index=label, item=n).normals(3 * SIDE * SIDE)
            chosen[label] = [torch.tensor(draw(n)).float().double().reshape(3, SIDE, SIDE) for n in range(IPC)]
            continue
        purpose = "init-order" if variant["init"] == "real" else "selection"
        pool = real_order(seed, purpose, label)
        images = normalised([picture(label, n) for n in pool])
        if variant["init"] != "real":
            losses = F.cross_entropy(teacher(images), torch.full((EACH,), label), reduction="none")
            rank = losses.argsort(stable=True).tolist()
            if variant["init"] == "medium":
                rank, middle = rank[::-1], EACH // 2
                rank = [rank[middle + (step + 1) // 2 if step % 2 else middle - step // 2] for step in range(EACH - 1)]
            images = images[rank]
        chosen[label] = list(images[:IPC])
    canvas = torch.stack([chosen[c][n] for n, c in places]).detach()
    return canvas, torch.tensor([c for _, c in places]), [n for n, _ in places]


def recover(variant, seed):
    teachers = [Teacher(2, 6, 0.0), Teacher(1, 8, 1.0)][: variant["teachers"]]
    by_class = []
    for label in range(CLASSES):
        # In the order of their numbers; the sums do not depend on it.
        by_class.append(normalised([picture(label, n) for n in range(EACH)]))
    regularizers = [[(weight, make()) for weight, make in variant["regularizers"]] for _ in teachers]
    for teacher, terms in zip(teachers, regularizers):
        for _, term in terms:
            term.learn(teacher, by_class)
    canvas, labels, numbers = start(variant, seed, teachers[0], variant["order"])
    size = variant["batch"]
    batches = [slice(first, first + size) for first in range(0, len(canvas), size)]
    make = lambda batch: optimised(variant, seed, teachers, regularizers, canvas[batch], labels[batch], numbers[batch], batch.start)
    images, parts = zip(*map(make, batches))
    return torch.cat(images), np.mean(parts, axis=0).tolist()


def optimised(variant, seed, teachers, regularizers, canvas, labels, numbers, begin):
    """The images of one batch after all steps, and the last values of the terms."""
    first = canvas.clone()
    for iteration in range(STEPS):
        if variant["hook"] == "residual" and iteration and iteration % 2 == 0:
            canvas = 0.5 * canvas + 0.5 * first
        active = list(range(len(canvas)))
        if variant["hook"] == "early-late":
            active = [i for i in active if iteration >= numbers[i]]
        leaf = canvas.clone().requires_grad_()
        items = [begin + i for i in active]
        view = view_of(leaf[active], variant, seed, iteration, begin, items)
        total, parts = 0, [0.0] * (1 + len(variant["regularizers"]))
        for place, share in variant["pick"](iteration, numbers[0]):
            logits = teachers[place](view)
            terms = [(1.0, F.cross_entropy(logits, labels[active]))]
            at = (seed, iteration)
            terms += [(w, t.value(teachers[place], view, labels[active], at)) for w, t in regularizers[place]]
            for i, (weight, term) in enumerate(terms):
                parts[i] += share * term.item()
                total = total + share * weight * term
        total.backward()
        lr = LR * (1 + math.cos(math.pi * iteration / STEPS)) / 2
        canvas = (canvas - lr * leaf.grad).clamp(-MEAN / STD, (1 - MEAN) / STD)
    return canvas, parts


def variants(seed):
    """All of them, as steps.rs has them in TOML."""
    alone = lambda iteration, number: [(0, 1.0)]
    cycle = lambda iteration, number: [(iteration % 2, 1.0)]
    pair = [math.exp(60 / 5), math.exp(65 / 5)]
    voters = lambda iteration, number: [(i, w / sum(pair)) for i, w in enumerate(pair)] if number % 2 == 0 else [(1, 1.0)]
    pick = lambda iteration, number: [(stream(seed, "teachers", iteration=iteration).permutation(2)[0], 1.0)]
    whole = ("random-resized", lambda iteration: 0.5)
    falling = ("random-resized", lambda iteration: 0.08 + 0.92 * (1 + math.cos(math.pi * iteration / STEPS)) / 2)
    base = {
        "init": "noise",
        "teachers": 1,
        "pick": alone,
        "regularizers": [(0.05, BnStats)],
        "crop": whole,
        "scope": "batch",
        "order": "across",
        "batch": CLASSES * IPC,
        "hook": None,
    }
    average = lambda classes, drop: lambda: LayerStats(average=0.8, drop=drop, classes=classes, patch=3)
    by_class = [(0.05, lambda: BnStats(per="class"))]
    return {
        "sre2l": base,
        "cda": {**base, "crop": falling},
        "sre2lpp": {**base, "init": "medium"},
        "dwa": {**base, "init": "real", "regularizers": [(0.05, lambda: BnStats(variance=11.0))]},
        "cvdd": {**base, "batch": CLASSES, "init": "medium", "teachers": 2, "pick": voters},
        "fadrm": {**base, "init": "medium", "hook": "residual"},
        "delt": {**base, "init": "medium", "order": "class", "hook": "early-late", "crop": falling},
        "lpld": {**base, "order": "class", "regularizers": by_class},
        "gvbsm": {
            **base,
            "teachers": 2,
            "pick": cycle,
            "order": "class",
            "crop": ("padded", 2),
            "regularizers": [(0.01, average(0.0, 0.4)), (1.0, Densification)],
        },
        "edc": {
            **base,
            "init": "real",
            "teachers": 2,
            "pick": cycle,
            "order": "class",
            "regularizers": [(0.01, average(0.5, 0.0))],
        },
        "best": {**base, "init": "confident", "teachers": 2, "pick": pick, "scope": "crop", "regularizers": by_class},
    }


STUDENT_EPOCHS, LABELLED = 12, 8


def student(seed):
    """Losses and accuracies of a student of real images, by epoch. The teacher labels 16 views, and the student learns from them, in
    two parts of 8 whose BatchNorms see no more; what is tested is an average of its parameters, beside the live running statistics."""
    teacher = Teacher(2, 6, 0.0)
    chosen = [(c, real_order(seed, "init-order", c)[n]) for n in range(LABELLED) for c in range(CLASSES)]
    images = normalised([picture(c, n) for c, n in chosen])
    classes = torch.tensor([c for c, _ in chosen])
    everything = [(c, n) for c in range(CLASSES) for n in range(EACH)]
    tested = normalised([picture(c, n) for c, n in everything])
    answers = torch.tensor([c for c, _ in everything])
    network = convnet(SIDE, CLASSES, depth=1, width=8, norm="batch").double()
    with torch.no_grad():
        initialise(network, seed, 1)
    average = {name: param.detach().clone() for name, param in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    losses, accuracies = [], []
    for epoch in range(STUDENT_EPOCHS):
        order = torch.from_numpy(Rng(seed, "relabel", "order", iteration=epoch).permutation(len(images)))
        total = 0
        for views in order.split(16):
            optimizer.zero_grad()
            network.train()
            for part in views.split(8):
                teacher.train()
                labels = teacher(images[part]).detach().float().double()
                output = network(images[part])
                loss = F.mse_loss(output, labels) + F.cross_entropy(output, classes[part])
                (loss * len(part) / len(views)).backward()
                total += loss.item() * len(part)
            optimizer.step()
            for name, param in network.named_parameters():
                average[name] = 0.9 * average[name] + 0.1 * param.detach()
        losses.append(total / len(images))
        with torch.no_grad():
            network.eval()
            logits = torch.func.functional_call(network, average, tested)
        accuracies.append(100 * (logits.argmax(1) == answers).double().mean().item())
    return {"losses": losses, "accuracies": accuracies}


def main():
    out = {}
    for seed in range(3):
        out[f"student {seed}"] = student(seed)
        for name, variant in variants(seed).items():
            canvas, parts = recover(variant, seed)
            values = canvas.flatten()
            sample = values[:: max(1, values.numel() // 64)].tolist()
            out[f"{name} {seed}"] = {
                "images": [round(v, 9) for v in sample],
                "norm": float(values.norm()),
                "last": [float(p) for p in parts],
            }
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
