"""The shipped networks, each as one builds it in PyTorch and as the component of this project that is the same."""

import dataclasses
from collections.abc import Callable

import torch.nn.functional as F
import torchvision.models as tvm
from torch import nn

CLASSES = 10


@dataclasses.dataclass
class Network:
    """A network on both sides: a component as `alambic-step --network` takes it, and a builder for images of some pixels a side."""

    ours: str
    build: Callable[[int], nn.Module]


def small_resnet(model):
    """With the stem for small images (SRe2L's CIFAR and Tiny-ImageNet scripts)."""
    model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def convnet(norm, width=128, depth=3):
    """The ConvNet of the matching literature: blocks of convolution, norm, ReLU, mean of 2x2, then a linear layer."""

    def build(side):
        layers, channels = [], 3
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), norm(width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * (side >> depth) ** 2, CLASSES))

    return build


def instance_norm(channels):
    return nn.GroupNorm(channels, channels)


def pooled(layers, channels):
    """Features, the mean over the image, a linear layer."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def vgg11(_):
    return pooled(tvm.vgg11_bn().features, 512)


def alexnet(side):
    """DC's, for small images."""
    layers, channels = [], 3
    for outputs, kernel, pool in [(128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)]:
        layers += [nn.Conv2d(channels, outputs, kernel, padding=kernel // 2), nn.ReLU()] + [nn.MaxPool2d(2)] * pool
        channels = outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (side // 8) ** 2, CLASSES))


def lenet(_):
    features = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*features, *dense(400, 120, 84))


def mlp(side):
    return nn.Sequential(nn.Flatten(), *dense(3 * side * side, 128, 128))


def dense(inputs, *hidden):
    """Linear layers with ReLU between them."""
    layers = []
    for outputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        inputs = outputs
    return [*layers, nn.Linear(inputs, CLASSES)]


class WideBlock(nn.Module):
    """A pre-activation block whose shortcut, where channels change, is a convolution of the activated input."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x):
        active = F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return branch + (x if self.shortcut is None else self.shortcut(active))


def wide_resnet(depth, widen):
    def build(_):
        layers, channels = [nn.Conv2d(3, 16, 3, padding=1, bias=False)], 16
        for outputs, stride in [(16 * widen, 1), (32 * widen, 2), (64 * widen, 2)]:
            for i in range((depth - 4) // 6):
                layers.append(WideBlock(channels, outputs, stride if i == 0 else 1))
                channels = outputs
        return pooled([*layers, nn.BatchNorm2d(channels), nn.ReLU()], channels)

    return build


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm of tokens (N, L, C), one statistic for each channel."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class BnMlp(nn.Module):
    """The MLP of BN-ViT: a BatchNorm between the two linear layers, before the activation."""

    def __init__(self, mlp):
        super().__init__()
        self.fc1, self.act, self.fc2 = mlp.fc1, mlp.act, mlp.fc2
        self.norm = TokenBatchNorm(mlp.fc1.out_features)

    def forward(self, x):
        return self.fc2(self.act(self.norm(self.fc1(x))))


def vit_tiny(side):
    import timm  # needed by nothing else

    return timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES, img_size=side)


def bn_vit_tiny(side):
    """BN-ViT (Yao et al., ICCVW 2021): every LayerNorm becomes a BatchNorm of tokens, and each MLP gets one more."""
    model = vit_tiny(side)
    model.norm = TokenBatchNorm(model.embed_dim)
    for block in model.blocks:
        block.norm1, block.norm2 = TokenBatchNorm(model.embed_dim), TokenBatchNorm(model.embed_dim)
        block.mlp = BnMlp(block.mlp)
    return model


def torchvision(name, **options):
    return lambda _: getattr(tvm, name)(num_classes=CLASSES, **options)


# Dropout and stochastic depth are left out on both sides.
NETWORKS = {
    "resnet18": Network("resnet18", lambda _: small_resnet(tvm.resnet18(num_classes=CLASSES))),
    "resnet18-imagenet": Network("resnet18-imagenet", torchvision("resnet18")),
    "resnet50-imagenet": Network("resnet50-imagenet", torchvision("resnet50")),
    "mobilenet-v2": Network("mobilenet-v2", torchvision("mobilenet_v2", dropout=0.0)),
    "efficientnet-b0": Network("efficientnet-b0", torchvision("efficientnet_b0", dropout=0.0, stochastic_depth_prob=0.0)),
    "shufflenet-v2": Network("shufflenet-v2", torchvision("shufflenet_v2_x1_0")),
    "densenet121": Network("densenet", torchvision("densenet121")),
    "vit-tiny": Network("vit", vit_tiny),
    "bn-vit-tiny": Network('vit:{"norm": "batch"}', bn_vit_tiny),
    "vgg11": Network("vgg", vgg11),
    "wrn-16-2": Network("wide-resnet", wide_resnet(16, 2)),
    "alexnet": Network("alexnet", alexnet),
    "lenet": Network("lenet", lenet),
    "mlp": Network("mlp", mlp),
    "convnet3": Network("convnet3", convnet(instance_norm)),
    "convnet3-bn": Network("convnet3-bn", convnet(nn.BatchNorm2d)),
    "convnet3-bn-32": Network('convnet:{"norm": "batch", "width": 32}', convnet(nn.BatchNorm2d, width=32)),
}
