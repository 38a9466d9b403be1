"""What a metric is, what it returns, and the bootstrap that all of them share.

A metric is a module in ``metrics/``, named after the task that it judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgecv.truth import Truth

Interval = tuple[float, float]
Weights = npt.NDArray[np.int64]
Draws = npt.NDArray[np.float64]

LEVEL = 0.95
_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The scores of one class.

    Attributes:
        class_id: an index into the model's labels.
        images: images that show it.
        truths: objects of it that count.
        metrics: name -> value.
    """

    class_id: int
    images: int
    truths: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured over a set of images.

    Attributes:
        metrics: name -> value; None where it could not be measured.
        ci95: same names -> (low, high), the 95 % bootstrap interval over images; None where it
            could not be estimated.
        reasons: name -> why the value is None.
        per_class: of the classes that occur, by class id.
        draws: name -> (B,) float64, the value of each resample behind `ci95`; NaN where a resample
            has nothing to measure. Only of metrics with an interval. The resamples are those of
            `resamples`, so the draws of two models on the same images with the same seed pair up.
    """

    metrics: Mapping[str, float | None]
    ci95: Mapping[str, Interval | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    per_class: Sequence[ClassScore] = ()
    # Arrays have no truth value: two scores are equal by what the draws were made into.
    draws: Mapping[str, Draws] = field(default_factory=dict, compare=False, repr=False)


class Metric(Protocol):
    """Judges results one image at a time."""

    def update(self, result: Any, truth: Truth, size_hw: tuple[int, int]) -> None:
        """Add one image.

        Args:
            result: what the model found, in source pixels, of the type that the task names.
            truth: what is true, with the model's class ids.
            size_hw: (height, width) of the image.
        """

    def compute(self, bootstrap: int = 1000, seed: int = 0) -> Scores:
        """Compute the scores of all images so far.

        Args:
            bootstrap: resamples for the interval; 0 leaves it out.
            seed: of the resampling.
        """


class MetricModule(Protocol):
    """What a module in ``metrics/`` offers."""

    TRUTH: type[Any]
    """The kind of truth it compares with."""
    MODEL_OPTIONS: Mapping[str, Any]
    """Options of the model that the metric is defined for, unless the caller says otherwise."""
    NAMES: tuple[str, ...]
    """Names of its values, the main one first."""

    def create(self) -> Metric:
        """Make an empty metric."""


def resamples(images: int, count: int, seed: int) -> Iterator[Weights]:
    """Draw bootstrap resamples of a set of images, as how often each image is in each.

    Args:
        images: size of the set, at least 1.
        count: resamples in total.
        seed: of the random numbers; the same seed gives the same draws.

    Yields:
        (B, images) int64, each row summing to `images`; the B of all chunks sum to `count`.
    """
    random = np.random.default_rng(seed)
    even = np.full(images, 1 / images)
    chunk = max(1, _CHUNK_VALUES // images)
    for start in range(0, count, chunk):
        yield random.multinomial(images, even, size=min(chunk, count - start))


def percentile_interval(values: Draws) -> Interval | None:
    """Take the central 95 % of bootstrap values; None where there are none.

    Source: the percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap,
    chapter 13. NaN values (resamples in which nothing was to be measured) are left out.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
