"""Oriented boxes of a YOLO (v8, 11, 12, 26): rows as in `edgecv.yolo_layouts` with an angle.

Anchor-free rows ``[1, 4 + classes + 1, A]`` are centre x, centre y, width, height, scores, angle;
finished ones ``[1, N, 7]`` are centre x, centre y, width, height, score, class id, angle. The angle
is in radians, from the x axis towards the y axis. Source: the output layouts that Ultralytics
documents for its exports.

Overlaps are suppressed as the family's published figures have it: by ProbIoU (arXiv:2106.06072)
and Fast NMS (YOLACT, 2019), in which suppressed boxes suppress others as well. The option ``exact``
is for those who want greedy suppression by the true IoU.

Recognised by shape:

================================  ========  =====================================================
output                            fit       why
================================  ========  =====================================================
``[1, N, 7]``, N free or <= 1000  POSSIBLE  an RT-DETR with three classes, or a small YOLOX or
                                            v5 with two
``[1, 20, A]``, A a grid's cells  POSSIBLE  DOTA's 15 classes; a YOLO with 16 looks alike
any other                         NO        a YOLO with one class more looks alike, and is far
                                            commoner: metadata or ``--head`` say so
================================  ========  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv import boxes, candidates, rotated, yolo_layouts
from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels, image_size, only_output, output_shapes, wrong_shape
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, TensorSpec

TASK = "obb"
PIXELS = Pixels("letterbox", "rgb", (0, 0, 0), (255, 255, 255))

_DOTA = 4 + 15 + 1


class Options(yolo_layouts.YoloOptions, kw_only=True):
    """How to read the tensor; ``layout`` is ``anchor-free``, ``end2end`` or ``auto``.

    Attributes:
        exact: suppress greedily by the exact IoU, and not by ProbIoU and Fast NMS.
        max_candidates: as in every head; each pair of a class may have to be compared.
    """

    exact: bool = False
    max_candidates: int = 3000


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 1 or len(shapes[0]) != 2:
        return Fit.NO
    (a, b), size = shapes[0], image_size(inputs)
    cells = yolo_layouts.grids(size)
    if b == 7:
        return Fit.POSSIBLE if a is None or a <= yolo_layouts.MAX_ROWS else Fit.NO
    return Fit.POSSIBLE if a == _DOTA and (b is None or b in cells) else Fit.NO


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the best class of each row, then suppress overlaps of oriented boxes.

    Args:
        outputs: one tensor, as in this module's docstring.
        options: how to read it.

    Raises:
        HeadError: another number of outputs, another shape or layout, or no scores where scores
            should be.
    """
    array = only_output(outputs, "yolo_obb")
    picked, angle, finished = _pick(array, options, outputs)
    with np.errstate(over="ignore", invalid="ignore"):
        xywhr = np.concatenate([picked.box * picked.scale, angle[:, None]], axis=1)
        usable = np.isfinite(angle) & (xywhr[:, 2:4] >= 0).all(axis=1)
        xywhr = xywhr[usable]
        xyxy = boxes.hull_of_rotated(xywhr)
    score, class_id = picked.score[usable], picked.class_id[usable]

    def suppress(order: Array) -> Array:
        groups = class_id[order] if options.class_aware else None
        kind = rotated.pair_iou if options.exact else rotated.pair_probiou
        return rotated.nms(
            xywhr[order], score[order], options.iou, groups, overlap=kind, greedy=options.exact
        )

    keep, dropped = candidates.choose(
        xyxy,
        score,
        class_id,
        options,
        head="yolo_obb",
        lost=picked.lost + len(usable) - len(score),
        suppress=False if finished else suppress,
    )
    return Detections(
        np.ascontiguousarray(xyxy[keep], np.float32),
        np.ascontiguousarray(score[keep], np.float32),
        np.ascontiguousarray(class_id[keep], np.int32),
        dropped,
        xywhr=np.ascontiguousarray(xywhr[keep], np.float32),
    )


def _pick(
    array: Array, options: Options, outputs: Mapping[str, Array]
) -> tuple[yolo_layouts.Picked, Float32, bool]:
    """Return the rows that reach the confidence, their angles (K,), and whether they are final."""
    if array.ndim != 3 or array.shape[0] != 1:
        raise wrong_shape("yolo_obb", "[1, 4 + classes + 1, A] or [1, N, 7]", outputs)
    layout = yolo_layouts.layout_of(array.shape[1:], options, 1, "yolo_obb")
    if layout == yolo_layouts.END2END:
        if array.shape[2] != 7:
            raise wrong_shape("yolo_obb", "[1, N, 7]", outputs)
        rows = np.asarray(array[0], np.float32)
        picked = yolo_layouts.pick_finished(rows, options, options.normalized, "yolo_obb")
        return picked, rows[picked.rows, 6], True
    if options.layout == yolo_layouts.ANCHOR_BASED:
        raise HeadError(
            "no oriented boxes come in this layout",
            where="head yolo_obb: layout",
            expected="auto, anchor-free or end2end",
            got=options.layout,
        )
    rows = yolo_layouts.channel_rows(array, options, options.transposed, "yolo_obb", outputs, 1)
    picked = yolo_layouts.pick_channels(rows, options, options.normalized, "yolo_obb", 1)
    return picked, rows[-1, picked.rows], False
