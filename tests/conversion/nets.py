"""Tiny torch modules for the tests of sources and of the export."""

from __future__ import annotations

import torch
from torch import nn


class TinyNet(nn.Module):
    """Convolution, batch normalisation, ReLU; returns class logits [1, 5] and a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.bn = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.bn(self.conv(image)).relu()
        return self.head(features.mean((2, 3))), features


def tiny() -> TinyNet:
    """Make it with the same weights every time, and statistics unlike those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = TinyNet()
        nn.init.uniform_(net.bn.running_mean, -0.5, 0.5)
        nn.init.uniform_(net.bn.running_var, 0.5, 2)
    return net.eval()


def not_a_module() -> int:
    return 7


def broken() -> nn.Module:
    raise ValueError("no weights today")


def needs_argument(width: int) -> nn.Module:
    return nn.Conv2d(3, width, 1)
