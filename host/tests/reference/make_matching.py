#!/usr/bin/env python3
"""PyTorch's values for matchers, in float64, with tensors filled as make_reference.py fills them: matching.json.

distribution    DM's loss, sum over classes 0 and 1 of ||mean embedding of real - mean embedding of synthetic images||^2, and its
                gradient by the synthetic images. Synthetic: "input" [4, 3, 32, 32] of classes 0, 1, 0, 1; real images of class c:
                1.5 uniform("real.c") [5, 3, 32, 32].
tesla           make_reference.py's trajectory matching with the parameters that a step begins with taken as constants, in 1, 3 and 5
                steps: the same loss, its gradient by images and learning rate.

Run:  pip install torch torchvision timm && python make_matching.py
"""
import json

import torch
import torch.nn.functional as F
from make_reference import ConvNet, fill, tensor, uniform

SHAPE = (4, 3, 32, 32)


def network(norm):
    model = ConvNet(3, norm, 10, 32).double().train()
    fill(model)
    return model


def parts(gradient):
    return {"dx_norm": gradient.norm().item(), "dx_head": gradient.flatten()[:16].tolist()}


def distribution(norm):
    model = network(norm)
    x = tensor("input", SHAPE).requires_grad_()
    embed = lambda images: model.features(images).flatten(1).mean(0)
    loss = 0
    for c in range(2):
        real = 1.5 * torch.from_numpy(uniform(f"real.{c}", 5 * 3 * 32 * 32)).reshape(5, 3, 32, 32)
        loss = loss + ((embed(real).detach() - embed(x[c::2])) ** 2).sum()
    (dx,) = torch.autograd.grad(loss, x)
    return {"norm": norm, "loss": loss.item(), **parts(dx)}


def tesla(norm, steps):
    model = network(norm)
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    target = {n: p + 0.01 * torch.from_numpy(uniform("target." + n, p.numel())).reshape(p.shape) for n, p in start.items()}
    x = tensor("input", SHAPE).requires_grad_()
    lr = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    y = torch.arange(4)
    theta = start
    for _ in range(steps):
        constants = {n: p.detach().requires_grad_() for n, p in theta.items()}
        ce = F.cross_entropy(torch.func.functional_call(model, constants, (x,)), y)
        gs = torch.autograd.grad(ce, list(constants.values()), create_graph=True)
        # The sum of all steps keeps its graph; the gradients see the parameters as constants.
        theta = {n: p - lr * g for (n, p), g in zip(theta.items(), gs)}
    left = sum(((theta[n] - target[n]) ** 2).sum() for n in theta)
    way = sum(((start[n] - target[n]) ** 2).sum() for n in theta)
    dx, dlr = torch.autograd.grad(left / way, [x, lr])
    return {"norm": norm, "steps": steps, "loss": (left / way).item(), **parts(dx), "dlr": dlr.item()}


if __name__ == "__main__":
    values = {
        "distribution": [distribution(norm) for norm in ("instance", "batch")],
        "tesla": [tesla("instance", steps) for steps in (1, 3, 5)],
    }
    with open("matching.json", "w") as file:
        json.dump(values, file, indent=1)
        file.write("\n")
