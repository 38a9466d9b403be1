"""How far a reduced model agrees with its float source, on images without labels.

What the source finds is taken for the truth, and the task's own metric judges the reduced model by
it. This is how calibrators and float layers are chosen: on calibration images, so that the
validation images stay unseen until the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import plugins
from edgecv.boxes import corners_of_rotated
from edgecv.dataset import Dataset, Sample
from edgecv.errors import DatasetError, ImageError
from edgecv.evaluation import evaluate
from edgecv.map_files import encode_map
from edgecv.map_truth import DepthTruth, SemanticTruth
from edgecv.mask_truth import RotatedTruth
from edgecv.masks import Masks, run_lengths
from edgecv.model import Model
from edgecv.outline_labels import with_outlines
from edgecv.results.classes import Classes
from edgecv.results.depth import DepthMap
from edgecv.results.detections import Detections
from edgecv.results.semantic import UNSEEN, SemanticMap
from edgecv.truth import BoxTruth, ClassTruth, PoseTruth, Truth

_NOT_COUNTED = 65535  # the ignore label of a class map, and the highest level of a depth


def _boxes(result: Detections) -> Truth:
    return BoxTruth.from_rows(result.xyxy.tolist(), result.class_id.tolist())


def _poses(result: Detections) -> Truth:
    boxes = BoxTruth.from_rows(result.xyxy.tolist(), result.class_id.tolist())
    points = np.zeros((len(result), 0, 3), np.float32)
    if result.keypoints is not None:
        points = result.keypoints.copy()
        # What the source itself does not trust is not asked for.
        points[..., 2] = np.where(points[..., 2] >= _SEEN, 2, 0)
    return PoseTruth.from_boxes(boxes, points)


def _best_class(result: Classes) -> Truth | None:
    return ClassTruth(int(result.class_id[0])) if len(result) else None


def _class_map(result: SemanticMap) -> Truth:
    # As a file in memory: a few kilobytes, where the maps of all images would fill it.
    ids = np.where(result.class_id == UNSEEN, _NOT_COUNTED, result.class_id)
    return SemanticTruth(encode_map(ids), ignore=_NOT_COUNTED)


def _depth(result: DepthMap) -> Truth | None:
    """Take depth for truth: metres, or 1 to 10 of what has no unit; see `edgecv.metrics.depth`."""
    depth = result.depth
    if not depth.size:
        return None
    if result.kind != "metric":
        span = float(np.ptp(depth)) or 1.0
        parts = (depth - depth.min()) / span
        depth = 1 / (0.1 + 0.9 * parts) if result.kind == "inverse" else 1 + 9 * parts
    scale = max(float(depth.max()), 1e-6) / _NOT_COUNTED
    return DepthTruth(encode_map(np.rint(np.clip(depth / scale, 0, _NOT_COUNTED))), scale)


def _masks(result: Detections) -> Truth:
    truth = BoxTruth.from_rows(result.xyxy.tolist(), result.class_id.tolist())
    masks = result.instance_masks if len(result) else Masks.empty((0, 0))
    # Run lengths, so that the truth is the masks to the pixel.
    outlines = [(np.array(run_lengths(masks.full(i)), np.int64),) for i in range(len(result))]
    return with_outlines(truth, outlines)


def _rotated(result: Detections) -> Truth:
    boxes = np.zeros((0, 5), np.float32) if result.xywhr is None else result.xywhr
    return RotatedTruth(corners_of_rotated(boxes), result.class_id)


_SEEN = 0.5
_TRUTH: Mapping[str, Callable[[Any], Truth | None]] = {
    "detect": _boxes,
    "segment": _masks,
    "obb": _rotated,
    "pose": _poses,
    "classify": _best_class,
    "semantic": _class_map,
    "depth": _depth,
}


def pseudo_truth(model: Model, images: Sequence[Path]) -> Dataset:
    """Make a data set of what a model finds with its own thresholds.

    Raises:
        DatasetError: nothing is found in any image, or the task has no such truth.
    """
    as_truth = _TRUTH.get(model.task)
    if as_truth is None:
        raise DatasetError("results of this task cannot stand for truth", where=model.task)
    samples: list[Sample] = []
    found = 0
    for image in images:
        try:
            value = model(image).value
        except ImageError:
            continue
        truth = as_truth(value)
        found += len(value)
        if truth is not None:
            samples.append(Sample(image, truth))
    if not found:
        raise DatasetError(
            "the float model finds nothing in the calibration images",
            where=model.info.name,
            got=f"{len(images)} images",
            remedy="calibrate on images like those that the model is for",
        )
    return Dataset(
        name="the float model's own results",
        root=Path(),
        split="calibration",
        task=model.task,
        labels=tuple(model.labels),
        samples=tuple(samples),
    )


def agreement(model: Model, truth: Dataset) -> float | None:
    """Judge a model by another's results: 0 for nothing in common, 1 for the same."""
    main = plugins.load("metrics", model.task).NAMES[0]
    value = evaluate(model, truth, bootstrap=0, class_map="index").metrics[main]
    return None if value is None else float(value)
