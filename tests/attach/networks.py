"""The networks that attach is tried on, each with an input."""

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """A small image network: batch norm, a residual add, a pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.stem(x)))
        x = self.relu2(x + self.bn2(self.conv(x)))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.mha(x, x, x)[0]).mean(1))


class Tied(nn.Module):
    """An autoencoder whose two layers hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 6)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.relu(self.encoder(x)))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )


NETWORKS = {
    "mlp": (mlp, (32, 6)),
    "cnn": (Residual, (8, 3, 8, 8)),
    "lstm": (Recurrent, (16, 7, 5)),
    "attention": (Attention, (8, 5, 8)),
}


def make(name: str) -> tuple[nn.Module, Tensor]:
    """A network from a fixed seed, and a batch for it."""
    torch.manual_seed(1)
    build, shape = NETWORKS[name]
    return build(), torch.randn(shape)
