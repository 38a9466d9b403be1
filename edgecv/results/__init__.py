"""Result types, one file each.

Each module names its ``TASKS`` and its ``RESULT``, a class with ``to_source``, ``to_json``,
``from_json`` and ``difference``.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecv.record import Record


class Difference(Record):
    """How far two results of one image are apart.

    Attributes:
        score: largest absolute difference of a score.
        box_px: largest absolute difference of a box edge, a keypoint or a corner, source pixels.
        unmatched: scores of what only one of them found.
        area: largest share of an object's, or of the image's, pixels on which masks or maps
            disagree, 0-1.
    """

    score: float = 0.0
    box_px: float = 0.0
    unmatched: tuple[float, ...] = ()
    area: float = 0.0


def label_of(labels: Sequence[str], class_id: int) -> str:
    """Return the name of a class, or its number where it has none."""
    return labels[class_id] if 0 <= class_id < len(labels) else str(class_id)
