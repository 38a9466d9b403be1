"""Boxes, classes and mask coefficients of a YOLO (v5, v8, v9, 11, 12, 26), and its prototypes.

Two outputs, in any order: rows as in `edgecv.yolo_layouts` with K = 32 mask coefficients behind the
classes, and prototypes ``[1, K, H/4, W/4]``, or ``[1, H/4, W/4, K]`` in TFLite files. A mask is
the sigmoid of coefficients x prototypes, cut at 0.5 and at the box. Source: the output layouts that
Ultralytics and YOLOv5 document for their exports; the masks are YOLACT's (Bolya et al., 2019).

Recognised by shape, with a grid's cells A and prototypes whose sides are the input's, divided by
one whole number:

===========================================  ========  ===========================================
rows                                         fit       why
===========================================  ========  ===========================================
``[1, C, A]`` or ``[1, A, C]``, C >= 37      CERTAIN   nothing else puts out such a pair
``[1, 3 * A, C]``, C >= 38                   CERTAIN   v5
``[1, N, 38]``, N <= 1000                    CERTAIN   finished detections
any of these, a size free or no grid's       POSSIBLE  prototypes alone do not tell
===========================================  ========  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import yolo_layouts
from edgecv.head import Fit, Pixels, image_size, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.soft_masks import SoftMasks
from edgecv.types import Array, Float32, TensorSpec

TASK = "segment"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))

_K = 32


class Options(yolo_layouts.YoloOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        coefficients: of a mask, as many as there are prototypes.
        prototypes_last: prototypes are ``[1, h, w, K]``. None sees it from the input's size, and
            takes K for the first axis where both would fit.
    """

    coefficients: int = _K
    prototypes_last: bool | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or sorted(map(len, shapes)) != [2, 3]:
        return Fit.NO
    rows, prototypes = sorted(shapes, key=len)
    size = image_size(inputs)
    if _K not in (prototypes[0], prototypes[2]):
        return Fit.NO
    if None in rows or None in prototypes or size is None:
        fits = any(n is None or n > _K + 4 for n in rows)
        return Fit.POSSIBLE if fits else Fit.NO
    if _channels_last(prototypes, size, _K) is None:
        return Fit.NO
    (a, b), cells = rows, yolo_layouts.grids(size)
    if a is None or b is None:
        return Fit.NO
    if b == 6 + _K and a <= yolo_layouts.MAX_ROWS:
        return Fit.CERTAIN
    if (b in cells and a > 4 + _K) or (a in cells and b > 4 + _K):
        return Fit.CERTAIN
    if a in [3 * n for n in cells] and b > 5 + _K:
        return Fit.CERTAIN
    return Fit.POSSIBLE if max(a, b) >= 16 * min(a, b) and min(a, b) > 4 + _K else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the best class of each row, suppress overlaps, and make masks of what is left.

    Args:
        outputs: two tensors, as in this module's docstring.
        options: how to read them.

    Raises:
        HeadError: another number of outputs, other shapes, or no scores where scores should be.
    """
    array, prototypes = _sort(outputs, options)
    extras = options.coefficients
    layout = yolo_layouts.layout_of(array.shape[1:], options, extras, "yolo_seg")
    if layout == yolo_layouts.ANCHOR_FREE:
        channels = yolo_layouts.channel_rows(
            array, options, options.transposed, "yolo_seg", outputs, extras
        )
        picked = yolo_layouts.pick_channels(
            channels, options, options.normalized, "yolo_seg", extras
        )
        rows = channels.T
    else:
        rows = _finished_or_objects(array, layout, options, outputs)
        if layout == yolo_layouts.END2END:
            picked = yolo_layouts.pick_finished(rows, options, options.normalized, "yolo_seg")
        else:
            picked = yolo_layouts.pick_objects(
                rows, options, options.normalized, "yolo_seg", extras
            )
    finished = layout == yolo_layouts.END2END
    xyxy, keep, dropped = yolo_layouts.choose(picked, options, finished, "yolo_seg")
    coefficients = rows[picked.rows[keep], rows.shape[1] - extras :]
    return Detections(
        xyxy,
        np.ascontiguousarray(picked.score[keep], np.float32),
        np.ascontiguousarray(picked.class_id[keep], np.int32),
        dropped,
        masks=SoftMasks.from_prototypes(coefficients, prototypes, xyxy, options.input_hw),
    )


def _sort(outputs: Mapping[str, Array], options: Options) -> tuple[Array, Float32]:
    """Return the rows ``[1, a, b]`` and the prototypes (K, h, w)."""
    k = options.coefficients
    expected = f"rows [1, C, A] and prototypes [1, {k}, h, w] or [1, h, w, {k}] of the input's form"
    by_axes = {array.ndim: array for array in outputs.values()}
    if len(outputs) != 2 or set(by_axes) != {3, 4}:
        raise wrong_shape("yolo_seg", expected, outputs)
    rows, prototypes = by_axes[3], by_axes[4]
    if rows.shape[0] != 1 or prototypes.shape[0] != 1 or k < 1:
        raise wrong_shape("yolo_seg", expected, outputs)
    last = options.prototypes_last
    if last is None:
        last = _channels_last(prototypes.shape[1:], options.input_hw, k)
    if last is None or prototypes.shape[3 if last else 1] != k or 0 in prototypes.shape:
        size = f"{options.input_hw[0]}x{options.input_hw[1]}"
        raise wrong_shape("yolo_seg", f"{expected} {size}", outputs)
    maps = np.asarray(prototypes[0], np.float32)
    return rows, maps.transpose(2, 0, 1) if last else maps


def _channels_last(shape: Sequence[int | None], size_hw: tuple[int, int], k: int) -> bool | None:
    """Tell whether prototypes (a, b, c) are (h, w, K); None where they are neither."""
    for last, channels, sides in ((False, shape[0], shape[1:]), (True, shape[2], shape[:2])):
        height, width = sides
        if channels != k or not height or not width or min(size_hw) < 1:
            continue
        if size_hw[0] % height == size_hw[1] % width == 0 and (
            size_hw[0] // height == size_hw[1] // width
        ):
            return last
    return None


def _finished_or_objects(
    array: Array, layout: str, options: Options, outputs: Mapping[str, Array]
) -> Float32:
    """Check rows whose columns come last, and return them as (A, columns)."""
    k, classes = options.coefficients, options.num_classes
    fixed = 6 if layout == yolo_layouts.END2END else 5 + classes
    columns = array.shape[2] - k
    right = columns >= 6 if fixed == 5 else columns == fixed
    if not right:
        width = fixed + k if fixed > 5 else f"5 + classes + {k}"
        raise wrong_shape("yolo_seg", f"rows [1, A, {width}]", outputs)
    return np.asarray(array[0], np.float32)
