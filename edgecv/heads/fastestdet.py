"""The single feature map of FastestDet: ``[1, 5 + classes, H, W]``.

Channels are objectness, x, y, w, h, then class scores. Objectness and classes have been through
sigmoid and softmax; the box has not been decoded: centre = (cell's corner + tanh(xy)) / (W, H),
size = sigmoid(wh), both as fractions of the input. Score = objectness^0.6 x best class^0.4.
Source: the post-processing that FastestDet's README describes and its ONNX Runtime example applies.

Recognised by shape, with H and W a 16th of the input:

================================  ========  =====================================================
output                            fit       why
================================  ========  =====================================================
``[1, 85, H, W]``                 CERTAIN   80 classes are COCO's; 85 channels of a map fit no
                                            other known head
``[1, C, H, W]``, C >= 6          POSSIBLE  maps of a segmentation model look alike
================================  ========  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates
from edgecv.head import (
    DetectionOptions,
    Fit,
    Pixels,
    image_size,
    only_output,
    output_shapes,
    wrong_shape,
)
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "bgr", (0, 0, 0), (255, 255, 255))

_STRIDE = 16


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor; nothing beyond what every detector has."""


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 3:
        return Fit.NO
    channels, *cells = shapes[0]
    if channels is None or channels < 6:
        return Fit.NO
    size = image_size(inputs)
    if size is None or None in cells:
        return Fit.POSSIBLE
    if cells != [-(-side // _STRIDE) for side in size]:
        return Fit.NO
    return Fit.CERTAIN if channels == 85 else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Score each cell, decode the boxes of candidates, then suppress overlaps.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, or no scores where scores should be.
    """
    array = only_output(outputs, "fastestdet")
    channels = array.shape[1] if array.ndim == 4 else 0
    count = 5 + options.num_classes
    if array.ndim != 4 or array.shape[0] != 1 or (channels != count if count > 5 else channels < 6):
        wanted = count if options.num_classes else "5 + classes"
        raise wrong_shape("fastestdet", f"[1, {wanted}, H, W]", outputs)
    height, width = array.shape[2:]
    maps = np.asarray(array[0], np.float32).reshape(channels, -1)
    # Rounding of quantized tensors may leave scores just below 0, which have no root.
    objectness, best = np.maximum(maps[0], 0), np.maximum(maps[5:].max(axis=0), 0)
    with np.errstate(invalid="ignore"):
        score = objectness ** np.float32(0.6) * best ** np.float32(0.4)
    index, lost = candidates.above(score, options.confidence)
    picked = maps[:, index]
    cells = np.array([index % max(width, 1), index // max(width, 1)], np.float32)
    grid = np.array([[width], [height]], np.float32)
    centre = (cells + np.tanh(picked[1:3])) / grid
    # The logistic function by tanh, which cannot overflow.
    size = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * picked[3:5]))
    scale = candidates.pixel_scale(True, centre, options, "fastestdet")
    xyxy = candidates.corners(np.concatenate([centre, size]).T, scale)
    class_id = picked[5:].argmax(axis=0)
    return candidates.select(xyxy, score[index], class_id, options, head="fastestdet", lost=lost)
