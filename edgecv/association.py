"""Who is who: pairs of tracks and detections of least total cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from edgecv.errors import DependencyMissingError
from edgecv.types import Array

NOBODY = -1


@cache
def solver() -> Callable[..., Any]:
    """Import the assignment solver, ``lap.lapjv``.

    Raises:
        DependencyMissingError: lapx is not installed.
    """
    try:
        from lap import lapjv
    except ModuleNotFoundError as error:
        raise DependencyMissingError(
            "lapx is not installed", where="tracking", remedy="pip install 'edgecv[track]'"
        ) from error
    solve: Callable[..., Any] = lapjv
    return solve


def assign(cost: Array, limit: float) -> tuple[Array, Array]:
    """Pair rows with columns at the least total cost, where each one left alone costs limit / 2.

    So no pair costs more than `limit`, and a pair is made wherever that makes the whole cheaper.

    Args:
        cost: (R, C) float; infinite or NaN where a pair is forbidden.
        limit: highest cost of a pair.

    Returns:
        (K,) int64 rows, ascending, and the (K,) columns that they are paired with.

    Raises:
        DependencyMissingError: lapx is not installed.
    """
    solve = solver()
    allowed = cost <= limit
    choices, wanted = allowed.sum(axis=1), allowed.sum(axis=0)
    # A pair whose row and column have no other choice needs no solver; in most frames of most
    # scenes nearly all are like that.
    row, column = np.nonzero(allowed & (choices == 1)[:, None] & (wanted == 1)[None])
    clear_rows, clear_columns = choices > 0, wanted > 0
    clear_rows[row] = False
    clear_columns[column] = False
    rows, columns = np.flatnonzero(clear_rows), np.flatnonzero(clear_columns)
    if len(rows) and len(columns):
        part = np.where(allowed, cost, 4 * abs(limit) + 1e6)[np.ix_(rows, columns)]
        found = np.asarray(solve(part, extend_cost=True, cost_limit=limit, return_cost=False)[0])
        hit = np.flatnonzero(found >= 0)
        hit = hit[allowed[rows[hit], columns[found[hit]]]]
        row = np.concatenate([row, rows[hit]])
        column = np.concatenate([column, columns[found[hit]]])
    order = np.argsort(row)
    return row[order], column[order]


class Pairing:
    """The pairs of one frame, made in several rounds, each among those whom the last left over.

    Attributes:
        track_of: (D,) int64 the row of the track that each detection belongs to, or `NOBODY`.
        taken: (T,) bool which tracks have a detection.
    """

    def __init__(self, tracks: int, detections: int) -> None:
        self.track_of = np.full(detections, NOBODY)
        self.taken = np.zeros(tracks, bool)

    def tracks(self, among: Array) -> Array:
        """Return those of the given rows that are free."""
        free: Array = among[~self.taken[among]]
        return free

    def detections(self, among: Array) -> Array:
        """Return those of the given detections that are free."""
        free: Array = among[self.track_of[among] == NOBODY]
        return free

    def round(self, rows: Array, columns: Array, cost: Array, limit: float) -> None:
        """Pair free tracks with free detections; see `assign`.

        Args:
            rows: (R,) rows of tracks.
            columns: (C,) indices of detections.
            cost: (R, C).
            limit: highest cost of a pair.
        """
        if not cost.size:
            return
        r, c = assign(cost, limit)
        self.track_of[columns[c]] = rows[r]
        self.taken[rows[r]] = True


def cosine_distance(a: Array, b: Array) -> Array:
    """Compute 1 - cosine (R, C) of unit vectors (R, D) and (C, D); 0 is the same direction."""
    return np.asarray(1 - a @ b.T)
