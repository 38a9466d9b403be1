"""A small anchor-free detector of handwritten digits, in plain PyTorch.

Layout: a strided convolutional backbone, a two-level feature pyramid (strides 8 and 16) with one
top-down and one bottom-up path, and one convolutional head for each level. There is only
Conv + BatchNorm + ReLU, addition, concatenation, nearest upsampling and one sigmoid, so that the
network runs and quantizes well on small CPUs and NPUs.

Every cell of a level predicts ``4 + 10`` numbers. After the sigmoid, the first four are the
distances from the centre of the cell to the left, top, right and bottom side of the box:

    distance = (sigmoid(raw) * REACH - SLACK) * stride        [input pixels]

This is the parametrisation of FCOS (Tian et al., 2019) with bounded distances: a bounded range is
kind to 8-bit arithmetic, and the small negative part lets a cell own a box that is thinner than
the cell. The other ten are independent class probabilities.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

INPUT_SIZE: Final = 192
"""Side of the square network input, in pixels."""
NUM_CLASSES: Final = 10
STRIDES: Final = (8, 16)
"""Input pixels per cell of each output level."""
REACH: Final = 6.0
"""Largest distance (plus SLACK) from a cell's centre to a box side, in strides."""
SLACK: Final = 0.5
"""How far a cell's centre may lie outside the box, in strides."""


class ConvBnRelu(nn.Module):
    """Square convolution, batch normalisation and ReLU; keeps or halves the resolution."""

    def __init__(self, cin: int, cout: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, cin, H, W] to float32 [B, cout, ceil(H/stride), ceil(W/stride)]."""
        return nn.functional.relu(self.bn(self.conv(x)))

    def fuse(self) -> None:
        """Fold the batch normalisation into the convolution (evaluation mode only)."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Bottleneck(nn.Module):
    """Residual block: a 3x3 convolution to half the channels and one back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = ConvBnRelu(channels, channels // 2)
        self.expand = ConvBnRelu(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, C, H, W] to the same shape."""
        return x + self.expand(self.squeeze(x))


class DigitDetector(nn.Module):
    """Digit detector for letterboxed RGB images of ``INPUT_SIZE`` pixels.

    Input: float32 [B, 3, 192, 192], RGB, values 0..1 (pixel / 255), letterbox padding 114 / 255.

    Output, by mode:

    * training, or ``raw=True``: one float32 map [B, 14, 192/stride, 192/stride] for each stride,
      before the sigmoid: channels 0-3 the distances (left, top, right, bottom), 4-13 the classes.
    * otherwise: float32 [B, 14, A], A = 720 cells, stride 8 first, rows of the grid in order.
      Rows 0-3 are cx, cy, w, h in input pixels, rows 4-13 the class probabilities 0..1. This is
      the documented output layout of YOLOv8 detection exports; suppression is left to the caller.
    """

    anchors: Tensor
    """float32 [2, A]: x and y of the cells' centres, in input pixels."""
    cell_strides: Tensor
    """float32 [1, A]: the stride of each cell, in input pixels."""

    def __init__(self, raw: bool = False) -> None:
        super().__init__()
        self.raw = raw
        self.stem = nn.Sequential(
            ConvBnRelu(3, 16, stride=2), ConvBnRelu(16, 32, stride=2), Bottleneck(32)
        )
        self.stage8 = nn.Sequential(ConvBnRelu(32, 64, stride=2), Bottleneck(64))
        self.stage16 = nn.Sequential(ConvBnRelu(64, 96, stride=2), Bottleneck(96))
        self.lateral = ConvBnRelu(96, 64, kernel=1)
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.merge8 = nn.Sequential(ConvBnRelu(128, 64, kernel=1), Bottleneck(64))
        self.down = ConvBnRelu(64, 64, stride=2)
        self.merge16 = ConvBnRelu(128, 64, kernel=1)
        outputs = 4 + NUM_CLASSES
        self.heads = nn.ModuleList(
            nn.Sequential(ConvBnRelu(64, 64), nn.Conv2d(64, outputs, 1)) for _ in STRIDES
        )
        for head in self.heads:
            bias = head[1].bias
            nn.init.constant_(bias[:4], -0.7)  # about 1.5 strides to each side
            nn.init.constant_(bias[4:], -4.6)  # a prior probability of 0.01 (Lin et al., 2017)
        anchors, cell_strides = make_grid(INPUT_SIZE)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("cell_strides", cell_strides, persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map float32 images [B, 3, S, S] to the raw maps, one [B, 14, S/stride, S/stride] each."""
        c8 = self.stage8(self.stem(images))
        top = self.lateral(self.stage16(c8))
        p8 = self.merge8(torch.cat((self.upsample(top), c8), 1))
        p16 = self.merge16(torch.cat((self.down(p8), top), 1))
        return [head(level) for head, level in zip(self.heads, (p8, p16), strict=True)]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Run the network; the class docstring gives the shapes."""
        maps = self.features(images)
        if self.training or self.raw:
            return maps
        flat = flatten_maps(maps).sigmoid()
        left_top, right_bottom = distances(flat, self.cell_strides).split(2, 1)
        centre = self.anchors + (right_bottom - left_top) * 0.5
        return torch.cat((centre, left_top + right_bottom, flat[:, 4:]), 1)

    def decode(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Turn raw maps into boxes and class logits, as the loss wants them.

        Returns:
            Boxes float32 [B, A, 4], corners x1, y1, x2, y2 in input pixels, and logits
            float32 [B, A, 10].
        """
        flat = flatten_maps(maps)
        left_top, right_bottom = distances(flat[:, :4].sigmoid(), self.cell_strides).split(2, 1)
        boxes = torch.cat((self.anchors - left_top, self.anchors + right_bottom), 1)
        return boxes.transpose(1, 2), flat[:, 4:].transpose(1, 2)

    def fuse(self) -> DigitDetector:
        """Fold every batch normalisation into its convolution, in place; returns the model."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvBnRelu):
                module.fuse()
        return self


def make_grid(size: int) -> tuple[Tensor, Tensor]:
    """Centres float32 [2, A] and strides float32 [1, A] of all cells, in input pixels."""
    centres, strides = [], []
    for stride in STRIDES:
        axis = (torch.arange(size // stride, dtype=torch.float32) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten())))
        strides.append(torch.full((1, x.numel()), float(stride)))
    return torch.cat(centres, 1), torch.cat(strides, 1)


def flatten_maps(maps: list[Tensor]) -> Tensor:
    """Join maps [B, 14, H, W] of all levels into [B, 14, A], the rows of each grid in order."""
    return torch.cat([level.flatten(2) for level in maps], 2)


def distances(activated: Tensor, cell_strides: Tensor) -> Tensor:
    """Distances [B, 4, A] (left, top, right, bottom; input pixels) from sigmoids [B, 4+, A]."""
    return (activated[:, :4] * REACH - SLACK) * cell_strides
