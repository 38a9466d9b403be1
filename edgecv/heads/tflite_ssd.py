"""Finished detections of TensorFlow's SSDs: boxes, classes, scores and their number.

``[1, N, 4]`` boxes as ymin, xmin, ymax, xmax in fractions of the input; ``[1, N]`` class ids and
``[1, N]`` scores in 0-1; ``[1]`` the number of rows that count. Overlaps have been suppressed
inside. Source: the documented outputs of the TFLite operator ``TFLite_Detection_PostProcess`` and
of TensorFlow's Object Detection API.

The order of the outputs varies, so names tell them apart, boxes and number also their shapes:

- ``TFLite_Detection_PostProcess``, ``...:1``, ``...:2``, ``...:3`` are boxes, classes, scores and
  the number, as the operator puts them out.
- ``StatefulPartitionedCall:0`` to ``:3`` count from the other end in the files that TensorFlow 2
  writes (number, scores, classes, boxes); a converter that keeps the operator's order has the boxes
  at ``:0``. The place of the boxes tells which.
- ``detection_boxes``, ``detection_classes``, ``detection_scores``, ``num_detections``.

Other names are told by the values: class ids are whole.

Class ids count from 0, without a background, in TFLite files, and from 1 in files of the Object
Detection API itself (``detection_classes``): `label_offset` shifts them.

Recognised by shape: boxes, two lists and a number ``[1]`` are CERTAIN; of other exports with
suppression inside the number is ``[1, 1]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, finished
from edgecv.head import DetectionOptions, Fit, Pixels, output_shapes
from edgecv.results.detections import Detections
from edgecv.types import Array, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))

_OPERATOR = "TFLite_Detection_PostProcess"
_ORDER = ("boxes", "classes", "scores", "count")
_NAMES = {
    _OPERATOR: "boxes",
    **{f"{_OPERATOR}:{i}": role for i, role in enumerate(_ORDER)},
    "detection_boxes": "boxes",
    "detection_classes": "classes",
    "detection_scores": "scores",
    "num_detections": "count",
}
_PLACE = re.compile(r"StatefulPartitionedCall:(\d)")


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors; ``iou`` and ``class_aware`` have no effect.

    Attributes:
        label_offset: what is taken from each class id; 1 where they count from 1.
        scores: name of the output with the scores, where nothing tells it from the classes.
    """

    label_offset: int = 0
    scores: str | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge as described above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None:
        return Fit.NO
    if finished.named(outputs, _NAMES):
        return Fit.CERTAIN
    found = finished.roles_by_shape([spec.shape for spec in outputs])
    if len(shapes) != 4 or found is None or "count" not in found:
        return Fit.NO
    return Fit.CERTAIN if len(outputs[found["count"]].shape) == 1 else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the detections at or above the confidence.

    Args:
        outputs: the tensors, in any order.
        options: how to read them.

    Raises:
        HeadError: other tensors, no scores where scores should be, class ids that are not whole
            numbers of the model's classes, or nothing that tells scores from class ids.
    """
    boxes, score, class_id = finished.read(
        outputs, _names(outputs), scores=options.scores, head="tflite_ssd"
    )
    index, lost = candidates.above(score, options.confidence)
    class_id = class_id[index] - options.label_offset
    whole = candidates.whole_classes(class_id, options, "tflite_ssd")
    scale = candidates.pixel_scale(True, boxes, options, "tflite_ssd")
    with np.errstate(over="ignore"):
        xyxy = boxes[index][:, [1, 0, 3, 2]] * scale
    return candidates.select(
        xyxy, score[index], whole, options, head="tflite_ssd", lost=lost, suppress=False
    )


def _names(outputs: Mapping[str, Array]) -> Mapping[str, str]:
    """Add the roles of numbered names, which depend on where the boxes are."""
    places = {name: match[1] for name in outputs if (match := _PLACE.fullmatch(name))}
    if sorted(places.values()) != list("0123"):
        return _NAMES
    by_place = {int(place): name for name, place in places.items()}
    order = _ORDER if outputs[by_place[0]].ndim == 3 else _ORDER[::-1]
    return {by_place[i]: role for i, role in enumerate(order)}
