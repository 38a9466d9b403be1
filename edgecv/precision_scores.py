"""Average precision of a set of images, with a bootstrap interval, whatever overlaps.

The numbers come from `edgecv.average_precision`, which gives those of COCO's tools to 1e-9; no
library is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgecv.average_precision import (
    Matches,
    average_precision,
    match_overlaps,
    reason,
    weighted_scores,
)
from edgecv.metric import ClassScore, Draws, Interval, Scores, percentile_interval, resamples
from edgecv.overlaps import ClassOverlap


def precision_scores(
    images: Sequence[Sequence[ClassOverlap]],
    names: Mapping[str, str],
    per_class: tuple[str, str],
    bootstrap: int,
    seed: int,
) -> Scores:
    """Measure what overlaps.

    Args:
        images: how the classes of each image overlap.
        names: name to report -> COCO's name.
        per_class: names of a class's mean over all thresholds, and of its value at 0.5.
        bootstrap: resamples for the interval; 0 leaves it out.
        seed: of the resampling.
    """
    classes = sorted({one.class_id for image in images for one in image if len(one.crowd)})
    if not classes:
        nothing = dict.fromkeys(names)
        return Scores(nothing, nothing, dict.fromkeys(names, "no object in any image"))
    matches = match_overlaps(images, classes)
    once = weighted_scores(matches, np.ones((1, len(images)), np.int64))
    values = {name: float(once[coco][0]) for name, coco in names.items()}
    metrics = {name: None if np.isnan(value) else value for name, value in values.items()}
    ci95: dict[str, Interval | None] = dict.fromkeys(names)
    draws: dict[str, Draws] = {}
    if bootstrap:
        chunks = [weighted_scores(matches, w) for w in resamples(len(images), bootstrap, seed)]
        draws = {
            name: np.concatenate([chunk[coco] for chunk in chunks])
            for name, coco in names.items()
            if metrics[name] is not None
        }
        ci95 |= {name: percentile_interval(drawn) for name, drawn in draws.items()}
    return Scores(
        metrics,
        ci95,
        {name: reason(names[name]) for name, value in metrics.items() if value is None},
        _per_class(matches, classes, len(images), per_class),
        draws,
    )


def joined(first: Scores, second: Scores) -> Scores:
    """Join the scores of two ways to look at the same images; classes are those of both."""
    more = {score.class_id: score.metrics for score in second.per_class}
    classes = [
        ClassScore(
            score.class_id,
            score.images,
            score.truths,
            {**score.metrics, **more.get(score.class_id, {})},
        )
        for score in first.per_class
    ]
    return Scores(
        {**first.metrics, **second.metrics},
        {**first.ci95, **second.ci95},
        {**first.reasons, **second.reasons},
        classes,
        {**first.draws, **second.draws},
    )


def _per_class(
    matches: Matches, classes: Sequence[int], images: int, names: tuple[str, str]
) -> list[ClassScore]:
    """Summarise each class that has an object which counts."""
    found = []
    for class_id, one in zip(classes, matches["all"], strict=True):
        values = average_precision(one, np.ones((1, images), np.int64))[0]
        if np.isnan(values[0]):  # crowds only
            continue
        metrics = {names[0]: float(values.mean()), names[1]: float(values[0])}
        shown = int(np.count_nonzero(one.objects))
        found.append(ClassScore(class_id, shown, int(one.objects.sum()), metrics))
    return found
