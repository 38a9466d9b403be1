"""How far away each pixel is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.map_summary import MapSummary
from edgecv.record import Record, field
from edgecv.results import Difference
from edgecv.types import Float32

if TYPE_CHECKING:
    from edgecv.geometry import Geometry

TASKS = ("depth",)

KINDS = ("inverse", "relative", "metric")
"""What the numbers mean: ``inverse``: larger is nearer, up to an unknown scale and shift (MiDaS,
Depth Anything); ``relative``: larger is farther, up to a scale and shift; ``metric``: metres."""


class DepthMap(Record):
    """A depth for each pixel; the map may be of size 0 x 0.

    Attributes:
        depth: (H, W) float32, finite, in the unit that `kind` names. On the source image in a
            `Result`; what a centre crop cut away is 0.
        kind: one of `KINDS`.
        recorded: the summary alone, of a map that was read back from JSON; `depth` is then empty.
    """

    depth: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    kind: str = "inverse"
    recorded: MapSummary | None = None

    def __post_init__(self) -> None:
        if self.depth.ndim != 2:
            raise ValueError(f"DepthMap.depth: expected (H, W); got {self.depth.shape}")
        if self.kind not in KINDS:
            raise ValueError(f"DepthMap.kind: expected one of {KINDS}; got {self.kind!r}")

    @property
    def summary(self) -> MapSummary:
        """Statistics and a coarse grid of the map."""
        return self.recorded or MapSummary.of(self.depth)

    def __len__(self) -> int:
        """Return 1, or 0 of an empty map."""
        return int(min(self.summary.size_hw) > 0)

    def to_source(self, geometry: Geometry) -> DepthMap:
        """Interpolate a map over the model input, at any resolution, to source size."""
        if not self.depth.size:
            return self
        return self.replace(depth=geometry.mask_to_source(self.depth))

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make ``{"depth": {kind, size_hw, low, high, mean, grid}}``, see `MapSummary`."""
        del labels
        return {"depth": {"kind": self.kind, **self.summary.to_json()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DepthMap:
        """Read what `to_json` wrote: the summary; the map itself is not in it."""
        item = data["depth"]
        return cls(kind=item["kind"], recorded=MapSummary.from_json(item))

    def difference(self, expected: DepthMap) -> Difference:
        """Compare with a recorded map of the same image, by their summaries.

        ``score`` and ``area`` are what `MapSummary.apart` returns.
        """
        if self.kind != expected.kind:
            return Difference(score=1.0, area=1.0)
        score, area = self.summary.apart(expected.summary)
        return Difference(score=score, area=area)


RESULT = DepthMap
