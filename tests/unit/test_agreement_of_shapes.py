"""Results of masks and oriented boxes that stand for truth: a model agrees with itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecv.boxes import hull_of_rotated
from edgecv.converters.agreement import agreement, pseudo_truth
from edgecv.errors import DatasetError
from edgecv.head import DetectionOptions
from edgecv.masks import Masks
from edgecv.results.detections import Detections

HW = (60, 80)


class Echo:
    """A model that always finds the same, moved by some pixels."""

    labels = ("a", "b")
    info = SimpleNamespace(name="echo", variant="v", backend="null", precision=None, notes=())
    options = DetectionOptions()

    def __init__(self, task: str, found: Detections) -> None:
        self.task, self.found = task, found

    def with_options(self, **options: Any) -> Echo:
        return self

    def __call__(self, image: Any) -> Any:
        return SimpleNamespace(value=self.found, source_hw=HW)


def masks(shift: int = 0) -> Detections:
    full = np.zeros((2, *HW), bool)
    full[0, 10:30, 10 + shift : 40 + shift] = True
    full[0, 15:20, 20:25] = False  # a hole, which polygons would not tell
    full[1, 35:55, 30 + shift : 70 + shift] = True
    made = Masks.from_full(full)
    return Detections(
        made.xyxy(), np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32), masks=made
    )


def rotated(shift: int = 0) -> Detections:
    xywhr = np.array([[20 + shift, 20, 30, 10, 0.5], [50 + shift, 40, 20, 8, 2.5]], np.float32)
    return Detections(
        hull_of_rotated(xywhr),
        np.array([0.9, 0.8], np.float32),
        np.array([0, 1], np.int32),
        xywhr=xywhr,
    )


@pytest.mark.parametrize(("task", "make"), [("segment", masks), ("obb", rotated)])
def test_agreement(task: str, make: Any) -> None:
    truth = pseudo_truth(Echo(task, make()), [Path("a.png"), Path("b.png")])  # type: ignore[arg-type]
    assert agreement(Echo(task, make()), truth) == pytest.approx(1)  # type: ignore[arg-type]
    moved = agreement(Echo(task, make(4)), truth)  # type: ignore[arg-type]
    assert moved is not None
    assert 0 < moved < 0.9
    with pytest.raises(DatasetError, match="finds nothing"):
        pseudo_truth(Echo(task, Detections()), [Path("a.png")])  # type: ignore[arg-type]
