"""The networks of the published table that are no task here; shapes only, on the meta device."""

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.path = nn.Sequential(
            *(nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)),
            *(nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)),
            *(nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 4 * planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.path(x) + self.shortcut(x)


def resnet101_trunk():
    """ResNet-101 without its pooling and linear layer, with the stem of CIFAR-10."""
    layers, inputs = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)], 64
    for planes, count, stride in ((64, 3, 1), (128, 4, 2), (256, 23, 2), (512, 3, 2)):
        for number in range(count):
            layers.append(Bottleneck(inputs, planes, stride if number == 0 else 1))
            inputs = 4 * planes
    return nn.Sequential(*layers)


class Skip(nn.Module):
    """One level of the U-Net: down, what is inside, up, beside its input."""

    def __init__(self, outer, inner, inputs=None, inside=None, edge=""):
        super().__init__()
        self.edge = edge
        down = [nn.Conv2d(inputs or outer, inner, 4, 2, 1, bias=False)]
        up_inputs = inner if edge == "innermost" else 2 * inner
        up = [nn.ConvTranspose2d(up_inputs, outer, 4, 2, 1, bias=edge == "outermost")]
        if edge != "innermost":  # also at the top, as the published counts show
            down.append(nn.BatchNorm2d(inner))
        if edge != "outermost":
            up.append(nn.BatchNorm2d(outer))
        self.model = nn.Sequential(*down, *([inside] if inside else []), *up)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.edge == "outermost" else torch.cat([x, y], 1)


def unet256():
    """The generator of pix2pix."""
    block = Skip(512, 512, edge="innermost")
    for _ in range(3):
        block = Skip(512, 512, inside=block)
    for outer, inner in ((256, 512), (128, 256), (64, 128)):
        block = Skip(outer, inner, inside=block)
    return Skip(3, 64, inputs=3, inside=block, edge="outermost")


def normed(conv, outputs):
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.path = nn.Sequential(
            *(nn.ReflectionPad2d(1), *normed(nn.Conv2d(size, size, 3, bias=False), size)),
            *(nn.ReflectionPad2d(1), *normed(nn.Conv2d(size, size, 3, bias=False), size)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(x)


def resnet9():
    """The generator of CycleGAN, with batch norms, as the published counts show."""
    layers = [nn.ReflectionPad2d(3), *normed(nn.Conv2d(3, 64, 7, bias=False), 64)]
    for a, b in ((64, 128), (128, 256)):
        layers += normed(nn.Conv2d(a, b, 3, 2, 1, bias=False), b)
    layers += [Residual(256) for _ in range(9)]
    for a, b in ((256, 128), (128, 64)):
        layers += normed(nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1, bias=False), b)
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7))
