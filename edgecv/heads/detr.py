"""Queries of a DETR: boxes ``[1, Q, 4]`` with class scores ``[1, Q, C]``, no suppression needed.

Boxes are centre x, centre y, width, height as fractions of the input. The layouts:

- Two tensors, the scores being logits: DETR, Deformable and Conditional DETR, RT-DETR and D-FINE as
  Hugging Face exports them (``logits``, ``pred_boxes``), RF-DETR (``labels``, ``dets``). Which is
  which is told by these names, else by the width of 4. Other outputs are ignored if the names are
  there.
- One tensor ``[1, 300, 4 + C]``, the scores being probabilities, or ``[1, 300, 6]``, the best score
  and its class id: RT-DETR as older and newer versions of Ultralytics export it. A last column of
  whole numbers alone is class ids.
- Three tensors of finished detections, ``labels [1, Q]``, ``boxes [1, Q, 4]`` (corners) and
  ``scores [1, Q]``: the deployed files of the RT-DETR and D-FINE repositories. Boxes are scaled to
  a second input ``orig_target_sizes``, (width, height), which is fed with the input's size.

Sources: "End-to-End Object Detection with Transformers" (Carion et al., 2020): softmax, the last
column means no object, one class for each query. "Deformable DETR" (Zhu et al., 2020), which the
later ones follow: sigmoid, the best of all pairs of query and class. Hugging Face's documentation
of `post_process_object_detection`; the export pages of the projects; for rows of six, what the
exported files put out.

Recognised by names and shapes:

=========================================  ========  ============================================
outputs                                    fit       why
=========================================  ========  ============================================
two or three, named as above               CERTAIN
two of more, named as above                POSSIBLE  others say what else the model does
the same under other names, Q <= 1000      POSSIBLE  other detectors have such pairs
``[1, 300, 84]``                           CERTAIN   80 classes are COCO's
``[1, 300, C]``, C >= 5, not 6 or 57       POSSIBLE  finished rows with an angle or keypoints
                                                     look alike
=========================================  ========  ============================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import candidates, finished
from edgecv.errors import HeadError
from edgecv.head import DetectionOptions, Fit, Pixels, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "detect"
PIXELS = Pixels("stretch", "rgb", (0, 0, 0), (255, 255, 255))
_IMAGENET = Pixels("stretch", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CONSTANTS = {"orig_target_sizes": lambda input_hw: (input_hw[1], input_hw[0])}

_PAIRS = (("logits", "pred_boxes"), ("labels", "dets"), ("pred_logits", "pred_boxes"))
_RF_DETR = {"labels", "dets"}
_FINISHED = {"labels": "classes", "boxes": "boxes", "scores": "scores"}
_ROWS = 300
_MAX_QUERIES = 1000
# Rows of six are finished detections, of 57 those with COCO's 17 keypoints.
_OTHERS = (6, 57)
# COCO has 80 classes, with ids up to 90; 92 columns are those and no object.
_SIGMOID_COLUMNS, _SOFTMAX_COLUMNS = (80, 91), (92,)


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors; ``iou`` and ``class_aware`` have no effect.

    Attributes:
        multi_label: every class of a query that reaches the confidence is a detection, as the
            authors count. No effect on softmax.
        max_detections: the authors take 300 of such pairs (RT-DETR, D-FINE) or 100 (Deformable
            and Conditional DETR).
        activation: ``sigmoid`` or ``softmax`` of the logits, or ``none`` for scores that are
            done. None takes what the names say (RF-DETR: sigmoid), or the number of columns: as
            many as ``num_classes`` means sigmoid, one more softmax; where that is not given, 80
            and 91, COCO's, are sigmoid and 92 softmax. Anything else has to be said.
        background: the last column means no object. None: it does with softmax, and where RF-DETR
            has one column more than ``num_classes``.
        boxes: name of the tensor with the boxes, where neither names nor widths tell.
        normalized: boxes of finished detections are fractions of the input, not pixels. None sees
            it from the boxes.
        scores: name of the tensor with the scores of finished detections, where nothing tells it
            from the classes.
    """

    multi_label: bool = True
    activation: str | None = None
    background: bool | None = None
    boxes: str | None = None
    normalized: bool | None = None
    scores: str | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None:
        return Fit.NO
    by_name = {spec.name: shape for spec, shape in zip(outputs, shapes, strict=True)}
    for logits, boxes in _PAIRS:
        if logits in by_name and boxes in by_name:
            a, b = by_name[logits], by_name[boxes]
            if len(a) == 2 and len(b) == 2 and a[0] == b[0] and b[1] in (4, None):
                return Fit.CERTAIN if len(shapes) == 2 else Fit.POSSIBLE
    if len(shapes) == 3:
        if finished.roles_by_shape([spec.shape for spec in outputs]) is None:
            return Fit.NO
        return Fit.CERTAIN if finished.named(outputs, _FINISHED) else Fit.POSSIBLE
    if any(len(shape) != 2 for shape in shapes):
        return Fit.NO
    if len(shapes) == 2:
        (rows, width), (other_rows, other) = shapes
        few = rows == other_rows and (rows or 1) <= _MAX_QUERIES
        # Two columns are those of a face detector.
        wide = (width == 4 and (other or 0) > 2) or (other == 4 and (width or 0) > 2)
        return Fit.POSSIBLE if few and wide else Fit.NO
    if len(shapes) != 1 or shapes[0][0] != _ROWS:
        return Fit.NO
    if (shapes[0][1] or 0) < 5 or shapes[0][1] in _OTHERS:
        return Fit.NO
    return Fit.CERTAIN if shapes[0][1] == 84 else Fit.POSSIBLE


def pixels_for(outputs: Sequence[TensorSpec]) -> Pixels:
    """Tell who wants ImageNet's mean and deviation: RF-DETR, and all with ids of COCO (91, 92)."""
    names = {spec.name for spec in outputs}
    widths = {spec.shape[2] for spec in outputs if len(spec.shape) == 3}
    imagenet = names == _RF_DETR or bool(widths & {91, 92})
    return _IMAGENET if imagenet else PIXELS


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Score every class of every query, and take the best.

    Args:
        outputs: one of the layouts in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: tensors that are none of these layouts, an activation that nothing tells, or no
            scores where scores should be.
    """
    if len(outputs) == 3 and not _pair_names(outputs, options):
        found = finished.read(outputs, _FINISHED, scores=options.scores, head="detr")
        return _select(*found, options)
    rows = _rows_of_six(outputs)
    if rows is not None:
        scale = candidates.pixel_scale(True, rows[:, :4], options, "detr")
        xyxy = candidates.corners(rows[:, :4], scale)
        return _select(xyxy, rows[:, 4], rows[:, 5], options.replace(normalized=False))
    boxes, scores, activation = _raw(outputs, options)
    columns = scores.shape[1]
    background = options.background
    if background is None:
        # RF-DETR's heads have a column more than a fine-tuned model has classes; nothing learns it.
        spare = outputs.keys() >= _RF_DETR and columns == options.num_classes + 1 > 1
        background = activation == "softmax" or spare
    if activation == "softmax":
        with np.errstate(invalid="ignore", over="ignore"):
            weights = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
            scores = weights / weights.sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        # The logistic function by tanh, which cannot overflow.
        scores = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * scores))
    scores = scores[:, : columns - background]
    if options.num_classes and scores.shape[1] != options.num_classes:
        width = options.num_classes + background
        raise wrong_shape("detr", f"[1, Q, 4] and [1, Q, {width}]", outputs)
    if not scores.shape[1]:
        raise wrong_shape("detr", "[1, Q, 4] and [1, Q, classes]", outputs)
    many = options.multi_label and activation != "softmax"
    index, score, class_id, lost = candidates.classes(scores, options.replace(multi_label=many))
    scale = candidates.pixel_scale(True, boxes, options, "detr")
    xyxy = candidates.corners(boxes[index], scale)
    return candidates.select(xyxy, score, class_id, options, head="detr", lost=lost, suppress=False)


def _rows_of_six(outputs: Mapping[str, Array]) -> Float32 | None:
    """Return (N, 6) box, score and class id, where that is what a single tensor holds."""
    array = next(iter(outputs.values()), np.zeros(0))
    if len(outputs) != 1 or array.ndim != 3 or array.shape[0] != 1 or array.shape[2] != 6:
        return None
    rows = np.asarray(array[0], np.float32)
    with np.errstate(invalid="ignore"):
        return rows if (rows[:, 5] % 1 == 0).all() else None


def _select(xyxy: Float32, score: Float32, class_id: Float32, options: Options) -> Detections:
    """Take finished detections at or above the confidence."""
    index, lost = candidates.above(score, options.confidence)
    whole = candidates.whole_classes(class_id[index], options, "detr")
    scale = candidates.pixel_scale(options.normalized, xyxy[index], options, "detr")
    with np.errstate(over="ignore"):
        corners = xyxy[index] * scale
    return candidates.select(
        corners, score[index], whole, options, head="detr", lost=lost, suppress=False
    )


def _pair_names(outputs: Mapping[str, Array], options: Options) -> tuple[str, str] | None:
    """Return the names of logits and boxes, if names tell."""
    if options.boxes is not None:
        if options.boxes not in outputs or len(outputs) != 2:
            raise HeadError(
                "no such pair of outputs",
                where="head detr: boxes",
                expected=f"one of two outputs, {' and '.join(outputs)}",
                got=repr(options.boxes),
            )
        other = next(name for name in outputs if name != options.boxes)
        return other, options.boxes
    return next((pair for pair in _PAIRS if set(pair) <= outputs.keys()), None)


def _raw(outputs: Mapping[str, Array], options: Options) -> tuple[Float32, Float32, str]:
    """Return (Q, 4) boxes and (Q, C) scores, and what turns the scores into probabilities."""
    expected = "[1, Q, 4] and [1, Q, classes], [1, Q, 4 + classes], or labels, boxes, scores"
    if options.activation not in (None, "sigmoid", "softmax", "none"):
        raise HeadError(
            "",
            where="head detr: activation",
            expected="sigmoid, softmax or none",
            got=repr(options.activation),
        )
    names = _pair_names(outputs, options)
    if names is None and len(outputs) == 1:
        array = next(iter(outputs.values()))
        if array.ndim != 3 or array.shape[0] != 1 or array.shape[2] < 5:
            raise wrong_shape("detr", expected, outputs)
        rows = np.asarray(array[0], np.float32)
        return rows[:, :4], rows[:, 4:], options.activation or "none"
    if names is None:
        names = _by_width(outputs, expected)
    scores, boxes = (outputs[name] for name in names)
    if scores.ndim != 3 or boxes.shape != (1, scores.shape[1], 4) or scores.shape[0] != 1:
        raise wrong_shape("detr", expected, outputs)
    activation = options.activation or _activation(names, scores.shape[2], options)
    return np.asarray(boxes[0], np.float32), np.asarray(scores[0], np.float32), activation


def _by_width(outputs: Mapping[str, Array], expected: str) -> tuple[str, str]:
    fours = [name for name, array in outputs.items() if array.shape[2:] == (4,)]
    if len(outputs) != 2 or not fours:
        raise wrong_shape("detr", expected, outputs)
    if len(fours) == 2:
        raise HeadError(
            "two outputs are four wide: nothing tells boxes from scores",
            where="head detr",
            expected="names that are known, such as logits and pred_boxes",
            got=" and ".join(outputs),
            remedy=f"name the boxes: --head-option boxes={fours[0]}",
        )
    return next(name for name in outputs if name != fours[0]), fours[0]


def _activation(names: tuple[str, str], columns: int, options: Options) -> str:
    if set(names) == _RF_DETR:
        return "sigmoid"
    count = options.num_classes
    if columns == count or (not count and columns in _SIGMOID_COLUMNS):
        return "sigmoid"
    if columns == count + 1 if count else columns in _SOFTMAX_COLUMNS:
        return "softmax"
    raise HeadError(
        f"nothing tells the activation of {columns} columns of logits",
        where="head detr",
        expected="sigmoid (RT-DETR, D-FINE, Deformable DETR) or softmax (DETR)",
        remedy="say it: --head-option activation=sigmoid or softmax",
    )
