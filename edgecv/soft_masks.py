"""Instance masks that are still logits: crops at the resolution of a model's prototypes.

A mask is decided once, where it is needed: at source resolution, from logits interpolated through
the geometry. Thresholding at prototype or input resolution and resizing then would be a second
decision, and its steps show on a large photo.

Source of the masks: Bolya et al., YOLACT (2019), section 3: coefficients x prototypes, a sigmoid,
cut at 0.5 (a logit of 0) and cropped to the detection's box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgecv import boxes
from edgecv.masks import Masks
from edgecv.record import Record
from edgecv.types import Array, Float32, Int32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

_BLOCK_VALUES = 2**22


class SoftMasks(Record):
    """N masks over a model input as crops of logits; N may be 0.

    Attributes:
        grid_hw: (height, width) of the prototypes, which cover the whole input.
        xyxy: (N, 4) float32 boxes in model-input pixels, outside of which a mask ends.
        offset_xy: (N, 2) int32, where each crop's upper left cell lies in the grid.
        crops: N arrays (h, w) float32 of logits: the cells of the box and those around it that
            interpolation reads.
    """

    grid_hw: tuple[int, int]
    xyxy: Float32
    offset_xy: Int32
    crops: tuple[Float32, ...]

    @classmethod
    def from_prototypes(
        cls,
        coefficients: Float32,
        prototypes: Float32,
        xyxy: Float32,
        input_hw: tuple[int, int],
    ) -> SoftMasks:
        """Multiply coefficients with prototypes, and keep what lies in the boxes.

        Args:
            coefficients: (N, K), of the detections alone.
            prototypes: (K, h, w) over the whole model input, a view in any order.
            xyxy: (N, 4) boxes in model-input pixels.
            input_hw: (height, width) of the model input.
        """
        count, (_, height, width) = len(coefficients), prototypes.shape
        flat = _flat(prototypes)
        windows = _windows(xyxy, (height, width), input_hw)
        crops: list[Float32] = []
        # A bounded number of full maps exists at a time; what is kept is copied out of them.
        step = max(1, _BLOCK_VALUES // max(1, height * width))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, count, step):
                logits = coefficients[start : start + step] @ flat
                for n, (x1, y1, x2, y2) in enumerate(windows[start : start + step].tolist()):
                    crops.append(logits[n].reshape(height, width)[y1:y2, x1:x2].copy())
        return cls((height, width), xyxy, windows[:, :2].astype(np.int32), tuple(crops))

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: Array | slice | Sequence[int]) -> SoftMasks:
        """Select masks by boolean mask, slice or indices."""
        picked = np.arange(len(self))[index]
        crops = tuple(self.crops[i] for i in picked)
        return SoftMasks(self.grid_hw, self.xyxy[picked], self.offset_xy[picked], crops)

    def to_source(self, geometry: Geometry) -> Masks:
        """Decide for every source pixel whose centre lies in the box: is the logit above 0?

        Logits are interpolated linearly between the centres of the cells. What a centre crop cut
        away is in no mask: the model has not seen it.
        """
        offsets = np.zeros((len(self), 2), np.int32)
        crops = []
        # Pixel i has its centre at i + 0.5; rounded to a place that no float error moves.
        visible = boxes.clip(self.xyxy, geometry.input_hw)
        edges = np.ceil(np.round(geometry.boxes_to_source(visible) - 0.5, 3)).astype(np.int64)
        for i, (x1, y1, x2, y2) in enumerate(edges.tolist()):
            crop = self.crops[i]
            x2, y2 = max(x1, x2), max(y1, y2)
            if x1 == x2 or y1 == y2 or not crop.size:
                crops.append(np.zeros((0, 0), bool))
                continue
            x, y = (int(v) for v in self.offset_xy[i])
            logits = geometry.part_to_source(crop, (x, y), self.grid_hw, (x1, y1, x2, y2))
            offsets[i] = x1, y1
            crops.append(logits > 0)
        return Masks(geometry.source_hw, offsets, tuple(crops))


def _flat(prototypes: Float32) -> Float32:
    """Return prototypes as (K, h * w), without a copy where channels come last in memory."""
    count = len(prototypes)
    if prototypes.strides[0] == prototypes.itemsize:
        return prototypes.transpose(1, 2, 0).reshape(-1, count).T
    return prototypes.reshape(count, -1)


def _windows(xyxy: Float32, grid_hw: tuple[int, int], input_hw: tuple[int, int]) -> Array:
    """Return the cells (N, 4) x1, y1, x2, y2 that masks in the boxes read, inside of the grid."""
    (height, width), (in_h, in_w) = grid_hw, input_hw
    scale = np.array([width / in_w, height / in_h] * 2, np.float64)
    # A place is interpolated between the centres of the two cells around it. A source pixel may
    # be larger than a cell, but its centre is in the box.
    reach = np.array([-1, -1, 1, 1])
    cells = np.floor(xyxy * scale - 0.5) + reach + np.array([0, 0, 1, 1])
    limit = np.array([width, height, width, height])
    windows = np.clip(cells, 0, limit).astype(np.int64)
    windows[:, 2:] = np.maximum(windows[:, 2:], windows[:, :2])
    return np.asarray(windows)
