"""Files of weights as PyTorch saves them, for host/tests/program/weights.rs. Made with PyTorch 2.15:

    python3 make_weights.py

All hold the ConvNet of one block with 2 channels and BatchNorm for 8x8 pixels and 3 classes, filled by `fill`.
"""

import argparse
import collections
import pathlib

import numpy
import torch
from torch import nn


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.AvgPool2d(2)
        )
        self.classifier = nn.Linear(2 * 4 * 4, 3)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def fill(state):
    """Element i of each float tensor is (i % 64) / 64, which f16 and bf16 hold exactly; variances are one more."""
    for name, tensor in state.items():
        if tensor.is_floating_point():
            values = torch.arange(tensor.numel()).remainder(64).div(64).reshape(tensor.shape)
            tensor.copy_(values + name.endswith("running_var"))


def main():
    folder = pathlib.Path(__file__).parent / "weights"
    folder.mkdir(exist_ok=True)
    model = ConvNet()
    fill(model.state_dict())
    plain = model.state_dict()
    torch.save(plain, folder / "plain.pth")
    torch.save(plain, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    # As a training script with DataParallel, half precision and channels_last leaves it.
    wrapped = {
        "module." + name: (value.half() if value.is_floating_point() else value) for name, value in plain.items()
    }
    first = "module.features.0.weight"
    wrapped[first] = wrapped[first].to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint = {
        "epoch": 90,
        "arch": "convnet",
        "best_acc1": 71.5,
        "args": argparse.Namespace(lr=0.1, gpu=None),
        "state_dict": wrapped,
        "optimizer": optimizer.state_dict(),
    }
    torch.save(checkpoint, folder / "checkpoint.pth")
    # Views of one storage, as parameters; the other types of floats.
    flat = torch.cat([v.flatten().double() for v in plain.values()])
    views, at = {}, 0
    for name, value in plain.items():
        view = flat[at : at + value.numel()].view(value.shape)
        views["_orig_mod." + name] = nn.Parameter(view, requires_grad=False)
        at += value.numel()
    views["_orig_mod.classifier.bias"] = plain["classifier.bias"].bfloat16()
    torch.save({"model": views, "iteration": 5}, folder / "views.pt")
    torch.save(nn.Linear(2, 2), folder / "module.pth")
    scripts(folder, model, optimizer)


def scripts(folder, model, optimizer):
    """Checkpoints as training scripts leave them, in the pickle protocols 2 to 5."""
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    fill(model.state_dict())
    # PyTorch's ImageNet example, whose accuracy is a tensor; scalars of NumPy, states of generators.
    example = {
        "epoch": 90,
        "arch": "convnet",
        "state_dict": {"module." + name: value for name, value in model.state_dict().items()},
        "best_acc1": torch.tensor(71.5),
        "best_loss": numpy.float64(0.25),
        "optimizer": optimizer.state_dict(),
        "generator": torch.get_rng_state(),
        "temperature": nn.Parameter(torch.ones(1)),
        "seconds": 1 << 70,
    }
    torch.save(example, folder / "example.pth", pickle_protocol=2)
    # A model beside its average, of which each value is a half.
    average = torch.optim.swa_utils.AveragedModel(model)
    with torch.no_grad():
        for parameter in average.module.parameters():
            parameter.fill_(0.5)
    averaged = {
        "model_ema": average.state_dict(),
        "model": model.state_dict(),
        "history": {"loss": numpy.array([0.5, 0.25]), "steps": [-(1 << 40), b"bytes", bytearray(b"more"), {1, 2}]},
    }
    torch.save(averaged, folder / "averaged.pth", pickle_protocol=5)
    # A module of Lightning, whose network is one of its attributes.
    lightning = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": collections.OrderedDict(("model." + name, value) for name, value in model.state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    torch.save(lightning, folder / "lightning.ckpt", pickle_protocol=4)
    # A teacher, which differs, and a student under one key.
    pair = {"student." + name: value for name, value in model.state_dict().items()}
    pair |= {"teacher." + name: value for name, value in average.module.state_dict().items()}
    torch.save({"weights": {"last": pair}, "best": torch.tensor(3)}, folder / "pair.pth", pickle_protocol=3)


if __name__ == "__main__":
    main()
