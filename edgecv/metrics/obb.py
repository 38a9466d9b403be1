"""Mean average precision of oriented boxes, with bootstrap intervals.

COCO's average precision (101 recalls; the mean over IoU 0.50 to 0.95 is ``map``) with the exact IoU
of oriented boxes; ``map50`` is what DOTA's evaluations (Xia et al., 2018) are reported at, there
with 11 recalls or all of them. A quadrilateral stands for the smallest oriented box around it.
Ultralytics' validation measures overlap by ProbIoU instead, so its numbers differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecv.mask_truth import RotatedTruth
from edgecv.metric import Scores
from edgecv.overlaps import ClassOverlap, rotated_overlaps
from edgecv.precision_scores import precision_scores
from edgecv.results.detections import Detections

TRUTH = RotatedTruth
MODEL_OPTIONS: Mapping[str, Any] = {
    "confidence": 0.001,
    "max_detections": 300,
    "multi_label": True,
}
NAMES = ("map", "map50", "map75", "ar1", "ar10", "ar100")


class RotatedAveragePrecision:
    """Collect overlaps; see `edgecv.metric.Metric`. Of one class and image, the best 100 count."""

    def __init__(self) -> None:
        self._images: list[list[ClassOverlap]] = []

    def update(self, result: Detections, truth: RotatedTruth, size_hw: tuple[int, int]) -> None:
        """Add one image."""
        self._images.append(rotated_overlaps(result, truth.in_pixels(size_hw)))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the six numbers."""
        names = {name: name for name in NAMES}
        return precision_scores(self._images, names, ("map", "map50"), bootstrap, seed)


def create() -> RotatedAveragePrecision:
    """Make an empty metric."""
    return RotatedAveragePrecision()
