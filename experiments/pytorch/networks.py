"""The students: ConvNets and ResNets, names and initial weights those of the plugins. Needs PyTorch."""

import math

import torch
from torch import nn

from philox import Rng


def build(plugin, params, side, classes):
    """The network of an architecture component, for RGB images of `side` pixels."""
    builders = {"convnet": convnet, "resnet": resnet}
    name = plugin.rpartition("::")[2]
    if name not in builders:
        raise ValueError(f'architecture "{plugin}" is not written here (have: {", ".join(builders)})')
    return builders[name](side, classes, **params)


def norm_layer(kind, channels):
    """The norm of an option `norm`; InstanceNorm is one group for each channel."""
    layers = {
        "batch": nn.BatchNorm2d,
        "instance": lambda channels: nn.GroupNorm(channels, channels),
        "group": lambda channels: nn.GroupNorm(4, channels),
        "none": lambda channels: nn.Identity(),
    }
    return layers[kind](channels)


class ConvNet(nn.Module):
    """`features`, four layers a block, then `classifier` on all that is left."""

    def __init__(self, features, classifier):
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def convnet(side, classes, depth=3, width=128, norm="instance", pooling="avg"):
    """The ConvNet of the matching literature: blocks of convolution, norm, ReLU and pooling, then a linear layer."""
    pool = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d, "none": lambda _: nn.Identity()}[pooling]
    layers, channels = [], 3
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), norm_layer(norm, width), nn.ReLU(inplace=True), pool(2)]
        channels = width
    left = side if pooling == "none" else side >> depth
    return ConvNet(nn.Sequential(*layers), nn.Linear(width * left * left, classes))


class Block(nn.Module):
    """`relu(branch(x) + shortcut(x))`; layers: kernel, stride and outputs of each convolution of the branch."""

    def __init__(self, inputs, layers, stride, norm):
        super().__init__()
        self.depth, channels = len(layers), inputs
        for i, (kernel, step, outputs) in enumerate(layers, 1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, outputs, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", norm_layer(norm, outputs))
            channels = outputs
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), norm_layer(norm, channels)
            )

    def forward(self, x):
        h = x
        for i in range(1, self.depth + 1):
            h = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(h))
            h = h.relu() if i < self.depth else h
        return (h + (x if self.downsample is None else self.downsample(x))).relu()


# Channels that come out of a block over those inside, and blocks of each stage.
BLOCKS = {
    18: (1, (2, 2, 2, 2)),
    34: (1, (3, 4, 6, 3)),
    50: (4, (3, 4, 6, 3)),
    101: (4, (3, 4, 23, 3)),
    152: (4, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """torchvision's ResNet; `stem = "small"` has a convolution 3x3 of stride 1 and no pooling."""

    def __init__(self, classes, depth, stem, width, norm):
        super().__init__()
        kernel, stride = (3, 1) if stem == "small" else (7, 2)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = norm_layer(norm, width)
        self.maxpool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, 2, 1)
        (expansion, counts), channels = BLOCKS[depth], width
        for i, count in enumerate(counts):
            blocks, inside = [], width << i
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                layers = [(3, stride, inside), (3, 1, inside)]
                if expansion == 4:
                    layers = [(1, 1, inside), (3, stride, inside), (1, 1, 4 * inside)]
                blocks.append(Block(channels, layers, stride, norm))
                channels = expansion * inside
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        h = self.maxpool(self.bn1(self.conv1(x)).relu())
        h = self.layer4(self.layer3(self.layer2(self.layer1(h))))
        return self.fc(h.mean((2, 3)))


def resnet(side, classes, depth=18, stem="imagenet", width=64, norm="batch"):
    """A ResNet for images of any size."""
    return ResNet(classes, depth, stem, width, norm)


@torch.no_grad()
def initialise(network, seed, member):
    """Fills a network with the initial weights that the program draws: `member` 0 is the teacher, seed + 1 a student.

    Convolutions without bias (ResNet's): normal, deviation sqrt(2 / fan_out). All other convolutions and linear layers:
    uniform within 1 / sqrt(fan_in), as PyTorch's. Norms: 1 and 0.
    """
    for path, layer in network.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for name, param in layer.named_parameters():
            rng = Rng(seed, "init", f"{path}.{name}", item=member)
            if isinstance(layer, nn.Conv2d) and layer.bias is None:
                fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                values = rng.normals(param.numel()) * math.sqrt(2 / fan_out)
            else:
                values = -bound + 2 * bound * rng.uniforms(param.numel())
            param.copy_(torch.from_numpy(values).float().view_as(param))
