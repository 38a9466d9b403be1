"""The most likely classes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.record import Record, field
from edgecv.results import Difference, label_of
from edgecv.types import Float32, Int32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASKS = ("classify",)


class Classes(Record):
    """The top K classes, most likely first; K may be 0.

    Attributes:
        class_id: (K,) int32, an index into the model's labels.
        score: (K,) float32, probabilities in 0-1.
    """

    class_id: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    score: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if self.class_id.shape != self.score.shape or self.score.ndim != 1:
            raise ValueError(
                "Classes: expected two arrays of shape (K,); "
                f"got {self.class_id.shape} and {self.score.shape}"
            )

    @classmethod
    def top(cls, scores: Float32, count: int) -> Classes:
        """Rank classes by their scores; equal ones come in the order of their ids.

        Args:
            scores: (C,) float32 by class id, not NaN; those at -inf are never listed.
            count: at most so many are.
        """
        count = max(0, min(count, scores.size))
        if count == 0:
            return cls()
        # Everything at least as good as the last one wanted; then only those are sorted.
        limit = np.partition(scores, scores.size - count)[scores.size - count]
        best = np.flatnonzero(scores >= limit)
        best = best[np.argsort(-scores[best], kind="stable")][:count]
        if limit == -np.inf:
            best = best[scores[best] > -np.inf]
        return cls(best.astype(np.int32), scores[best])

    def __len__(self) -> int:
        return len(self.score)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Yield (class_id, score), most likely first."""
        for class_id, score in zip(self.class_id, self.score, strict=True):
            yield int(class_id), float(score)

    def to_source(self, geometry: Geometry) -> Classes:
        """Return itself: classes have no place in the image."""
        del geometry
        return self

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"classes": [{class_id, score, label}, ...]}``."""
        items = [
            {
                "class_id": class_id,
                "score": round(score, 6),
                "label": label_of(labels, class_id),
            }
            for class_id, score in self
        ]
        return {"classes": items}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Classes:
        """Read what `to_json` wrote; numbers come back as rounded there."""
        items = data["classes"]
        return cls(
            np.array([item["class_id"] for item in items], np.int32),
            np.array([item["score"] for item in items], np.float32),
        )

    def difference(self, expected: Classes) -> Difference:
        """Compare with a recorded result of the same image.

        A class that only one side lists differs by how far its score exceeds the other side's
        lowest: below that it may be there, unlisted.
        """
        mine, theirs = dict(self), dict(expected)
        low_mine, low_theirs = min(mine.values(), default=0.0), min(theirs.values(), default=0.0)
        score = 0.0
        for class_id in mine.keys() | theirs.keys():
            a, b = mine.get(class_id), theirs.get(class_id)
            if a is not None and b is not None:
                score = max(score, abs(a - b))
            else:
                score = max(score, a - low_theirs if a is not None else (b or 0.0) - low_mine)
        return Difference(score=score)


RESULT = Classes
