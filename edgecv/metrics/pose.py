"""COCO mean average precision of keypoints, with a bootstrap interval over images.

Object keypoint similarity (`edgecv.keypoints.similarity`) takes the place of box IoU; of a class in
an image the best 20 detections count. Source: cocodataset.org, "Keypoint evaluation". An object
without labelled keypoints is neither to be found nor wrong to find.

The tolerances of the 17 COCO keypoints are COCO's; those of K others are 1 / K each. Where the data
does not state an object's area, 0.53 of its box stands for it, about what a person covers: the
rule of xtcocotools, which evaluates such data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecv.errors import DatasetError
from edgecv.metric import Scores
from edgecv.overlaps import ClassOverlap, keypoint_overlaps
from edgecv.precision_scores import precision_scores
from edgecv.results.detections import Detections
from edgecv.truth import PoseTruth

TRUTH = PoseTruth
MODEL_OPTIONS: Mapping[str, Any] = {"confidence": 0.001, "max_detections": 300}
NAMES = ("oks_map", "oks_map50", "oks_map75")


class KeypointPrecision:
    """Collect overlaps; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._images: list[list[ClassOverlap]] = []

    def update(self, result: Detections, truth: PoseTruth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Raises:
            DatasetError: model and data have different numbers of keypoints.
        """
        found, true = result.keypoints, truth.keypoints
        if found is not None and len(found) and len(true) and found.shape[1] != true.shape[1]:
            raise DatasetError(
                "the data have another number of keypoints than the model",
                expected=f"{found.shape[1]} keypoints an object",
                got=str(true.shape[1]),
            )
        self._images.append(keypoint_overlaps(result, truth.in_pixels(size_hw)))

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute COCO's mean over thresholds, and those of 0.50 and 0.75."""
        names = {name: name.removeprefix("oks_") for name in NAMES}
        return precision_scores(self._images, names, NAMES[:2], bootstrap, seed)


def create() -> KeypointPrecision:
    """Make an empty metric."""
    return KeypointPrecision()
