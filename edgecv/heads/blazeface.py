"""Faces of MediaPipe's BlazeFace: ``[1, A, 4 + 2 * K]`` offsets and ``[1, A, 1]`` logits.

Each row is x, y of the centre, width and height, then K points x, y, all in pixels of the input and
relative to the centre of an anchor; anchors have no size of their own. Score = sigmoid of the
logit, which is limited to +-100. The anchors follow from the input's size:

==========================  ===========================================  =====
model                       anchors in each cell                         A
==========================  ===========================================  =====
short range (128)           2 at stride 8, 6 at stride 16                896
back camera (256)           2 at stride 16, 6 at stride 32               896
full range (192)            1 at stride 4                                2304
==========================  ===========================================  =====

The six points are right eye, left eye, tip of the nose, mouth, right and left ear, as the person
has them; they have no score of their own and get 1. Overlaps are blended by default: the best
face's box and points become the mean, weighted by score, of all that overlap it. Sources:
"BlazeFace" (Bazarevsky et al., 2019) and the calculator options in MediaPipe's face_detection
graphs.

Recognised by shape: K = 6 with A as in the table are CERTAIN, POSSIBLE for another K (palms have
7) or where a size is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from edgecv import boxes, candidates
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
PIXELS = Pixels("letterbox", "rgb", (127.5,) * 3, (127.5,) * 3, pad_value=0)

# stride -> anchors in each of its cells
_LAYOUTS = ({8: 2, 16: 6}, {16: 2, 32: 6}, {4: 1})
_MAX_LOGIT = 100
_FACE_WIDTH = 16


class Options(DetectionOptions, kw_only=True):
    """How to read the tensors.

    Attributes:
        confidence: MediaPipe uses 0.5.
        iou: MediaPipe uses 0.3.
        blend: overlapping faces become their weighted mean, as in MediaPipe, instead of leaving
            the best one as it is.
    """

    confidence: float = 0.5
    iou: float = 0.3
    blend: bool = True


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge as described above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) != 2 or any(len(shape) != 2 for shape in shapes):
        return Fit.NO
    (rows, narrow), (other, wide) = sorted(shapes, key=lambda shape: shape[1] or 0)
    if rows != other or narrow != 1 or wide is None or wide < 6 or wide % 2:
        return Fit.NO
    size = image_size(inputs)
    if size is None or rows is None:
        return Fit.POSSIBLE if wide == _FACE_WIDTH else Fit.NO
    if _layout(size, rows) is None:
        return Fit.NO
    return Fit.CERTAIN if wide == _FACE_WIDTH else Fit.POSSIBLE


def _layout(input_hw: tuple[int, int], rows: int) -> dict[int, int] | None:
    for layout in _LAYOUTS:
        if rows == sum(grid_cells(input_hw, (s,)) * n for s, n in layout.items()) > 0:
            return layout
    return None


def decode(outputs: Mapping[str, Array], options: Options) -> Detections:
    """Take the faces at or above the confidence, then blend or suppress overlaps.

    Args:
        outputs: the two tensors, in any order.
        options: how to read them.

    Raises:
        HeadError: other tensors, or a number of rows that is not that of any known anchors.
    """
    tensors = [np.asarray(a, np.float32) for a in outputs.values() if a.ndim == 3]
    tensors.sort(key=lambda array: array.shape[2])
    fits = len(outputs) == len(tensors) == 2 and tensors[0].shape[2] == 1
    width = tensors[-1].shape[2] if tensors else 0
    rows = tensors[-1].shape[1] if tensors else 0
    layout = _layout(options.input_hw, rows)
    fits = fits and tensors[0].shape == (1, rows, 1) and tensors[1].shape == (1, rows, width)
    if not fits or layout is None or width < 6 or width % 2 or options.num_classes > 1:
        counts = sorted(
            {
                sum(grid_cells(options.input_hw, (s,)) * n for s, n in one.items())
                for one in _LAYOUTS
            }
        )
        expected = f"[1, A, 16] and [1, A, 1], A one of {', '.join(map(str, counts))}"
        raise wrong_shape("blazeface", expected, outputs)
    logits = np.clip(tensors[0][0, :, 0], -_MAX_LOGIT, _MAX_LOGIT)
    # The logistic function by tanh, which cannot overflow.
    score = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * logits))
    index, lost = candidates.above(score, options.confidence)
    anchors = _anchors(options.input_hw, tuple(layout.items()))[index]
    found, score = tensors[1][0, index], score[index]
    with np.errstate(over="ignore", invalid="ignore"):
        centre = found[:, :2] + anchors
        xyxy = boxes.from_cxcywh(np.concatenate([centre, found[:, 2:4]], axis=1))
        places = found[:, 4:].reshape(len(found), (width - 4) // 2, 2) + anchors[:, None]
    keypoints = np.concatenate([places, np.ones_like(places[..., :1])], axis=2)
    class_id = np.zeros(len(index), np.int32)
    blended = options.blend and options.iou < 1
    faces = candidates.select(
        xyxy,
        score,
        class_id,
        options.replace(max_detections=options.max_candidates) if blended else options,
        head="blazeface",
        lost=lost,
        suppress=not blended,
        keypoints=keypoints,
    )
    return _blend(faces, options) if blended else faces


def _blend(faces: Detections, options: Options) -> Detections:
    """Replace each best face by the mean of those that overlap it; best first.

    Scores stay those of the best.
    """
    points = faces.keypoints
    if not len(faces) or points is None:
        return faces
    rest = np.arange(len(faces))
    best, xyxy, places = [], [], []
    while rest.size:
        top = rest[0]
        near = boxes.iou(faces.xyxy[[top]], faces.xyxy[rest])[0] > options.iou
        near[0] = True
        group = rest[near]
        weight = faces.score[group] / faces.score[group].sum()
        best.append(top)
        xyxy.append(weight @ faces.xyxy[group])
        places.append(np.tensordot(weight, points[group], 1))
        rest = rest[~near]
    kept = best[: options.max_detections]
    return Detections(
        np.array(xyxy[: len(kept)], np.float32).reshape(-1, 4),
        faces.score[kept],
        faces.class_id[kept],
        faces.dropped + len(best) - len(kept),
        keypoints=np.array(places[: len(kept)], np.float32).reshape(-1, *points.shape[1:]),
    )


@lru_cache(maxsize=4)
def _anchors(input_hw: tuple[int, int], layout: tuple[tuple[int, int], ...]) -> Float32:
    """List the (A, 2) x, y of the anchors' centres, in input pixels; shared, so read-only."""
    centres = []
    for stride, count in layout:
        points, scale = candidates.grid_centres(input_hw, (stride,), 0.5, "blazeface")
        centres.append(np.repeat(points * scale, count, axis=0))
    anchors: Float32 = np.concatenate(centres)
    anchors.flags.writeable = False
    return anchors
