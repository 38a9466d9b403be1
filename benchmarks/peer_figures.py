"""What `peers.py` makes of its measurements: agreement, ratios, one table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecv.bench.statistics import bootstrap_median
from edgecv.results.detections import Detections

BOX_LIMIT_PX, SCORE_LIMIT, ALONE_LIMIT = 1.0, 0.005, 0.02
"""What two peers may differ by and still have done the same work: edges of boxes, scores, and the
share of boxes that only one of them has. Engines differ in the last digits, so a box near a
threshold may be there or not."""

FIGURES = {
    "latency_ms": ("image file to boxes", "ms", 2),
    "images_per_s": ("a list of images", "images/s", 1),
    "cold_start_ms": ("cold start", "ms", 0),
    "peak_rss_mb": ("peak memory, one image", "MiB", 0),
    "peak_rss_run_mb": ("peak memory, all of the run", "MiB", 0),
    "installed_mb": ("installed", "MB", 0),
}
"""Name -> its words, unit and decimals in the table."""


def agreement(
    theirs: Sequence[Sequence[Sequence[float]]], reference: Sequence[Sequence[Sequence[float]]]
) -> dict[str, Any]:
    """Compare the boxes of a peer with those of the hand-written loop.

    Args:
        theirs: for each image its rows: left, top, right, bottom in source pixels, score, class.
        reference: the same of the loop.

    Returns:
        Boxes of both, the largest difference of an edge and of a score, the boxes that only one of
        them has, and ``agrees``.
    """
    pairs = list(zip(theirs, reference, strict=True))
    found = [_detections(a).difference(_detections(b)) for a, b in pairs]
    alone = sum(len(one.unmatched) for one in found)
    boxes, expected = sum(map(len, theirs)), sum(map(len, reference))
    box_px = max(one.box_px for one in found)
    score = max(one.score for one in found)
    return {
        "boxes": boxes,
        "boxes_of_the_loop": expected,
        "alone": alone,
        "box_px": round(box_px, 4),
        "score": round(score, 6),
        "agrees": boxes > 0
        and alone <= ALONE_LIMIT * (boxes + expected)
        and box_px <= BOX_LIMIT_PX
        and score <= SCORE_LIMIT,
    }


def _detections(rows: Sequence[Sequence[float]]) -> Detections:
    array = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(array[:, :4], array[:, 4], array[:, 5].astype(np.int32))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Divide edgecv's figures by a peer's, round by round.

    Returns:
        The median ``value`` and its 95 % interval ``ci95`` over the rounds, None below three.
    """
    pairs = np.array(ours, np.float64) / np.array(theirs, np.float64)
    interval = list(bootstrap_median(pairs, 0)) if len(pairs) >= 3 else None
    return {"value": float(np.median(pairs)), "ci95": interval}


def summary(
    rounds: Mapping[str, Mapping[str, Sequence[float]]],
    agreements: Mapping[str, Mapping[str, Any]],
    ours: str = "edgecv",
) -> dict[str, Any]:
    """Summarise a group.

    Args:
        rounds: peer -> figure -> one value for each round (or start, or environment); a figure that
            could not be measured is not there.
        agreements: peer -> what `agreement` says.
        ours: the peer whose figures are divided by those of each.

    Returns:
        Peer -> ``figures`` (medians, null where there is none) and ``edgecv_over_it`` (ratios, null
        where one of both is missing or the results are not the same).
    """
    found: dict[str, Any] = {}
    mine = rounds.get(ours, {})
    for peer, values in rounds.items():
        same = agreements.get(peer, {}).get("agrees") and agreements.get(ours, {}).get("agrees")
        figures, ratios = {}, {}
        for figure in FIGURES:
            there = values.get(figure)
            figures[figure] = statistics.median(there) if there else None
            comparable = there and mine.get(figure) and same and peer != ours
            ratios[figure] = ratio(mine[figure], there) if comparable else None
        found[peer] = {"figures": figures, "edgecv_over_it": ratios}
    return found


def table(group: Mapping[str, Any], engine: str) -> str:
    """Write a group as a Markdown table: each figure, and edgecv's divided by it."""
    peers = group["peers"]
    lines = [
        f"| {engine} | {' | '.join(peers)} |",
        f"|---|{'---|' * len(peers)}",
    ]
    for figure, (words, unit, decimals) in FIGURES.items():
        cells = [_cell(found, figure, decimals) for found in peers.values()]
        lines.append(f"| {words}, {unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Mapping[str, Any], figure: str, decimals: int) -> str:
    value = found["figures"][figure]
    if value is None:
        return "-"
    text = f"{value:.{decimals}f}"
    divided = found["edgecv_over_it"][figure]
    if divided is None:
        return text
    text += f": {divided['value']:.2f}"
    if divided["ci95"] is None:
        return text
    low, high = divided["ci95"]
    return f"{text} ({low:.2f} to {high:.2f})"
