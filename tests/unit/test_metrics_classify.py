"""Top-1 and top-5 accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.metric import percentile_interval, resamples
from edgecv.metrics import classify
from edgecv.results.classes import Classes
from edgecv.truth import ClassTruth


def compute(answers, truths, **options):
    metric = classify.create()
    for answer, truth in zip(answers, truths, strict=True):
        ids = np.array(answer, np.int32)
        metric.update(Classes(ids, np.linspace(1, 0, len(ids), dtype=np.float32)), truth, (1, 1))
    return metric.compute(**options)


def test_ranks_count():
    five = [3, 1, 4, 0, 5]
    scores = compute([five] * 4, [ClassTruth(n) for n in (3, 5, 9, 3)])
    assert scores.metrics == {"top1": 0.5, "top5": 0.75}
    assert [(s.class_id, s.images, s.metrics["top1"]) for s in scores.per_class] == [
        (3, 2, 1.0),
        (5, 1, 0.0),
        (9, 1, 0.0),
    ]


def test_sixth_place_is_not_among_five():
    scores = compute([[0, 1, 2, 3, 4, 5]], [ClassTruth(5)])
    assert scores.metrics == {"top1": 0, "top5": 0}


def test_too_few_classes_make_top5_unknown_unless_all_are_found():
    scores = compute([[1, 2], [2, 1]], [ClassTruth(1), ClassTruth(3)])
    assert scores.metrics == {"top1": 0.5, "top5": None}
    assert scores.ci95["top5"] is None
    assert "only 2 classes" in scores.reasons["top5"]
    assert compute([[1, 2]], [ClassTruth(2)]).metrics == {"top1": 0, "top5": 1}


def test_no_answer_is_a_wrong_answer():
    assert compute([[]], [ClassTruth(0)]).metrics == {"top1": 0, "top5": 0}


def test_no_image_is_unknown():
    scores = compute([], [])
    assert scores.metrics == {"top1": None, "top5": None}
    assert scores.reasons["top1"] == "no image"


def test_interval_is_that_of_resampled_images():
    right = np.arange(200) % 4 > 0
    scores = compute([[int(ok)] * 1 + [2, 3, 4, 5] for ok in right], [ClassTruth(1)] * 200)
    draws = np.concatenate([weights @ right for weights in resamples(200, 4000, 1)]) / 200
    expected = percentile_interval(draws)
    assert scores.metrics["top1"] == 0.75
    assert scores.ci95["top1"] == pytest.approx(expected, abs=0.012)
    with_seed = compute(
        [[int(ok)] * 1 + [2, 3, 4, 5] for ok in right],
        [ClassTruth(1)] * 200,
        bootstrap=4000,
        seed=1,
    )
    np.testing.assert_allclose(with_seed.draws["top1"], draws)
    assert with_seed.ci95["top1"] == pytest.approx(expected)
    again = compute([[int(ok)] * 1 + [2, 3, 4, 5] for ok in right], [ClassTruth(1)] * 200)
    assert again == scores


def test_draws_are_of_the_same_images_for_all_metrics_and_models():
    ranked = [[1, 2, 3, 4, 5], [2, 1, 3, 4, 5], [2, 3, 4, 5, 6], [1, 2, 3, 4, 5]]
    truths = [ClassTruth(1)] * 4
    one = compute(ranked, truths, bootstrap=50)
    assert set(one.draws) == {"top1", "top5"}
    assert one.draws["top1"].shape == one.draws["top5"].shape == (50,)
    # Images are right at top-5 wherever they are at top-1, in every resample.
    assert (one.draws["top5"] >= one.draws["top1"]).all()
    wrong = compute([[9, 8, 7, 6, 5] for _ in ranked], truths, bootstrap=50)
    other = compute([ranked[1], *ranked[1:]], truths, bootstrap=50)
    lost = one.draws["top1"] - other.draws["top1"]
    weights = np.concatenate(list(resamples(4, 50, 0)))
    np.testing.assert_allclose(lost, weights[:, 0] / 4)
    assert not wrong.draws["top1"].any()
    assert set(compute([[1, 2]], [ClassTruth(3)]).draws) == {"top1"}
    assert compute(ranked, truths, bootstrap=0).draws == {}


def test_all_right_has_an_interval_of_one_point():
    scores = compute([[7, 1, 2, 3, 4]] * 9, [ClassTruth(7)] * 9)
    assert scores.ci95 == {"top1": (1, 1), "top5": (1, 1)}


def test_bootstrap_of_nothing():
    assert compute([[7]], [ClassTruth(7)], bootstrap=0).ci95["top1"] is None
    assert percentile_interval(np.array([np.nan])) is None


@pytest.mark.parametrize("images", [1, 3, 3_000_000])
def test_resamples_sum_to_the_images(images):
    chunks = list(resamples(images, 3, 0))
    assert sum(len(chunk) for chunk in chunks) == 3
    assert all((chunk.sum(axis=1) == images).all() for chunk in chunks)
