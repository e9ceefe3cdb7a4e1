"""The generator of pix2pix: a U-Net of strided and transposed convolutions (Isola et al. 2017)."""

import torch
from torch import Tensor, nn

__all__ = ["UNet"]


class UNet(nn.Module):
    """Halve the picture `depth` times, widen it again, each time beside what was there before.

    Down: 4 x 4 convolution, batch norm, leaky ReLU of 1/4; up: 4 x 4 transposed convolution, batch
    norm, ReLU; the innermost and outermost have no norm. The slope is a power of two, which the
    published 0.2 is not, and there is no dropout.
    """

    def __init__(self, width: int, depth: int, colours: int = 3) -> None:
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inputs = colours
        for level, outputs in enumerate(widths):
            self.down.append(_down(inputs, outputs, norm=0 < level < depth - 1))
            inputs = outputs
        for level in reversed(range(1, depth)):
            self.up.append(_up(inputs, widths[level - 1]))
            inputs = 2 * widths[level - 1]
        self.last = nn.ConvTranspose2d(inputs, colours, 4, 2, 1)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        """(N, colours, H, W) -> the same, within -1..1; H and W multiples of 2^depth."""
        kept: list[Tensor] = []
        for layer in self.down:
            x = layer(x)
            kept.append(x)
        for layer, beside in zip(self.up, reversed(kept[:-1]), strict=True):
            x = torch.cat([layer(x), beside], 1)
        y: Tensor = self.act(self.last(x))
        return y


def _down(inputs: int, outputs: int, *, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not norm)]
    layers += [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(*layers, nn.LeakyReLU(0.25))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())
