"""Keypoints of one person as heatmaps: ``[1, K, h, w]`` (SimpleBaseline, HRNet, ViTPose).

Each map is about 1 at its keypoint. The place is that of the highest value, moved by a quarter of a
cell along each axis towards the higher neighbour; the score is the highest value. Sources: the
quarter, Newell et al., *Stacked Hourglass Networks*, section 3.3, taken over by Xiao et al.,
*Simple Baselines for Human Pose Estimation and Tracking*, section 3; cell i lies at i times the
stride in input pixels, as these models' targets are made.

Such a model is fed with a crop around a person: there is one row for the whole input, whose box is
the input and whose score the mean of the keypoints'. `edgecv.top_down` makes the crops.

Recognised by shape: ``[1, K, h, w]`` at a quarter of the input's size, K a usual number of
keypoints (14, 16, 17, 21, 23, 26, 68, 98, 106, 133), is POSSIBLE: class maps look alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import keypoints
from edgecv.errors import HeadError
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
from edgecv.types import Array, Float32, TensorSpec

TASK = "pose"
PIXELS = Pixels("letterbox", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), pad_value=0)

_COUNTS = (14, 16, 17, 21, 23, 26, 68, 98, 106, 133)
_STRIDE = 4


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor; nothing is suppressed.

    Attributes:
        confidence: a person whose keypoints score less on average is none.
        refine: move each place by a quarter of a cell towards the higher neighbours.
    """

    confidence: float = 0.0
    refine: bool = True


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the shapes in this module's docstring."""
    shapes, size = output_shapes(inputs, outputs), image_size(inputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] not in _COUNTS:
        return Fit.NO
    fits = size is not None and shapes[0][1:] == (size[0] // _STRIDE, size[1] // _STRIDE)
    return Fit.POSSIBLE if fits else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Find the peak of each map.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, a value that is not finite, or the
            input's size is not known.
    """
    array = only_output(outputs, "heatmap")
    if array.ndim != 4 or array.shape[0] != 1 or min(array.shape) < 1:
        raise wrong_shape("heatmap", "[1, K, h, w]", outputs)
    maps = np.asarray(array[0], np.float32)
    if not np.isfinite(maps).all():
        raise HeadError(
            "a value is not finite",
            where="head heatmap",
            expected=f"{maps.size} numbers",
            got=f"{np.count_nonzero(~np.isfinite(maps))} that are not",
        )
    xy, score = _peaks(maps, options.refine)
    scale = np.array(
        [options.input_hw[1] / maps.shape[2], options.input_hw[0] / maps.shape[1]], np.float32
    )
    return keypoints.whole_input(xy * scale, score, options, "heatmap")


def _peaks(maps: Float32, refine: bool) -> tuple[Float32, Float32]:
    """Return the (K, 2) x, y of the highest cells, and their (K,) values."""
    count, height, width = maps.shape
    flat = maps.reshape(count, -1)
    best = flat.argmax(axis=1)
    each = np.arange(count)
    y, x = np.divmod(best, width)
    xy = np.stack([x, y], axis=1).astype(np.float32)
    if refine:
        for axis, (place, size) in enumerate(((x, width), (y, height))):
            inside = (place > 0) & (place < size - 1)
            step = (1, width)[axis]
            low = flat[each, np.where(inside, best - step, best)]
            high = flat[each, np.where(inside, best + step, best)]
            xy[:, axis] += np.float32(0.25) * (np.sign(high - low) * inside)
    return xy, flat[each, best]
