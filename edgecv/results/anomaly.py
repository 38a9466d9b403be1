"""How unusual an image is, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.map_summary import MapSummary
from edgecv.masks import Masks
from edgecv.record import Record, field
from edgecv.results import Difference
from edgecv.types import Array, Float32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASKS = ("anomaly",)


class AnomalyMap(Record):
    """A score for the image, and one for each pixel; the map may be of size 0 x 0.

    Attributes:
        score: of the image; the higher, the more unusual. On the scale of `heat`, which is 0-1
            where the model normalises it.
        heat: (H, W) float32, finite, on the source image in a `Result`; what a centre crop cut
            away is 0.
        threshold: scores from this one on are anomalies; None where nobody says.
        recorded: the summary and the mask, of a map that was read back from JSON; `heat` is then
            empty.
    """

    score: float = 0.0
    heat: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    threshold: float | None = None
    recorded: tuple[MapSummary, Masks | None] | None = None

    def __post_init__(self) -> None:
        if self.heat.ndim != 2:
            raise ValueError(f"AnomalyMap.heat: expected (H, W); got {self.heat.shape}")

    @property
    def summary(self) -> MapSummary:
        """Statistics and a coarse grid of the map."""
        return self.recorded[0] if self.recorded else MapSummary.of(self.heat)

    @property
    def anomalous(self) -> bool | None:
        """Whether the image's score reaches the threshold; None without one."""
        return None if self.threshold is None else self.score >= self.threshold

    @property
    def mask(self) -> Array | None:
        """Where the map reaches the threshold, (H, W) bool; None without one."""
        masks = self._masks()
        return None if masks is None else masks.full(0)

    def _masks(self) -> Masks | None:
        if self.recorded:
            return self.recorded[1]
        if self.threshold is None:
            return None
        return Masks.from_full(self.heat[None] >= np.float32(self.threshold))

    def __len__(self) -> int:
        """Return 1, or 0 of an empty map."""
        return int(min(self.summary.size_hw) > 0)

    def to_source(self, geometry: Geometry) -> AnomalyMap:
        """Interpolate a map over the model input, at any resolution, to source size."""
        if not self.heat.size:
            return self
        return self.replace(heat=geometry.mask_to_source(self.heat))

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"anomaly": {score, threshold, anomalous, mask, ...}}``.

        ``mask`` is COCO's compressed run-length code, or null without a threshold; the rest of the
        map is told by a `MapSummary`.
        """
        del labels
        masks = self._masks()
        item = {
            "score": round(self.score, 6),
            "threshold": self.threshold,
            "anomalous": self.anomalous,
            "mask": None if masks is None else masks.to_json(0),
            **self.summary.to_json(),
        }
        return {"anomaly": item}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AnomalyMap:
        """Read what `to_json` wrote: score, mask and summary; the map itself is not in it.

        Raises:
            ValueError: the mask's code is none, or of another size.
        """
        item = data["anomaly"]
        summary, masks = MapSummary.from_json(item), None
        if item["mask"] is not None:
            masks = Masks.from_json([item["mask"]], summary.size_hw)
        return cls(float(item["score"]), threshold=item["threshold"], recorded=(summary, masks))

    def difference(self, expected: AnomalyMap) -> Difference:
        """Compare with a recorded result of the same image.

        ``score`` is the difference of the images' scores, in parts of the expected one where that
        is above 1, for scores that are no probabilities. ``area`` is the share of pixels on which
        the masks disagree, or without a mask that of `MapSummary.apart`.
        """
        score = abs(self.score - expected.score) / max(1.0, abs(expected.score))
        apart = self.summary.apart(expected.summary)[1]
        mine, theirs = self._masks(), expected._masks()
        if (mine is None) != (theirs is None):
            apart = 1.0
        elif mine is not None and theirs is not None and mine.size_hw == theirs.size_hw:
            other = mine.full(0) != theirs.full(0)
            apart = float(other.mean()) if other.size else 0.0
        return Difference(score=score, area=apart)


RESULT = AnomalyMap
