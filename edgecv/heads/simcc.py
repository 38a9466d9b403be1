"""Keypoints of one person as bins along each axis (SimCC, RTMPose).

The outputs are ``[1, K, W * r]`` and ``[1, K, H * r]`` for K keypoints and an input of H x W. Each
axis is a classification over bins that are 1 / r of an input pixel wide (r is 2 in published
models). The place is the highest bin of each axis divided by r; the score is the lower one of both
highest values, and where it is not above 0 the keypoint is not there. Source: Li et al., *SimCC: a
Simple Coordinate Classification Perspective for Human Pose Estimation*, section 3.2, and the
decoding that MMPose documents for it. The values are no probabilities; scores are limited to 0-1.

Such a model is fed with a crop around a person: there is one row for the whole input, whose box is
the input and whose score the mean of the keypoints'. `edgecv.top_down` makes the crops.

Which output is which is told by their names (``simcc_x``, ``simcc_y``), else by their sizes; where
the input is square, x is the first, as in published exports.

Recognised by shape:

===========================================  ========  ========================================
outputs                                      fit       why
===========================================  ========  ========================================
``[1, K, W * r]``, ``[1, K, H * r]``, r a    CERTAIN   both sizes fit those of the input
whole number or 1.5
the same, and the input's size is free       NO        nothing could be checked
===========================================  ========  ========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import keypoints
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions, Fit, Pixels, image_size, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "pose"
PIXELS = Pixels("letterbox", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), pad_value=0)

_RATIOS = (1, 1.5, 2, 3, 4)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors; nothing is suppressed.

    Attributes:
        confidence: a person whose keypoints score less on average is none.
    """

    confidence: float = 0.0


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes, size = output_shapes(inputs, outputs), image_size(inputs)
    if shapes is None or size is None or [len(shape) for shape in shapes] != [2, 2]:
        return Fit.NO
    (count, first), (other, second) = shapes
    bins = [(r * size[1], r * size[0]) for r in _RATIOS]
    if count is None or count != other or None in (first, second):
        return Fit.NO
    return Fit.CERTAIN if (first, second) in bins or (second, first) in bins else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Find the highest bin of each keypoint on both axes.

    Args:
        outputs: two tensors, as in this module's docstring.
        options: how to read them.

    Raises:
        HeadError: other tensors, a value that is not finite, or the input's size is not known.
    """
    if len(outputs) != 2 or any(array.ndim != 3 for array in outputs.values()):
        raise wrong_shape("simcc", "[1, K, W * r] and [1, K, H * r]", outputs)
    x, y = _in_order(outputs, options.input_hw)
    if x.shape[:2] != y.shape[:2] or x.shape[0] != 1 or min(*x.shape, *y.shape) < 1:
        raise wrong_shape("simcc", "[1, K, W * r] and [1, K, H * r]", outputs)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise HeadError("a value is not finite", where="head simcc")
    height, width = options.input_hw
    places = [
        x[0].argmax(axis=1) * (width / x.shape[2]),
        y[0].argmax(axis=1) * (height / y.shape[2]),
    ]
    score = np.minimum(x[0].max(axis=1), y[0].max(axis=1))
    return keypoints.whole_input(np.stack(places, axis=1), score, options, "simcc")


def _in_order(outputs: Mapping[str, Array], input_hw: tuple[int, int]) -> tuple[Array, Array]:
    """Tell the bins along x from those along y."""
    (name, first), (_, second) = outputs.items()
    height, width = input_hw
    by_size = first.shape[2] * width == second.shape[2] * height and height != width
    turned = name.lower().endswith("simcc_y") if "simcc_" in name.lower() else by_size
    x, y = (second, first) if turned else (first, second)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)
