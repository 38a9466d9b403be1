"""Faces of Ultra-Light-Fast-Generic-Face-Detector: scores ``[1, N, 2]`` and boxes ``[1, N, 4]``.

Scores are probabilities of background and face. Boxes are corners as fractions of the input; files
named "without_postprocessing" put out offsets to N prior boxes instead (centre variance 0.1, size
variance 0.2), as in SSD. Overlaps are not suppressed inside. Source: the detector's published
prior boxes: 10, 16, 24 px at stride 8; 32, 48 at 16; 64, 96 at 32; 128, 192, 256 at 64.

The class id is the column of the scores: 1 is the face and 0, the background, never occurs. It fits
the label list that comes with these models; `label_offset` shifts it.

Recognised by shape:

=====================================  ========  ================================================
outputs                                fit       why
=====================================  ========  ================================================
``[1, N, 2]`` and ``[1, N, 4]``, N     CERTAIN   this count comes from these prior boxes only
the number of prior boxes
the same, and a size is free           POSSIBLE  N cannot be checked
=====================================  ========  ================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from edgecv import boxes, candidates
from edgecv.errors import HeadError
from edgecv.head import (
    DetectionOptions,
    Fit,
    Pixels,
    grid_cells,
    image_size,
    output_shapes,
    wrong_shape,
)
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "rgb", (127, 127, 127), (128, 128, 128))

_PRIORS_PX = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}
_CENTRE_VARIANCE, _SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        confidence: the authors use 0.7.
        iou: the authors use 0.3.
        priors: boxes are offsets to prior boxes. None sees it from the values: decoded corners are
            in order in every row, which offsets are not.
        label_offset: what is taken from 1, the column of the faces, to make the class id.
    """

    confidence: float = 0.7
    iou: float = 0.3
    priors: bool | None = None
    label_offset: int = 0


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 2 or any(len(shape) != 2 for shape in shapes):
        return Fit.NO
    rows = {shape[0] for shape in shapes}
    if sorted(width or 0 for _, width in shapes) != [2, 4] or len(rows) != 1:
        return Fit.NO
    size, count = image_size(inputs), rows.pop()
    if size is None or count is None:
        return Fit.POSSIBLE
    return Fit.CERTAIN if count == _count(size) else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the faces at or above the confidence, then suppress overlaps.

    Args:
        outputs: the two tensors, in any order.
        options: how to read them.

    Raises:
        HeadError: other tensors, a number of rows that is not that of the prior boxes where those
            are needed, or no scores where scores should be.
    """
    by_width = {array.shape[-1]: array for array in outputs.values() if array.ndim == 3}
    rows = {array.shape[:2] for array in outputs.values()}
    if len(outputs) != 2 or set(by_width) != {2, 4} or len(rows) != 1 or rows.pop()[0] != 1:
        raise wrong_shape("ultraface", "[1, N, 2] and [1, N, 4]", outputs)
    if options.label_offset not in (0, 1):
        raise HeadError(
            "",
            where="head ultraface: label_offset",
            expected="0 or 1",
            got=str(options.label_offset),
        )
    score = np.asarray(by_width[2][0, :, 1], np.float32)
    coordinates = np.asarray(by_width[4][0], np.float32)
    index, lost = candidates.above(score, options.confidence)
    scale = candidates.pixel_scale(True, coordinates, options, "ultraface")
    priors = options.priors
    if priors is None:
        priors = bool((coordinates[:, 2:] < coordinates[:, :2]).any())
    picked = coordinates[index]
    if priors:
        if len(coordinates) != _count(options.input_hw):
            n = _count(options.input_hw)
            raise wrong_shape("ultraface", f"[1, {n}, 2] and [1, {n}, 4]", outputs)
        prior = _prior_boxes(options.input_hw)[index]
        with np.errstate(over="ignore", invalid="ignore"):
            centre = picked[:, :2] * _CENTRE_VARIANCE * prior[:, 2:] + prior[:, :2]
            size = np.exp(picked[:, 2:] * _SIZE_VARIANCE) * prior[:, 2:]
            picked = boxes.from_cxcywh(np.concatenate([centre, size], axis=1))
    with np.errstate(over="ignore"):
        xyxy = picked * scale
    class_id = np.full(len(index), 1 - options.label_offset, np.int32)
    return candidates.select(xyxy, score[index], class_id, options, head="ultraface", lost=lost)


def _count(input_hw: tuple[int, int]) -> int:
    return sum(grid_cells(input_hw, (s,)) * len(sizes) for s, sizes in _PRIORS_PX.items())


@lru_cache(maxsize=4)
def _prior_boxes(input_hw: tuple[int, int]) -> Float32:
    """List the (N, 4) prior boxes, centre and size as fractions of the input, limited to 0-1."""
    height, width = input_hw
    levels = []
    for stride, sizes in _PRIORS_PX.items():
        y, x = np.mgrid[: -(-height // stride), : -(-width // stride)].astype(np.float32) + 0.5
        level = np.empty((*x.shape, len(sizes), 4), np.float32)
        level[..., 0] = x[..., None] * stride / width
        level[..., 1] = y[..., None] * stride / height
        level[..., 2] = np.array(sizes, np.float32) / width
        level[..., 3] = np.array(sizes, np.float32) / height
        levels.append(level.reshape(-1, 4))
    priors: Float32 = np.clip(np.concatenate(levels), 0, 1)
    priors.flags.writeable = False
    return priors
