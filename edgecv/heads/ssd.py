"""Finished detections of an SSD: ``[1, 1, N, 7]``, as OpenVINO's DetectionOutput writes them.

Each row is image id, label, score, x1, y1, x2, y2, with boxes as fractions of the input. Overlaps
have been suppressed inside. The list ends at the first row with image id -1, or after N rows; N may
be 0. Source: OpenVINO's specification of DetectionOutput-8.

The label is the class id as the model counts, which for most files means that 0 is the background
and 1 the first class: give labels accordingly, or shift them with `label_offset`.

Recognised by shape: ``[1, 1, N, 7]`` is CERTAIN; nothing else has rows of seven in four axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates
from edgecv.head import DetectionOptions, Fit, Pixels, only_output, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "bgr", (0, 0, 0), (1, 1, 1))


class Options(DetectionOptions, kw_only=True):
    """How to read the tensor; ``iou`` and ``class_aware`` have no effect.

    Attributes:
        label_offset: what is taken from each label to make the class id; 1 where labels count
            from 1 and the list of labels has no background.
    """

    label_offset: int = 0


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge as described above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 3:
        return Fit.NO
    return Fit.CERTAIN if shapes[0][0] in (1, None) and shapes[0][2] == 7 else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the rows before the end of the list that are at or above the confidence.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape, no scores where scores should be, or
            labels that are not whole numbers of the model's classes.
    """
    array = only_output(outputs, "ssd")
    if array.ndim != 4 or array.shape[:2] != (1, 1) or array.shape[3] != 7:
        raise wrong_shape("ssd", "[1, 1, N, 7]", outputs)
    rows = np.asarray(array[0, 0], np.float32)
    padding = np.flatnonzero(rows[:, 0] < 0)
    if padding.size:
        rows = rows[: padding[0]]
    index, lost = candidates.above(rows[:, 2], options.confidence)
    rows = rows[index]
    class_id = candidates.whole_classes(rows[:, 1] - options.label_offset, options, "ssd")
    scale = candidates.pixel_scale(True, rows[:, 3:], options, "ssd")
    with np.errstate(over="ignore"):
        xyxy = rows[:, 3:] * scale
    return candidates.select(
        xyxy, rows[:, 2], class_id, options, head="ssd", lost=lost, suppress=False
    )
