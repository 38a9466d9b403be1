"""Poses of several people by a model that takes a crop around one person at a time.

    with edgecv.load("people.edgecv") as people, edgecv.load("rtmpose.edgecv") as pose:
        result = TopDown(people, pose)("street.jpg")
        result.detections.keypoints  # (N, K, 3) in source pixels

Each box is enlarged by a margin and to the aspect of the pose model's input, cut out, and run; what
lies outside of the image is black. Source: the top-down preparation that MMPose documents for
SimpleBaseline, HRNet, SimCC and RTMPose, margin 1.25 included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from edgecv.errors import UsageError
from edgecv.model import ImageLike, Model, is_pixels, read_bgr
from edgecv.result import Result, Timings
from edgecv.results.detections import Detections
from edgecv.types import Array, Float32, Image

if TYPE_CHECKING:
    from edgecv.codecs import Limits

MARGIN = 1.25
_AT_ONCE = 32  # crops held at a time


class TopDown:
    """A detector and a pose model as one callable: image in, people with keypoints out.

    Args:
        people: detects the objects.
        pose: finds the keypoints of one; of a model that finds several, the best counts.
        class_ids: of the detector, the classes whose poses are wanted; None takes every class.
        margin: see `estimate`.

    Raises:
        UsageError: the models do something else.
    """

    def __init__(
        self,
        people: Model,
        pose: Model,
        *,
        class_ids: Sequence[int] | None = None,
        margin: float = MARGIN,
    ) -> None:
        if people.task not in ("detect", "segment"):
            raise UsageError("", where="people", expected="a detector", got=people.task)
        _check(pose, margin)
        self.people = people
        self.pose = pose
        self.labels = people.labels
        self._class_ids = None if class_ids is None else np.array(class_ids, np.int32)
        self._margin = margin

    def __call__(self, image: ImageLike, *, limits: Limits | None = None) -> Result:
        """Run on one image.

        Args:
            image: any of the kinds that a model takes.
            limits: on pixels and bytes of encoded images; None for the defaults.

        Returns:
            The detector's result with keypoints; the timings are those of both models.

        Raises:
            ImageError: it is not a usable image.
            InferenceError: an engine failed, or a model is closed.
        """
        start = perf_counter()
        pixels, source = read_bgr(image, limits)
        decode = 0.0 if is_pixels(image) else (perf_counter() - start) * 1e3
        result = self.people(pixels)
        found = result.detections
        if self._class_ids is not None:
            found = found[np.isin(found.class_id, self._class_ids)]
        value, spent = _estimate(self.pose, pixels, found, self._margin)
        preprocess, infer, postprocess = (float(ms) for ms in spent + _stages(result))
        total = (perf_counter() - start) * 1e3
        timings = Timings(decode, preprocess, infer, postprocess, total)
        return Result(value, source, result.source_hw, self.labels, timings)


def estimate(
    pose: Model, image: Image, people: Detections, *, margin: float = MARGIN
) -> Detections:
    """Find the keypoints of each detection.

    Args:
        pose: a pose model; it runs on all crops of an image at once where its batch axis is free.
        image: (H, W, 3) uint8 BGR.
        people: in pixels of the image.
        margin: by which a box is enlarged, at least 1.

    Returns:
        The same detections with `keypoints` (N, K, 3) in pixels of the image. Where the pose model
        finds nobody in a crop, all scores are 0; where nobody was detected, K is 0.

    Raises:
        UsageError: the model does not find keypoints, or the margin is below 1.
        InferenceError: the engine failed, or the model is closed.
    """
    return _estimate(pose, image, people, margin)[0]


def _estimate(
    pose: Model, image: Image, people: Detections, margin: float
) -> tuple[Detections, Array]:
    """Do what `estimate` says; return the sums of the stages' times (3,) as well, milliseconds."""
    _check(pose, margin)
    found: list[Array | None] = []
    spent = np.zeros(3)
    height, width = pose.options.input_hw
    windows = _windows(people.xyxy, width / height, margin)
    for first in range(0, len(windows), _AT_ONCE):
        some = windows[first : first + _AT_ONCE]
        results = pose.batch(list(_crops(image, some)))
        for (x, y, _, _), result in zip(some, results, strict=True):
            spent += _stages(result)
            found.append(_best(result.detections, (x, y)))
    count = next((len(points) for points in found if points is not None), 0)
    nothing = np.zeros((count, 3), np.float32)
    rows = [nothing if points is None else points for points in found]
    points = np.array(rows, np.float32).reshape(len(people), count, 3)
    return people.replace(keypoints=points), spent


def _stages(result: Result) -> Array:
    times = result.timings_ms
    return np.array([times.preprocess, times.infer, times.postprocess])


def _check(pose: Model, margin: float) -> None:
    if pose.task != "pose":
        raise UsageError("", where="pose", expected="a model for poses", got=pose.task)
    if not margin >= 1:
        raise UsageError("", where="margin", expected="at least 1", got=repr(margin))


def _windows(xyxy: Float32, aspect: float, margin: float) -> list[tuple[int, int, int, int]]:
    """Enlarge (N, 4) boxes; return x, y, width, height in whole pixels, reaching outside, too."""
    boxes = np.asarray(xyxy, np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1) * margin
    width = np.maximum(size[:, 0], size[:, 1] * aspect)
    size = np.stack([width, width / aspect], axis=1)
    low = np.floor(centre - size / 2).astype(int)
    size = np.maximum(np.rint(size).astype(int), 1)
    return [(x, y, w, h) for (x, y), (w, h) in zip(low.tolist(), size.tolist(), strict=True)]


def _crops(image: Image, windows: Sequence[tuple[int, int, int, int]]) -> Iterator[Image]:
    """Cut windows out of an image; what lies inside is not copied."""
    height, width = image.shape[:2]
    for x, y, w, h in windows:
        x1, y1, x2, y2 = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
        if (x1, y1, x2, y2) == (x, y, x + w, y + h):
            yield image[y1:y2, x1:x2]
            continue
        crop = np.zeros((h, w, 3), np.uint8)
        if x1 < x2 and y1 < y2:
            crop[y1 - y : y2 - y, x1 - x : x2 - x] = image[y1:y2, x1:x2]
        yield crop


def _best(found: Detections, xy: tuple[int, int]) -> Array | None:
    """Return the (K, 3) keypoints of the best detection, moved to where the crop lies."""
    if not len(found) or found.keypoints is None:
        return None
    points: Array = found.keypoints[int(found.score.argmax())].copy()
    points[:, :2] += np.array(xy, np.float32)
    return points
