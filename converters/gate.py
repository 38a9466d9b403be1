"""How much a metric drops from one model to another, paired image by image.

Two models that are measured on the same images err on mostly the same ones. Resampling the images
once for both and taking the difference in each resample leaves out what the two share, so the
interval of the drop is far narrower than two intervals side by side suggest.

Source: the paired bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, chapter 8
("more complicated data structures": the image, with what both models make of it, is the unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from edgecv import plugins
from edgecv.errors import ConversionError, DatasetError
from edgecv.evaluation import Evaluation
from edgecv.metric import Interval, MetricModule, percentile_interval

_POINTS = 100  # of a metric in 0-1
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Drop:
    """How much worse a candidate is than its reference; negative where it is better.

    Attributes:
        metric: its name, such as ``map``.
        value_points: reference - candidate, in points (hundredths).
        ci95: 95 % paired bootstrap interval over images, points; None where it was left out.
    """

    metric: str
    value_points: float
    ci95: Interval | None

    def __str__(self) -> str:
        interval = "" if self.ci95 is None else f" ({self.ci95[0]:+.2f} to {self.ci95[1]:+.2f})"
        return f"{self.value_points:+.2f} points of {self.metric}{interval}"

    def to_json(self) -> dict[str, Any]:
        """Make what reports hold; numbers rounded to 4 digits."""
        return {
            "metric": self.metric,
            "points": round(self.value_points, 4),
            "ci95": None if self.ci95 is None else [round(end, 4) for end in self.ci95],
        }


def main_metric(task: str) -> str:
    """Return the name of the metric that decides for a task.

    Raises:
        UsageError: no metric is for this task.
    """
    return cast(MetricModule, plugins.load("metrics", task)).NAMES[0]


def paired_drop(reference: Evaluation, candidate: Evaluation, metric: str | None = None) -> Drop:
    """Compare two models that were measured on the same images.

    Args:
        reference: of the float source.
        candidate: of what was made from it.
        metric: one that both have; None takes the task's main one.

    Raises:
        DatasetError: the metric could not be measured, such as on images without labels.
        ConversionError: the two were not measured on the same images in the same way.
    """
    metric = metric or main_metric(reference.task)
    _check_pair(reference, candidate)
    before, after = _value(reference, metric), _value(candidate, metric)
    ci95 = None
    if metric in reference.draws and metric in candidate.draws:
        differences = reference.draws[metric] - candidate.draws[metric]
        interval = percentile_interval(differences)
        if interval is not None:
            ci95 = (_POINTS * interval[0], _POINTS * interval[1])
    return Drop(metric, _POINTS * (before - after), ci95)


def passes(drop: Drop, max_drop: float) -> bool:
    """Tell whether a drop is small enough: its point estimate is at most `max_drop` points.

    The interval does not decide. On the few hundred images that users have it is often wider than
    any limit that makes sense, and a gate that asked for its upper end would refuse everything;
    it is reported beside the estimate, so that a reader sees how sure the answer is.
    """
    return drop.value_points <= max_drop + _ROUNDING


def _check_pair(reference: Evaluation, candidate: Evaluation) -> None:
    for name in ("task", "data", "split", "images", "bootstrap", "seed"):
        a, b = getattr(reference, name), getattr(candidate, name)
        if a != b:
            raise ConversionError(
                "the two models were measured in different ways",
                where=name,
                expected=repr(a),
                got=repr(b),
            )
    pairs = zip(reference.measured, candidate.measured, strict=True)
    for a, b in pairs:
        if a != b:
            raise ConversionError(
                "the two models were measured on different images", expected=a, got=b
            )


def _value(evaluation: Evaluation, metric: str) -> float:
    if metric not in evaluation.metrics:
        raise ConversionError(
            "no such metric",
            where=evaluation.task,
            expected=f"one of {', '.join(evaluation.metrics)}",
            got=repr(metric),
        )
    value = evaluation.metrics[metric]
    if value is None:
        raise DatasetError(
            f"{metric} cannot be measured, so no drop can be told",
            where=f"{evaluation.data} {evaluation.split}",
            expected="images with labels",
            got=evaluation.reasons.get(metric),
            remedy="label the images of this split, or name another one with --split",
        )
    return value
