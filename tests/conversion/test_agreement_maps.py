"""Class maps as pseudo-truth: how far a reduced segmentation network agrees with its source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import edgecv
from edgecv.converters.agreement import agreement, pseudo_truth
from edgecv.errors import DatasetError
from edgecv.hints import Hints
from tests import models

H, W = models.SIZE_HW


def model(path: Path, split: int) -> edgecv.Model:
    """Open a null model that sees class 1 right of column `split`, else class 0."""
    scores = np.zeros((2, H, W))
    scores[1] = np.where(np.arange(W) >= split, 1, -1)
    output = models.tensor("y", [1, 2, H, W], values=scores.ravel().tolist())
    hints = Hints(head="semantic", resize="stretch")
    return edgecv.load(models.null_model(path, [output]), hints=hints, trusted=True)


def images(folder: Path) -> list[Path]:
    made = [models.write_image(folder / f"{i}.png", i, hw=(H, W)) for i in range(3)]
    (folder / "broken.png").write_bytes(b"no image")
    return [*made, folder / "broken.png"]


def test_a_model_agrees_with_itself_and_less_with_another(tmp_path: Path) -> None:
    with model(tmp_path / "a.null.json", W // 2) as source:
        truth = pseudo_truth(source, images(tmp_path))
        assert (truth.task, len(truth)) == ("semantic", 3)
        assert agreement(source, truth) == 1.0
    with model(tmp_path / "b.null.json", W // 4) as other:
        # Class 0: 1/4 of 1/2; class 1: 1/2 of 3/4.
        assert agreement(other, truth) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_what_a_crop_does_not_see_does_not_count(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((H, 4 * W, 3), np.uint8))
    path = models.null_model(
        tmp_path / "c.null.json", [models.tensor("y", [1, H, W], "int64", values=[1])]
    )
    hints = Hints(head="semantic", resize="crop")
    with edgecv.load(path, hints=hints, trusted=True) as source:
        truth = pseudo_truth(source, [tmp_path / "wide.png"])
        true = truth.samples[0].truth.read((H, 4 * W))
        assert set(np.unique(true)) == {-1, 1}
        assert agreement(source, truth) == 1.0


@pytest.mark.parametrize("kind", ["inverse", "relative", "metric"])
def test_depth_stands_for_truth(tmp_path: Path, kind: str) -> None:
    ramp = np.tile(np.linspace(1, 6, W), (H, 1))
    other = ramp.copy()
    other[:, ::2] = 6

    def depth(values: np.ndarray, name: str) -> edgecv.Model:
        output = models.tensor("y", [1, H, W], values=values.ravel().tolist())
        path = models.null_model(tmp_path / f"{name}.null.json", [output])
        hints = Hints(head="depth", head_options={"kind": kind}, resize="stretch")
        return edgecv.load(path, hints=hints, trusted=True)

    with depth(ramp, "a") as source:
        truth = pseudo_truth(source, images(tmp_path))
        assert agreement(source, truth) == 1.0
    with depth(other, "b") as worse:
        assert agreement(worse, truth) < 0.8


def test_anomalies_cannot_stand_for_truth(tmp_path: Path) -> None:
    path = models.null_model(tmp_path / "d.null.json", [models.tensor("y", [1, H, W])])
    with (
        edgecv.load(path, hints=Hints(head="anomaly"), trusted=True) as source,
        pytest.raises(DatasetError, match="results of this task cannot stand for truth"),
    ):
        pseudo_truth(source, images(tmp_path))
