"""MobileNetV2 (Sandler et al. 2018) with the strides that pictures of 32 x 32 need.

Stem, second stage and first of the fourth at stride 1, no dropout, ReLU, a projected shortcut where
the channels change: the network that Zhang et al. 2021 (arXiv 2110.08271) trained on CIFAR-10.
"""

from torch import Tensor, nn

__all__ = ["InvertedResidual", "mobilenet_v2"]

# expansion, outputs, blocks, stride of the first
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; a shortcut around it at stride 1."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * inputs
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.around = stride == 1
        self.shortcut = nn.Sequential()
        if self.around and inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        out: Tensor = self.bn3(self.conv3(y))
        return out + self.shortcut(x) if self.around else out


class MobileNetV2(nn.Module):
    """Stem, seven stages, a 1 x 1 convolution, an average and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU()
        blocks, inputs = [], 32
        for expansion, outputs, count, stride in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, expansion, step))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(inputs, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.act2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) -> scores (N, classes)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        x = self.act2(self.bn2(self.conv2(x)))
        scores: Tensor = self.linear(self.flat(self.pool(x)))
        return scores


def mobilenet_v2(classes: int = 10) -> nn.Module:
    """MobileNetV2 of (N, 3, 32, 32)."""
    return MobileNetV2(classes)
