"""AUROC against its definition: every pair of something strange and something normal."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv.dataset import open_dataset
from edgecv.errors import DatasetError, ImageError
from edgecv.map_truth import AnomalyTruth
from edgecv.metrics import anomaly
from edgecv.results.anomaly import AnomalyMap
from edgecv.types import Array


def by_pairs(normal: Array, strange: Array) -> float:
    higher = strange[:, None] > normal[None]
    return float(np.mean(higher + 0.5 * (strange[:, None] == normal[None])))


def mask_file(folder: Path, mask: Array, name: str) -> Path:
    cv2.imwrite(str(folder / name), mask.astype(np.uint8) * 255)
    return folder / name


def test_every_pair(tmp_path):
    random = np.random.default_rng(0)
    metric = anomaly.create()
    scores, kinds, pixels, masks = [], [], [], []
    for i in range(12):
        mask = np.zeros((6, 7), bool)
        if i % 3:
            mask[: i // 3 + 1, :3] = True
        heat = (random.integers(-8, 8, (6, 7)) + 3 * mask).astype(np.float32) / 4
        score = float(random.integers(0, 6) + 2 * bool(i % 3))
        truth = AnomalyTruth(bool(i % 3), mask_file(tmp_path, mask, f"{i}.png") if i % 3 else None)
        metric.update(AnomalyMap(score, heat), truth, (6, 7))
        scores.append(score)
        kinds.append(bool(i % 3))
        pixels.append(heat.ravel())
        masks.append(mask.ravel())
    score, kind = np.array(scores), np.array(kinds)
    heat, mask = np.concatenate(pixels), np.concatenate(masks)
    found = metric.compute(bootstrap=200)
    assert found.metrics["image_auroc"] == pytest.approx(by_pairs(score[~kind], score[kind]))
    assert found.metrics["pixel_auroc"] == pytest.approx(by_pairs(heat[~mask], heat[mask]))
    for name in anomaly.NAMES:
        low, high = found.ci95[name]
        assert low < found.metrics[name] < high
    # A resample gives what a data set with copies gives.
    normal, strange = metric._pixel_table()
    weights = np.zeros((1, 12))
    weights[0, [0, 1, 1, 5]] = 1, 2, 2, 1
    picked = [0, 1, 1, 5]
    heat = np.concatenate([pixels[i] for i in picked])
    mask = np.concatenate([masks[i] for i in picked])
    expected = by_pairs(heat[~mask], heat[mask])
    assert anomaly._areas(weights, normal, strange)[0] == pytest.approx(expected)


def test_scores_are_ordered_as_numbers_are():
    values = np.array([-np.float32(3e38), -2, -1, -1e-30, 0, 1e-30, 1, 1.01, 2, 3e38], np.float32)
    assert (np.diff(anomaly._keys(values)) > 0).all()
    assert anomaly._keys(np.array([-0.0], np.float32)) == anomaly._keys(np.zeros(1, np.float32))


def test_joining_scores_changes_little():
    random = np.random.default_rng(1)
    normal = random.integers(0, 9, (3, 20_000)) * np.linspace(1, 0, 20_000)
    strange = random.integers(0, 9, (3, 20_000)) * np.linspace(0, 1, 20_000)
    once = np.ones((1, 3))
    joined = anomaly._pooled(normal, strange)
    assert joined[0].shape[1] <= 4096
    assert joined[0].sum() == pytest.approx(normal.sum())
    exact = anomaly._areas(once, normal, strange)
    assert anomaly._areas(once, *joined) == pytest.approx(exact, abs=1e-4)


def test_only_normal_images_tell_nothing():
    metric = anomaly.create()
    metric.update(AnomalyMap(1.0, np.ones((2, 2), np.float32)), AnomalyTruth(False), (2, 2))
    scores = metric.compute(bootstrap=10)
    assert scores.metrics == {"image_auroc": None, "pixel_auroc": None}
    assert scores.reasons["image_auroc"] == "no image that is normal, or none that is not"


def folder(root: Path) -> Path:
    for place in ("train/good", "test/good", "test/hole", "ground_truth/hole"):
        (root / place).mkdir(parents=True)
    for name in ("train/good/0.png", "test/good/0.png", "test/hole/0.png", "test/hole/1.png"):
        cv2.imwrite(str(root / name), np.zeros((4, 5, 3), np.uint8))
    mask_file(root, np.eye(4, 5, dtype=bool), "ground_truth/hole/0_mask.png")
    return root


def test_a_folder_of_mvtec(tmp_path):
    dataset = open_dataset(folder(tmp_path))
    assert (dataset.task, dataset.split, len(dataset)) == ("anomaly", "test", 3)
    good, hole, unknown = (sample.truth for sample in dataset.samples)
    assert (good.anomalous, hole.anomalous, unknown.anomalous) == (False, True, True)
    assert not good.read((4, 5)).any()
    assert (hole.read((4, 5)) == np.eye(4, 5, dtype=bool)).all()
    assert unknown.read((4, 5)) is None
    assert [problem.image for problem in dataset.problems] == [False]
    assert len(open_dataset(tmp_path, "train")) == 1
    with pytest.raises(ImageError, match="the mask is of another size than its image"):
        hole.read((5, 4))
    with pytest.raises(DatasetError, match="expected one of test, train"):
        open_dataset(tmp_path, "holdout")
