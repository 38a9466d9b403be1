"""Boxes with scores and classes, as parallel arrays; masks, keypoints, rotations, tracks if any.

Detection, instance segmentation, pose and oriented boxes share this type: whatever tracks, counts,
merges or draws objects works for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgecv import boxes
from edgecv.errors import UsageError
from edgecv.masks import Masks
from edgecv.record import Record, field
from edgecv.results import Difference, label_of
from edgecv.types import Array, Float32, Int32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASKS = ("detect", "segment", "pose", "obb")


class SoftMasks(Protocol):
    """Masks that are not yet decided: what a head returns until they reach source pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Array | slice | Sequence[int]) -> SoftMasks: ...

    def to_source(self, geometry: Geometry) -> Masks:
        """Decide for every source pixel."""


class Detections(Record):
    """N detections; N may be 0.

    What a model does not tell is None, and not an array.

    Attributes:
        xyxy: (N, 4) float32, left, top, right, bottom in pixels; continuous coordinates, in which
            pixel (0, 0) covers [0, 1) x [0, 1). Source pixels in a `Result`, model-input pixels
            in what a head returns. Of oriented boxes the upright hull.
        score: (N,) float32 in 0-1, sorted from high to low by every head.
        class_id: (N,) int32, an index into the model's labels.
        dropped: candidates above the confidence threshold that a bound (``max_candidates``,
            ``max_detections``) cut off; 0 means that nothing was lost.
        track_id: (N,) int32 ids that a tracker gave, from 1 and unique in a stream; 0 for what it
            does not follow (yet).
        masks: N instance masks, on the source image in a `Result`.
        keypoints: (N, K, 3) float32 x, y in pixels and a score in 0-1; points are not clipped.
        xywhr: (N, 5) float32 oriented boxes: centre x, centre y, width, height in pixels, and the
            angle in radians by which the width's side is turned from the x axis towards the y axis
            (clockwise as the image is seen).
    """

    xyxy: Float32 = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    class_id: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    dropped: int = 0
    track_id: Int32 | None = None
    masks: Masks | SoftMasks | None = None
    keypoints: Float32 | None = None
    xywhr: Float32 | None = None

    def __post_init__(self) -> None:
        n = len(self.score)
        expected = {"xyxy": (n, 4), "score": (n,), "class_id": (n,), "track_id": (n,)}
        expected["xywhr"] = (n, 5)
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(f"Detections.{name}: expected shape {shape}; got {array.shape}")
        points = self.keypoints
        if points is not None and (points.ndim != 3 or len(points) != n or points.shape[2] != 3):
            raise ValueError(
                f"Detections.keypoints: expected shape ({n}, K, 3); got {points.shape}"
            )
        if self.masks is not None and len(self.masks) != n:
            raise ValueError(f"Detections.masks: expected {n}; got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.score)

    def __iter__(self) -> Iterator[tuple[Float32, float, int]]:
        """Yield (xyxy, score, class_id) of each detection."""
        for i in range(len(self)):
            yield self.xyxy[i], float(self.score[i]), int(self.class_id[i])

    def __getitem__(self, index: Array | slice | Sequence[int]) -> Detections:
        """Select detections by mask, slice or indices; `dropped` stays as it was."""
        fields = self.to_fields()
        for name in _PARALLEL:
            if fields[name] is not None:
                fields[name] = fields[name][index]
        return Detections(**fields)

    @property
    def instance_masks(self) -> Masks:
        """The masks on the source image.

        Raises:
            UsageError: the model makes none, or they have not been brought to the source yet.
        """
        if not isinstance(self.masks, Masks):
            raise UsageError(
                "these detections have no masks",
                where="detections.instance_masks",
                expected="a result of an instance segmentation model",
                got=type(self.masks).__name__,
            )
        return self.masks

    def to_source(self, geometry: Geometry) -> Detections:
        """Map from model-input pixels to source pixels; boxes are clipped to the image."""
        changes: dict[str, Any] = {"xyxy": geometry.boxes_to_source(self.xyxy)}
        if self.masks is not None:
            changes["masks"] = self.masks.to_source(geometry)
        if self.keypoints is not None:
            points = self.keypoints.copy()
            points[..., :2] = geometry.points_to_source(points[..., :2])
            changes["keypoints"] = points
        if self.xywhr is not None:
            changes["xywhr"] = geometry.rotated_to_source(self.xywhr)
        return self.replace(**changes)

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"detections": [{xyxy, score, class_id, label, ...}, ...], "dropped": n}``.

        Where there are any, ``track_id``, ``mask`` (COCO's compressed run lengths), ``keypoints``
        ([[x, y, score], ...]) and ``xywhr`` follow.
        """
        items = []
        for i, (xyxy, score, class_id) in enumerate(self):
            item = {
                "xyxy": [round(float(v), 3) for v in xyxy],
                "score": round(score, 6),
                "class_id": class_id,
                "label": label_of(labels, class_id),
            }
            if self.track_id is not None:
                item["track_id"] = int(self.track_id[i])
            if self.masks is not None:
                item["mask"] = self.instance_masks.to_json(i)
            if self.keypoints is not None:
                item["keypoints"] = [
                    [round(float(x), 2), round(float(y), 2), round(float(s), 4)]
                    for x, y, s in self.keypoints[i]
                ]
            if self.xywhr is not None:
                *sides, angle = (float(v) for v in self.xywhr[i])
                item["xywhr"] = [*(round(v, 3) for v in sides), round(angle, 5)]
            items.append(item)
        return {"detections": items, "dropped": self.dropped}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Detections:
        """Read what `to_json` wrote; numbers come back as rounded there."""
        items = data["detections"]
        first = items[0] if items else {}
        more: dict[str, Any] = {}
        if "track_id" in first:
            more["track_id"] = np.array([item["track_id"] for item in items], np.int32)
        if "mask" in first:
            codes = [item["mask"] for item in items]
            more["masks"] = Masks.from_json(codes, codes[0]["size"])
        if "keypoints" in first:
            more["keypoints"] = np.array([item["keypoints"] for item in items], np.float32)
        if "xywhr" in first:
            more["xywhr"] = np.array([item["xywhr"] for item in items], np.float32)
        return cls(
            np.array([item["xyxy"] for item in items], np.float32).reshape(-1, 4),
            np.array([item["score"] for item in items], np.float32),
            np.array([item["class_id"] for item in items], np.int32),
            int(data.get("dropped", 0)),
            **more,
        )

    def difference(self, expected: Detections) -> Difference:
        """Compare with a recorded result of the same image.

        Pairs are formed within a class, best expected score first, with the detection of highest
        IoU, at least 0.5, or in the same place: the IoU of a box that was clipped to a line is 0
        even with itself. What stays alone on either side counts with its score. Keypoints count
        where both score them 0.5 or more, and corners stand for oriented boxes.
        """
        free = np.ones(len(self), bool)
        alone: list[float] = []
        pairs: list[tuple[int, int]] = []
        overlap = _overlap(expected.xyxy, self.xyxy)
        for i in np.argsort(-expected.score, kind="stable"):
            fits = free & (self.class_id == expected.class_id[i]) & (overlap[i] >= 0.5)
            if not fits.any():
                alone.append(float(expected.score[i]))
                continue
            j = int(np.argmax(np.where(fits, overlap[i], -1)))
            free[j] = False
            pairs.append((int(i), j))
        alone += [float(s) for s in self.score[free]]
        if not pairs:
            return Difference(unmatched=tuple(alone))
        theirs, mine = expected[[i for i, _ in pairs]], self[[j for _, j in pairs]]
        return Difference(
            score=float(np.abs(mine.score - theirs.score).max()),
            box_px=max(_places_apart(mine, theirs)),
            unmatched=tuple(alone),
            area=_masks_apart(mine, theirs),
        )


_PARALLEL = ("xyxy", "score", "class_id", "track_id", "masks", "keypoints", "xywhr")


def _overlap(a: Float32, b: Float32) -> Float32:
    """Return the IoU (N, M) of boxes; 1 - the pixels between their edges, where that is more."""
    apart = np.zeros((len(a), len(b)), np.float32)
    for side in range(4):
        np.maximum(apart, np.abs(a[:, None, side] - b[None, :, side]), out=apart)
    return np.maximum(boxes.iou(a, b), 1 - apart)


def _places_apart(a: Detections, b: Detections) -> Iterator[float]:
    """Yield the largest differences of edges, keypoints and corners of paired detections, pixels.

    What only one side tells is infinitely far away.
    """
    yield float(np.abs(a.xyxy - b.xyxy).max())
    for mine, theirs in ((a.keypoints, b.keypoints), (a.xywhr, b.xywhr)):
        if mine is None and theirs is None:
            continue
        if mine is None or theirs is None or mine.shape != theirs.shape:
            yield float("inf")
        elif mine.ndim == 3:
            seen = (mine[..., 2] >= _SEEN) & (theirs[..., 2] >= _SEEN)
            apart = np.abs(mine[..., :2] - theirs[..., :2]).max(axis=2, initial=0)
            yield float(apart.max(initial=0, where=seen))
        else:
            # A rectangle may be told with another corner first, or its sides exchanged.
            corners = boxes.corners_of_rotated(mine), boxes.corners_of_rotated(theirs)
            turns = [np.abs(np.roll(corners[0], k, axis=1) - corners[1]) for k in range(4)]
            yield float(np.min([turn.max(axis=(1, 2)) for turn in turns], axis=0).max())


def _masks_apart(a: Detections, b: Detections) -> float:
    """Return the largest 1 - IoU of paired masks; 1 where only one side has any."""
    if a.masks is None and b.masks is None:
        return 0.0
    if a.masks is None or b.masks is None:
        return 1.0
    mine, theirs = a.instance_masks, b.instance_masks
    if mine.size_hw != theirs.size_hw:
        return 1.0
    worst = 0.0
    for i in range(len(mine)):
        one, other = mine[[i]], theirs[[i]]
        if one.area()[0] or other.area()[0]:
            worst = max(worst, 1 - float(one.iou(other)[0, 0]))
    return worst


_SEEN = 0.5

RESULT = Detections
