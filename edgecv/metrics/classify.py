"""Top-1 and top-5 accuracy: how often the true class is the best, or one of the five best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecv.metric import ClassScore, Draws, Interval, Scores, percentile_interval, resamples
from edgecv.results.classes import Classes
from edgecv.truth import ClassTruth
from edgecv.types import Array

TRUTH = ClassTruth
MODEL_OPTIONS: Mapping[str, Any] = {}
NAMES = ("top1", "top5")


class Accuracy:
    """Count right answers; see `edgecv.metric.Metric`."""

    def __init__(self) -> None:
        self._truth: list[int] = []
        self._rank: list[int] = []  # of the true class among those given, -1 where it is not
        self._given: list[int] = []

    def update(self, result: Classes, truth: ClassTruth, size_hw: tuple[int, int]) -> None:
        """Add one image."""
        del size_hw
        found = np.flatnonzero(result.class_id == truth.class_id)
        self._given.append(len(result))
        self._truth.append(truth.class_id)
        self._rank.append(int(found[0]) if found.size else -1)

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the share of right answers.

        Top-5 is None where an image got fewer than five classes and missed: the true class might
        have been the next.
        """
        n = len(self._rank)
        rank = np.array(self._rank, np.int64)
        given = np.array(self._given, np.int64)
        metrics: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        right: dict[str, Array] = {}
        for name, depth in (("top1", 1), ("top5", 5)):
            short = given[(rank < 0) & (given > 0) & (given < depth)]
            if not n or short.size:
                metrics[name] = None
                reasons[name] = (
                    f"the model names only {int(np.min(short))} classes an image"
                    if n
                    else "no image"
                )
                continue
            right[name] = (rank >= 0) & (rank < depth)
            metrics[name] = float(right[name].mean())
        ci95: dict[str, Interval | None] = dict.fromkeys(NAMES)
        draws = _draw(right, bootstrap, seed) if bootstrap else {}
        ci95 |= {name: percentile_interval(values) for name, values in draws.items()}
        return Scores(metrics, ci95, reasons, self._per_class(), draws)

    def _per_class(self) -> list[ClassScore]:
        ranks = defaultdict(list)
        for truth, rank in zip(self._truth, self._rank, strict=True):
            ranks[truth].append(rank)
        return [
            ClassScore(class_id, len(found), len(found), {"top1": found.count(0) / len(found)})
            for class_id, found in sorted(ranks.items())
        ]


def _draw(right: Mapping[str, Array], count: int, seed: int) -> dict[str, Draws]:
    """Compute the share of right answers (B,) in each resample of the images.

    Args:
        right: name -> (images,) bool.
        count: resamples, B.
        seed: of the resampling.
    """
    if not right:
        return {}
    names = list(right)
    table = np.stack([right[name] for name in names], axis=1).astype(np.float64)
    shares = [weights @ table / len(table) for weights in resamples(len(table), count, seed)]
    return dict(zip(names, np.concatenate(shares).T, strict=True))


def create() -> Accuracy:
    """Make an empty metric."""
    return Accuracy()
