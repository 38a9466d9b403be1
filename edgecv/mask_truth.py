"""True objects with outlines: masks and oriented boxes, as data sets tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from edgecv.masks import Masks, paint
from edgecv.polygons import rasterise
from edgecv.truth import BoxTruth
from edgecv.types import Array, Float32, Int32

Outline = Sequence[Array]
"""One object: polygons (P, 2) x, y whose union it is, or one (R,) array of COCO's run lengths."""


@dataclass(frozen=True, slots=True)
class MaskTruth(BoxTruth):
    """M true masks with their boxes; M may be 0.

    Attributes:
        outlines: M objects; polygons in the units of `xyxy`. Run lengths are of the whole image.
    """

    outlines: tuple[Outline, ...] = ()

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one that is written here.
        BoxTruth.__post_init__(self)
        if len(self.outlines) != len(self.class_id):
            raise ValueError(
                f"MaskTruth.outlines: expected {len(self.class_id)}; got {len(self.outlines)}"
            )

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return boxes and polygons in source pixels; not clipped."""
        if not self.normalised:
            return self
        height, width = size_hw
        scale = np.array([width, height, width, height], np.float32)
        outlines = tuple([part * scale[:2] for part in outline] for outline in self.outlines)
        return replace(self, xyxy=self.xyxy * scale, outlines=outlines, normalised=False)

    def masks(self, size_hw: tuple[int, int]) -> Masks:
        """Paint the outlines, in source pixels, on an image of (height, width).

        Raises:
            ValueError: run lengths are of an image of another size.
        """
        offsets = np.zeros((len(self), 2), np.int32)
        crops = []
        for i, outline in enumerate(self.outlines):
            runs = len(outline) == 1 and outline[0].ndim == 1
            full = paint(outline[0].tolist(), size_hw) if runs else rasterise(outline, size_hw)
            one = Masks.from_full(full[None])
            offsets[i] = one.offset_xy[0]
            crops.append(one.crops[0])
        return Masks(size_hw, offsets, tuple(crops))


@dataclass(frozen=True, slots=True)
class RotatedTruth:
    """M true oriented boxes as quadrilaterals; M may be 0.

    Attributes:
        corners: (M, 4, 2) float32 x, y; in source pixels, or in parts of the image's width and
            height where `normalised`.
        class_id: (M,) int32.
        normalised: whether `corners` is in parts of the image.
    """

    corners: Float32
    class_id: Int32
    normalised: bool = False

    def __post_init__(self) -> None:
        if self.corners.shape != (len(self.class_id), 4, 2):
            raise ValueError(
                f"RotatedTruth.corners: expected shape ({len(self.class_id)}, 4, 2); "
                f"got {self.corners.shape}"
            )

    def __len__(self) -> int:
        return len(self.class_id)

    def in_pixels(self, size_hw: tuple[int, int]) -> Self:
        """Return the corners in source pixels; not clipped."""
        if not self.normalised:
            return self
        height, width = size_hw
        scale = np.array([width, height], np.float32)
        return replace(self, corners=self.corners * scale, normalised=False)

    def with_classes(self, table: Int32) -> Self:
        """Return the boxes with each class id replaced by ``table[class_id]``."""
        return replace(self, class_id=table[self.class_id])

    @property
    def xywhr(self) -> Float32:
        """The smallest oriented boxes (M, 5) around the quadrilaterals, in pixels and radians.

        The smallest rectangle around points has a side on their hull (Freeman and Shapira, 1975),
        so the directions of all pairs of corners are tried.
        """
        points = self.corners.astype(np.float64)
        i, j = np.triu_indices(4, 1)
        along = points[:, j] - points[:, i]
        angle = np.arctan2(along[..., 1], along[..., 0])
        cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
        x, y = points[:, None, :, 0], points[:, None, :, 1]
        u, v = x * cos + y * sin, y * cos - x * sin
        low = np.stack([u.min(axis=2), v.min(axis=2)], axis=-1)
        size = np.stack([u.max(axis=2), v.max(axis=2)], axis=-1) - low
        best = size.prod(axis=2).argmin(axis=1)
        rows = np.arange(len(points))
        low, size, angle = low[rows, best], size[rows, best], angle[rows, best]
        middle = low + size / 2
        cos, sin = np.cos(angle), np.sin(angle)
        centre = [middle[:, 0] * cos - middle[:, 1] * sin, middle[:, 0] * sin + middle[:, 1] * cos]
        return np.stack([*centre, *size.T, angle], axis=1).astype(np.float32)
