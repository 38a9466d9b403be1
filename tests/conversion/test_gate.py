"""The paired drop: against distributions that are known, and what it refuses to compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edgecv.converters.gate import Drop, main_metric, paired_drop, passes
from edgecv.dataset import Dataset, Sample
from edgecv.errors import ConversionError, DatasetError, UsageError
from edgecv.evaluation import Evaluation, evaluate
from edgecv.metric import percentile_interval, resamples
from edgecv.metrics import classify
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.truth import BoxTruth, ClassTruth


def measured(right: Any, **changes: Any) -> Evaluation:
    """Evaluate a classifier that is right on the images marked so."""
    metric = classify.create()
    for ok in right:
        answer = np.array([1 if ok else 2, 3, 4, 5, 6], np.int32)
        metric.update(Classes(answer, np.ones(5, np.float32)), ClassTruth(1), (9, 9))
    bootstrap, seed = changes.pop("bootstrap", 1000), changes.pop("seed", 0)
    scores = metric.compute(bootstrap, seed)
    fields: dict[str, Any] = {
        "task": "classify", "images": len(right), "skipped": 0, "variant": "v", "backend": "b",
        "precision": "fp32", "metrics": scores.metrics, "ci95": scores.ci95,
        "reasons": scores.reasons, "data": "d", "split": "val", "problems": (),
        "confidence": None, "iou": None, "bootstrap": bootstrap, "per_class": (), "labels": (),
        "notes": (), "measured": tuple(f"{i}.png" for i in range(len(right))), "seed": seed,
        "draws": scores.draws,
    }  # fmt: skip
    return Evaluation(**{**fields, **changes})


def planted(images: int, seed: int, *, lost: float, won: float) -> tuple[Any, Any]:
    """Draw who is right: the reference on 80 %; the candidate loses and wins some at random."""
    random = np.random.default_rng(seed)
    reference = random.random(images) < 0.8
    candidate = np.where(reference, random.random(images) >= lost, random.random(images) < won)
    return reference, candidate


def test_a_model_does_not_drop_against_itself() -> None:
    right = planted(150, 0, lost=0, won=0)[0]
    drop = paired_drop(measured(right), measured(right))
    assert drop == Drop("top1", 0.0, (0.0, 0.0))
    assert passes(drop, 0)


def test_the_drop_is_in_points_and_has_a_sign() -> None:
    right = np.arange(200) < 150
    worse = right & (np.arange(200) >= 4)
    drop = paired_drop(measured(right), measured(worse), "top1")
    assert drop.value_points == pytest.approx(2.0)
    assert drop.ci95 is not None
    assert 0 <= drop.ci95[0] < 2 < drop.ci95[1] < 6
    better = paired_drop(measured(worse), measured(right))
    assert better.value_points == pytest.approx(-2.0)
    assert better.ci95 == pytest.approx((-drop.ci95[1], -drop.ci95[0]))
    assert str(drop).startswith("+2.00 points of top1 (")
    assert drop.to_json()["points"] == 2.0


def test_the_interval_is_that_of_the_pairwise_differences() -> None:
    """Resampling images and averaging each image's difference must give the same interval."""
    a, b = planted(300, 3, lost=0.05, won=0.1)
    difference = a.astype(float) - b
    draws = np.concatenate([weights @ difference for weights in resamples(300, 1000, 0)]) / 300
    low, high = percentile_interval(draws)
    assert paired_drop(measured(a), measured(b)).ci95 == pytest.approx((100 * low, 100 * high))


def test_the_interval_holds_the_planted_drop() -> None:
    """95 % of intervals hold the true value; 60 of 60 or 52 of 60 is within chance, 45 is not."""
    truth = 100 * (0.8 * 0.06 - 0.2 * 0.05)
    held = 0
    for seed in range(60):
        a, b = planted(400, 100 + seed, lost=0.06, won=0.05)
        low, high = paired_drop(measured(a, bootstrap=400), measured(b, bootstrap=400)).ci95 or (
            9,
            0,
        )
        held += low <= truth <= high
    assert held >= 51


def test_pairing_makes_the_interval_narrower() -> None:
    a, b = planted(500, 5, lost=0.03, won=0.03)
    reference, candidate = measured(a), measured(b)
    paired = np.ptp(paired_drop(reference, candidate).ci95)
    other = measured(b, seed=1)
    unpaired = np.ptp(
        100 * np.array(percentile_interval(reference.draws["top1"] - other.draws["top1"]))
    )
    assert paired < 0.6 * unpaired


def test_without_a_bootstrap_there_is_no_interval() -> None:
    a, b = planted(50, 6, lost=0.2, won=0)
    drop = paired_drop(measured(a, bootstrap=0), measured(b, bootstrap=0))
    assert drop.ci95 is None
    assert drop.value_points == pytest.approx(100 * (a.mean() - b.mean()))
    assert drop.to_json()["ci95"] is None
    assert "(" not in str(drop)


@pytest.mark.parametrize(
    ("drop", "limit", "good"),
    [(0.5, 0.5, True), (0.51, 0.5, False), (-3.0, 0.0, True), (0.1 + 0.2, 0.3, True)],
)
def test_the_point_estimate_decides(drop: float, limit: float, good: bool) -> None:
    assert passes(Drop("map", drop, (-5.0, 9.0)), limit) is good


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"data": "other"}, "data"),
        ({"split": "test"}, "split"),
        ({"seed": 3}, "seed"),
        ({"bootstrap": 10}, "bootstrap"),
        ({"task": "detect"}, "task"),
    ],
)
def test_other_measurements_are_no_pair(changes: dict[str, Any], where: str) -> None:
    right = np.ones(20, bool)
    with pytest.raises(ConversionError, match="different ways") as caught:
        paired_drop(measured(right), measured(right, **changes))
    assert caught.value.where == where


def test_other_images_are_no_pair() -> None:
    right = np.ones(20, bool)
    reference = measured(right)
    with pytest.raises(ConversionError, match=r"images: .*expected 20; got 19"):
        paired_drop(reference, measured(right[1:]))
    names = tuple(f"{i}.png" for i in range(1, 21))
    with pytest.raises(ConversionError, match=r"different images: expected 0\.png; got 1\.png"):
        paired_drop(reference, replace(reference, measured=names))


def test_what_cannot_be_measured_is_an_error_with_its_reason() -> None:
    right = np.ones(9, bool)
    nothing = {"metrics": {"top1": None, "top5": None}, "reasons": {"top1": "no label"}}
    with pytest.raises(DatasetError, match=r"top1 cannot be measured.*no label") as caught:
        paired_drop(measured(right, **nothing), measured(right, **nothing))
    assert caught.value.remedy is not None
    with pytest.raises(ConversionError, match=r"no such metric.*top1, top5; got 'map'"):
        paired_drop(measured(right), measured(right), "map")


def test_the_metric_that_decides() -> None:
    assert main_metric("detect") == "map"
    assert main_metric("classify") == "top1"
    with pytest.raises(UsageError):
        main_metric("guess")


class Detector:
    """A model that finds the truth, moved by some pixels on some images."""

    task = "detect"
    labels = ()
    options = SimpleNamespace(confidence=0.25, iou=0.5)
    info = SimpleNamespace(variant="v", backend="b", precision="fp32", notes=())

    def __init__(self, truths: dict[str, BoxTruth], shift: float, moved: int) -> None:
        self.truths, self.shift, self.moved = truths, shift, moved

    def with_options(self, **options: Any) -> Detector:
        return self

    def __call__(self, image: Path) -> Any:
        truth = self.truths[image.stem]
        by = np.float32(self.shift if int(image.stem) < self.moved else 0)
        score = np.full(len(truth), 0.9, np.float32)
        return SimpleNamespace(
            value=Detections(truth.xyxy + by, score, truth.class_id), source_hw=(60, 80)
        )


def test_evaluations_of_two_detectors_pair_up(tmp_path: Path) -> None:
    truths = {
        f"{i:02}": BoxTruth.from_rows([[5, 5, 45, 45], [10, 10, 30, 50]], [0, 1]) for i in range(30)
    }
    samples = []
    for name, truth in truths.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((60, 80, 3), np.uint8))
        samples.append(Sample(tmp_path / f"{name}.png", truth))
    dataset = Dataset("tiny", tmp_path, "val", "detect", (), tuple(samples))
    reference = evaluate(Detector(truths, 0, 0), dataset, bootstrap=200)
    candidate = evaluate(Detector(truths, 3, 10), dataset, bootstrap=200)
    assert reference.draws["map"].shape == (200,)
    assert len(reference.measured) == 30
    drop = paired_drop(reference, candidate)
    assert drop.metric == "map"
    expected = 100 * (reference.metrics["map"] - candidate.metrics["map"])
    assert drop.value_points == pytest.approx(expected)
    assert drop.ci95 is not None
    assert 0 < drop.ci95[0] < drop.value_points < drop.ci95[1]
    assert paired_drop(reference, reference).ci95 == (0, 0)
