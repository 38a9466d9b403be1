"""Keypoints of one person as heatmaps: ``[1, K, h, w]`` (SimpleBaseline, HRNet, ViTPose).

Each map is about 1 at its keypoint. The place is that of the highest value, refined by one of the
two ways that such models are evaluated with; the score is the highest value. Cell i lies at i times
the stride in input pixels, as these models' targets are made.

``quarter`` moves it by a quarter of a cell along each axis towards the higher neighbour (Newell et
al., *Stacked Hourglass Networks*, section 3.3; Xiao et al., *Simple Baselines for Human Pose
Estimation and Tracking*, section 3). ``dark`` takes the map for a Gaussian: it is smoothed, and the
peak of the parabola through its logarithm is computed (Zhang et al., *Distribution-Aware Coordinate
Representation for Human Pose Estimation*, section 3.2).

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
        refine: ``quarter``, ``dark``, or ``none`` for the cell itself.
        blur: side of the smoothing kernel of ``dark`` in cells, odd; 11 is that of targets with a
            standard deviation of 2 cells, the usual one.
    """

    confidence: float = 0.0
    refine: str = "quarter"
    blur: int = 11


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
    if options.refine not in ("quarter", "dark", "none"):
        raise HeadError(
            "no such refinement",
            where="head heatmap: refine",
            expected="quarter, dark or none",
            got=repr(options.refine)[:80],
        )
    if options.blur % 2 == 0:
        raise HeadError(
            "", where="head heatmap: blur", expected="an odd number", got=str(options.blur)
        )
    xy, score = _peaks(maps, options)
    scale = np.array(
        [options.input_hw[1] / maps.shape[2], options.input_hw[0] / maps.shape[1]], np.float32
    )
    return keypoints.whole_input(xy * scale, score, options, "heatmap")


def _peaks(maps: Float32, options: Options) -> tuple[Float32, Float32]:
    """Return the (K, 2) x, y of the highest cells, and their (K,) values."""
    count, height, width = maps.shape
    flat = maps.reshape(count, -1)
    best = flat.argmax(axis=1)
    each = np.arange(count)
    y, x = np.divmod(best, width)
    xy = np.stack([x, y], axis=1).astype(np.float32)
    if options.refine == "dark":
        xy += _parabola(_logarithms(maps, flat[each, best], options.blur), x, y)
    elif options.refine == "quarter":
        for axis, (place, size) in enumerate(((x, width), (y, height))):
            inside = (place > 0) & (place < size - 1)
            step = (1, width)[axis]
            low = flat[each, np.where(inside, best - step, best)]
            high = flat[each, np.where(inside, best + step, best)]
            xy[:, axis] += np.float32(0.25) * (np.sign(high - low) * inside)
    return xy, flat[each, best]


def _logarithms(maps: Float32, peak: Float32, blur: int) -> Float32:
    """Smooth (K, h, w) maps, bring each back to its (K,) peak, and take the logarithm."""
    import cv2  # late: only this refinement needs it

    smooth = np.stack(
        [cv2.GaussianBlur(one, (blur, blur), 0, borderType=cv2.BORDER_CONSTANT) for one in maps]
    )
    highest = smooth.max(axis=(1, 2))
    scale = np.divide(peak, highest, out=np.ones_like(peak), where=highest > 0)
    logs = np.log(np.maximum(smooth * scale[:, None, None], np.float32(1e-10)))
    return np.asarray(logs, np.float32)


def _parabola(logs: Float32, x: Array, y: Array) -> Float32:
    """Return by how much (K, 2) the peak of the parabola around each cell lies beside it.

    Derivatives are central differences over two cells. Where a cell is too near to the border, or
    the map is no hill there, or the peak would lie outside of its neighbourhood, it is 0.
    """
    count, height, width = logs.shape
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    each = np.arange(count)
    cx, cy = np.where(inside, x, 2), np.where(inside, y, 2)
    moved = np.zeros((count, 2), np.float32)
    if min(height, width) < 5:
        return moved

    def at(dx: int, dy: int) -> Array:
        return np.asarray(logs[each, cy + dy, cx + dx], np.float64)

    here = 2 * at(0, 0)
    dx, dy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    dxx, dyy = (at(2, 0) - here + at(-2, 0)) / 4, (at(0, 2) - here + at(0, -2)) / 4
    dxy = (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1)) / 4
    slope = dxx * dyy - dxy * dxy
    hill = inside & (slope > 0) & (dxx < 0)
    safe = np.where(hill, slope, 1)
    step = np.stack([(dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe], axis=1)
    hill &= (np.abs(step) <= 2).all(axis=1)
    moved[hill] = step[hill]
    return moved
