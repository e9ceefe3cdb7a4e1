"""ESPCN: super-resolution by convolutions at low resolution (Shi et al. 2016)."""

from torch import Tensor, nn

__all__ = ["Espcn"]


class Espcn(nn.Module):
    """5 x 5 to 64, 3 x 3 to 32, 3 x 3 to scale^2 channels, which become the pixels between.

    conv1, act1, conv2, act2 (hyperbolic tangents), conv3, shuffle.
    """

    def __init__(self, scale: int = 3, widths: tuple[int, int] = (64, 32)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, widths[0], 5, padding=2)
        self.act1 = nn.Tanh()
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding=1)
        self.act2 = nn.Tanh()
        self.conv3 = nn.Conv2d(widths[1], scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, std=(2 / conv.weight[:, 0].numel()) ** 0.5)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.conv3.weight, std=1e-3)
        nn.init.zeros_(self.conv3.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Luminance (N, 1, H, W) -> (N, 1, scale H, scale W)."""
        x = self.act2(self.conv2(self.act1(self.conv1(x))))
        y: Tensor = self.shuffle(self.conv3(x))
        return y
