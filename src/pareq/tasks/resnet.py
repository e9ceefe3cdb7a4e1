"""ResNet-20 for pictures of 32 x 32 (He et al. 2016 section 4.2), with projected shortcuts."""

from torch import Tensor, nn

__all__ = ["BasicBlock", "resnet20"]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a shortcut: (N, inputs, H, W) to (N, ...)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.act2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        out: Tensor = self.act2(y + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """A 3 x 3 stem, three stages of three blocks, an average and a linear layer."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        blocks, inputs = [], width
        for stage in range(3):
            for number in range(3):
                stride = 2 if stage and number == 0 else 1
                blocks.append(BasicBlock(inputs, width * 2**stage, stride))
                inputs = width * 2**stage
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) -> scores (N, classes)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        scores: Tensor = self.linear(self.flat(self.pool(x)))
        return scores


def resnet20(classes: int = 10, width: int = 16) -> nn.Module:
    """ResNet-20 of (N, 3, 32, 32); width: channels of the first stage."""
    return ResNet(classes, width)
