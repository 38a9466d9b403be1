"""Boxes with scores and classes, as parallel arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv import boxes
from edgecv.record import Record, field
from edgecv.results import Difference, label_of
from edgecv.types import Array, Float32, Int32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASK = "detect"


class Detections(Record):
    """N detections; N may be 0.

    Attributes:
        xyxy: (N, 4) float32, left, top, right, bottom in pixels; continuous coordinates, in which
            pixel (0, 0) covers [0, 1) x [0, 1). Source pixels in a `Result`, model-input pixels
            in what a head returns.
        score: (N,) float32 in 0-1, sorted from high to low by every head.
        class_id: (N,) int32, an index into the model's labels.
        dropped: candidates above the confidence threshold that a bound (``max_candidates``,
            ``max_detections``) cut off; 0 means that nothing was lost.
    """

    xyxy: Float32 = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    class_id: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    dropped: int = 0

    def __post_init__(self) -> None:
        n = len(self.score)
        expected = {"xyxy": (n, 4), "score": (n,), "class_id": (n,)}
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"Detections.{name}: expected shape {shape}; got {got}")

    def __len__(self) -> int:
        return len(self.score)

    def __iter__(self) -> Iterator[tuple[Float32, float, int]]:
        """Yield (xyxy, score, class_id) of each detection."""
        for i in range(len(self)):
            yield self.xyxy[i], float(self.score[i]), int(self.class_id[i])

    def __getitem__(self, index: Array | slice | Sequence[int]) -> Detections:
        """Select detections by mask, slice or indices; `dropped` stays as it was."""
        arrays = ("xyxy", "score", "class_id")
        picked = {name: getattr(self, name)[index] for name in arrays}
        return Detections(**picked, dropped=self.dropped)

    def to_source(self, geometry: Geometry) -> Detections:
        """Map boxes from model-input pixels to source pixels, clipped to the image."""
        return Detections(
            geometry.boxes_to_source(self.xyxy), self.score, self.class_id, self.dropped
        )

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"detections": [{xyxy, score, class_id, label}, ...], "dropped": n}``."""
        items = [
            {
                "xyxy": [round(float(v), 3) for v in xyxy],
                "score": round(score, 6),
                "class_id": class_id,
                "label": label_of(labels, class_id),
            }
            for xyxy, score, class_id in self
        ]
        return {"detections": items, "dropped": self.dropped}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Detections:
        """Read what `to_json` wrote; numbers come back as rounded there."""
        items = data["detections"]
        return cls(
            np.array([item["xyxy"] for item in items], np.float32).reshape(-1, 4),
            np.array([item["score"] for item in items], np.float32),
            np.array([item["class_id"] for item in items], np.int32),
            int(data.get("dropped", 0)),
        )

    def difference(self, expected: Detections) -> Difference:
        """Compare with a recorded result of the same image.

        Pairs are formed within a class, best expected score first, with the detection of highest
        IoU, at least 0.5. What stays alone on either side counts with its score.
        """
        free = np.ones(len(self), bool)
        score = box_px = 0.0
        alone: list[float] = []
        overlap = boxes.iou(expected.xyxy, self.xyxy)
        for i in np.argsort(-expected.score, kind="stable"):
            fits = free & (self.class_id == expected.class_id[i]) & (overlap[i] >= 0.5)
            if not fits.any():
                alone.append(float(expected.score[i]))
                continue
            j = int(np.argmax(np.where(fits, overlap[i], -1)))
            free[j] = False
            score = max(score, abs(float(self.score[j] - expected.score[i])))
            box_px = max(box_px, float(np.abs(self.xyxy[j] - expected.xyxy[i]).max()))
        alone += [float(s) for s in self.score[free]]
        return Difference(score=score, box_px=box_px, unmatched=tuple(alone))


RESULT = Detections
