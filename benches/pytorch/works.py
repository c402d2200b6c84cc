"""The steps that are compared, as one writes them in PyTorch; `benches/src/work` has the same in Rust."""

import contextlib
import dataclasses
import math
import random

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from networks import CLASSES, NETWORKS

RESOLUTION = 32
# Mean and deviation of CIFAR-10, as SRe2L's CIFAR scripts have them.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclasses.dataclass
class Size:
    network: str
    batch: int
    synthetic: int


@dataclasses.dataclass
class Form:
    """How PyTorch is asked to do its work."""

    compiled: bool = False
    bf16_channels_last: bool = False

    def compile(self, function):
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compiled else function

    def precision(self, device):
        return torch.autocast(device.type, torch.bfloat16) if self.bf16_channels_last else contextlib.nullcontext()

    def layout(self, thing):
        return thing.to(memory_format=torch.channels_last) if self.bf16_channels_last else thing


FORMS = {
    "eager": Form(),
    "compiled": Form(compiled=True),
    "bf16": Form(bf16_channels_last=True),
    "bf16-compiled": Form(compiled=True, bf16_channels_last=True),
}


def labels(count):
    return torch.arange(count) % CLASSES


def noise_bytes(count):
    return torch.randint(0, 256, (count, 3, RESOLUTION, RESOLUTION), dtype=torch.uint8)


def normalised(pixels):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels / 255 - mean) / std


def watched(model):
    """A list to which each forward pass adds the distances of all BatchNorms' statistics: SRe2L's hooks. It is to be cleared before."""
    distances = []

    def hook(norm, inputs, _):
        x = inputs[0].flatten(0, 1) if inputs[0].dim() == 3 else inputs[0]
        mean = x.mean([i for i in range(x.dim()) if i != 1])
        var = x.transpose(0, 1).contiguous().view(x.shape[1], -1).var(1, unbiased=False)
        distances.append(torch.norm(norm.running_var - var, 2) + torch.norm(norm.running_mean - mean, 2))

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.register_forward_hook(hook)
    return distances


def recover(size, form):
    """A step of SRe2L's recover: losses on the inputs of all BatchNorms, seen by forward hooks, in eval mode, the weights frozen."""
    weight_bn, first_bn, weight_tv, weight_l2 = 0.01, 10.0, 1e-4, 1e-5
    lr, iterations, shift_end = 0.25, 4000, 5
    model = form.layout(NETWORKS[size.network].build(RESOLUTION)).eval().requires_grad_(False)
    distances = watched(model)
    targets = labels(size.batch)

    def loss_of(view):
        distances.clear()
        with form.precision(view.device):
            logits = model(view)
        ce = F.cross_entropy(logits, targets)
        bn = sum(d * (first_bn if i == 0 else 1.0) for i, d in enumerate(distances))
        pairs = (
            (view[..., :-1], view[..., 1:]),
            (view[..., :-1, :], view[..., 1:, :]),
            (view[..., 1:, :-1], view[..., :-1, 1:]),
            (view[..., :-1, :-1], view[..., 1:, 1:]),
        )
        tv = sum(torch.norm(a - b) for a, b in pairs)
        l2 = torch.norm(view.reshape(len(view), -1), dim=1).mean()
        return ce + weight_bn * bn + weight_tv * tv + weight_l2 * l2

    loss_of = form.compile(loss_of)
    augment = v2.Compose([v2.RandomResizedCrop(RESOLUTION), v2.RandomHorizontalFlip()])
    canvas = torch.randn(size.batch, 3, RESOLUTION, RESOLUTION, requires_grad=True)
    optimizer = torch.optim.Adam([canvas], lr=lr, betas=(0.5, 0.9), eps=1e-8)
    low, high = (normalised(torch.full((1, 3, 1, 1), v)) for v in (0.0, 255.0))
    at = 0

    def step():
        nonlocal at
        optimizer.param_groups[0]["lr"] = 0.5 * lr * (1 + math.cos(math.pi * at / iterations))
        at = (at + 1) % iterations
        view = augment(canvas)
        shifts = random.randrange(shift_end), random.randrange(shift_end)
        view = form.layout(torch.roll(view, shifts, (2, 3)))
        optimizer.zero_grad()
        loss = loss_of(view)
        loss.backward()
        optimizer.step()
        canvas.data = torch.minimum(torch.maximum(canvas.data, low), high)
        return loss.item()

    return step


def training(size, form):
    """A step of training: cross-entropy, SGD with momentum and weight decay."""
    model = form.layout(NETWORKS[size.network].build(RESOLUTION)).train()
    images, targets = form.layout(normalised(noise_bytes(size.batch))), labels(size.batch)
    # PyTorch's fused optimizer is its fastest; a script gets the plain one unless it asks.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=form.compiled or None)

    def loss_of(images):
        with form.precision(images.device):
            logits = model(images)
        return F.cross_entropy(logits, targets)

    loss_of = form.compile(loss_of)

    def step():
        optimizer.zero_grad()
        loss = loss_of(images)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def row_distance(found, wanted):
    """DC's distance of two gradients: 1 - cosine, a row for each output channel."""
    found, wanted = found.flatten(1), wanted.flatten(1)
    norms = found.norm(dim=1) * wanted.norm(dim=1)
    return (1 - (found * wanted).sum(1) / (norms + 1e-6)).sum()


def distance_of(found, wanted):
    # DC leaves out biases and the vectors of norms.
    return sum(row_distance(f, w) for f, w in zip(found, wanted) if f.dim() > 1)


def gradient_matching(size, form):
    """A step of DC: the gradient of a synthetic batch is pulled towards that of a real one, by a step on the synthetic images."""
    model = form.layout(NETWORKS[size.network].build(RESOLUTION)).train()
    real, real_targets = form.layout(normalised(noise_bytes(size.batch))), labels(size.batch)
    targets = labels(size.synthetic)
    synthetic = form.layout(torch.randn(size.synthetic, 3, RESOLUTION, RESOLUTION)).requires_grad_()
    optimizer = torch.optim.SGD([synthetic], lr=0.1, momentum=0.5)
    parameters = dict(model.named_parameters())

    def loss_of(parameters, images, targets):
        with form.precision(images.device):
            logits = torch.func.functional_call(model, parameters, (images,))
        return F.cross_entropy(logits, targets)

    def step():
        values = list(parameters.values())
        wanted = torch.autograd.grad(loss_of(parameters, real, real_targets), values)
        loss = loss_of(parameters, synthetic, targets)
        found = torch.autograd.grad(loss, values, create_graph=True)
        distance = distance_of(found, wanted)
        optimizer.zero_grad()
        distance.backward(inputs=[synthetic])
        optimizer.step()
        return distance.item()

    # Compiled code cannot be differentiated twice from outside, but a function that differentiates twice can be compiled.
    def images_gradient(parameters, real, synthetic):
        by_weights = torch.func.grad(loss_of)
        wanted = by_weights(parameters, real, real_targets)

        def distance(images):
            found = by_weights(parameters, images, targets)
            return distance_of(found.values(), wanted.values())

        return torch.func.grad_and_value(distance)(synthetic)

    images_gradient = form.compile(images_gradient)
    frozen = {name: value.detach() for name, value in parameters.items()}

    def compiled_step():
        synthetic.grad, distance = images_gradient(frozen, real, synthetic.detach())
        optimizer.step()
        return distance.item()

    return compiled_step if form.compiled else step


def relabel(size, form):
    """Labels of a batch as FKD makes them: a crop and a coin for each image, cutmix, logits in half precision."""
    model = form.compile(form.layout(NETWORKS[size.network].build(RESOLUTION)).eval())
    pixels = noise_bytes(size.batch)
    augment = v2.Compose([v2.RandomResizedCrop(RESOLUTION), v2.RandomHorizontalFlip()])
    beta = torch.distributions.Beta(1.0, 1.0)

    @torch.no_grad()
    def step():
        images = normalised(torch.stack([augment(image) for image in pixels]))
        cut = math.sqrt(1 - beta.sample().item()) * RESOLUTION / 2
        y, x = random.randrange(RESOLUTION), random.randrange(RESOLUTION)
        top, left = int(max(y - cut, 0)), int(max(x - cut, 0))
        bottom, right = int(min(y + cut, RESOLUTION)), int(min(x + cut, RESOLUTION))
        partners = images[torch.randperm(size.batch)]
        images[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        with form.precision(images.device):
            logits = model(form.layout(images)).half()
        return logits.float().sum().item()

    return step


WORKS = {"recover": recover, "training": training, "gradient-matching": gradient_matching, "relabel": relabel}
