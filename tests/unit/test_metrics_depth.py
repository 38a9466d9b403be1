"""Depth errors against numbers by hand, and against numpy's own least squares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError, ImageError
from edgecv.map_truth import DepthTruth
from edgecv.metrics import depth
from edgecv.results.depth import DepthMap
from edgecv.types import Array


def saved(folder: Path, values: Array, name: str = "a.npy") -> DepthTruth:
    np.save(folder / name, values)
    return DepthTruth(folder / name)


def measure(folder: Path, found: Array, true: Array, kind: str) -> dict[str, float | None]:
    metric = depth.create()
    result = DepthMap(np.asarray(found, np.float32), kind)
    metric.update(result, saved(folder, np.asarray(true, np.float32)), true.shape)
    return dict(metric.compute(bootstrap=0).metrics)


def test_metres_by_hand(tmp_path):
    true = np.array([[1, 2, 4, 0], [np.nan, -1, 8, np.inf]])
    found = np.array([[1.2, 2, 6, 9], [9, 9, 8, 9]])
    scores = measure(tmp_path, found, true, "metric")
    assert scores["delta1"] == pytest.approx(3 / 4)
    assert scores["abs_rel"] == pytest.approx((0.2 + 0 + 0.5 + 0) / 4)
    assert scores["rmse"] == pytest.approx(np.sqrt((0.2**2 + 2**2) / 4))


@pytest.mark.parametrize("kind", ["inverse", "relative"])
def test_an_unknown_scale_and_shift_change_nothing(tmp_path, kind):
    random = np.random.default_rng(0)
    true = random.uniform(1, 10, (6, 7))
    right = 1 / true if kind == "inverse" else true
    scores = measure(tmp_path, 300 * right - 17, true, kind)
    assert scores["delta1"] == 1
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-5)
    noisy = right * random.uniform(0.8, 1.2, right.shape)
    x = np.stack([noisy.ravel(), np.ones(noisy.size)], axis=1)
    fitted = x @ np.linalg.lstsq(x, right.ravel(), rcond=None)[0]
    found = 1 / np.maximum(fitted, 1 / true.max()) if kind == "inverse" else fitted
    expected = np.mean(np.abs(found - true.ravel()) / true.ravel())
    scores = measure(tmp_path, 5 * noisy + 3, true, kind)
    assert scores["abs_rel"] == pytest.approx(expected, rel=1e-4)
    upside_down = measure(tmp_path, true if kind == "inverse" else 1 / true, true, kind)
    assert upside_down["abs_rel"] > scores["abs_rel"]


def test_flat_maps_and_depths_below_0_are_finite(tmp_path):
    true = np.array([[1.0, 3.0]])
    for kind in ("inverse", "relative", "metric"):
        scores = measure(tmp_path, np.full((1, 2), -4.0), true, kind)
        assert all(np.isfinite(list(scores.values())))


def test_images_count_alike_and_those_without_truth_do_not(tmp_path):
    metric = depth.create()
    ones, twos = np.ones((2, 2)), np.full((20, 20), 2.0)
    metric.update(DepthMap(ones.astype(np.float32), "metric"), saved(tmp_path, ones), (2, 2))
    metric.update(
        DepthMap(4 * ones.astype(np.float32).repeat(10, 0).repeat(10, 1), "metric"),
        saved(tmp_path, twos),
        (20, 20),
    )
    metric.update(DepthMap(ones.astype(np.float32), "metric"), saved(tmp_path, 0 * ones), (2, 2))
    scores = metric.compute(bootstrap=300)
    assert scores.metrics["delta1"] == 0.5
    assert scores.metrics["abs_rel"] == 0.5
    assert scores.ci95["delta1"] == (0, 1)
    alone = depth.create()
    alone.update(DepthMap(ones.astype(np.float32)), saved(tmp_path, 0 * ones), (2, 2))
    assert alone.compute().reasons["delta1"] == "no pixel has a known depth"


def test_files_that_are_no_depth(tmp_path):
    (tmp_path / "text.npy").write_text("no")
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 3)))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    for name in ("text", "three", "objects", "missing"):
        with pytest.raises(ImageError, match=f"{name}.npy: not a map"):
            DepthTruth(tmp_path / f"{name}.npy").read((2, 2))
    with pytest.raises(ImageError, match="another size than its image: expected 3 x 2; got 2 x 2"):
        saved(tmp_path, np.zeros((2, 2))).read((2, 3))


def data(root: Path, more: str = "") -> Path:
    (root / "images/val").mkdir(parents=True)
    (root / "depth/val").mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(root / f"images/val/{name}.png"), np.zeros((2, 3, 3), np.uint8))
    np.save(root / "depth/val/a.npy", np.full((2, 3), 2.5, np.float32))
    cv2.imwrite(str(root / "depth/val/b.png"), np.full((2, 3), 1500, np.uint16))
    file = root / "data.yaml"
    file.write_text(f"path: .\nval: images/val\nnames: [depth]\n{more}")
    return file


@pytest.mark.parametrize("more", ["", "depth: depth\n", "depth_dir: depth/val\n"])
def test_a_folder_of_depths(tmp_path, more):
    dataset = open_dataset(data(tmp_path, f"{more}depth_scale: 0.001\n"), task="depth")
    first, second = (sample.truth.read((2, 3)) for sample in dataset.samples)
    assert (first == 2.5).all()
    assert (second == np.float32(1.5)).all()


def test_levels_without_a_scale_are_no_metres(tmp_path):
    with pytest.raises(DatasetError, match="depth_scale: expected metres for a level"):
        open_dataset(data(tmp_path), task="depth")
