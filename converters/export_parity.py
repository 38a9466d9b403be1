"""Compare what a module and its exported file compute, output by output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecv.errors import ParityError
from edgecv.types import Array, Float32

RELATIVE = 1e-3
"""How far a value may be off, relative to itself and, in outputs below 1, to the largest."""
CANCELLATION = 1e-4
"""How far a value may be off, relative to the largest in its row and in its column: differences of
large numbers, such as the edges of a box, keep the rounding errors of those."""


def compare(
    names: Sequence[str],
    expected: Sequence[Array],
    actual: Sequence[Array],
    where: str,
    *,
    unordered_rows: bool = False,
    score_column: int | None = None,
) -> tuple[str, ...]:
    """Check that outputs agree, value by value.

    A value may differ by `RELATIVE` of itself, plus `RELATIVE` of the largest value or of 1,
    whichever is less, plus `CANCELLATION` of the largest value around it.

    Args:
        names: of the outputs.
        expected: what the module computed.
        actual: what the file computed, same order.
        where: the model, for messages.
        unordered_rows: outputs [1, N, D] with the N of the first are N objects in any order; each
            is compared with its nearest. Detectors that choose their best N may order those of
            nearly equal score differently.
        score_column: of unordered rows, where the N are the best of more: those that score like the
            worst of them may be others, and only their scores are compared.

    Returns:
        What makes the comparison say little, such as constant outputs.

    Raises:
        ParityError: they do not agree; the error names the output and the largest difference.
    """
    for name, want, got in zip(names, expected, actual, strict=True):
        if want.shape != got.shape:
            raise ParityError(
                "another shape than in torch",
                where=f"{where}: output {name}",
                expected=str(list(want.shape)),
                got=str(list(got.shape)),
            )
    expected, actual = list(expected), list(actual)
    notes = [
        f"output {name} is {want.flat[0]:.3g} everywhere for a random image: parity says little"
        for name, want in zip(names, expected, strict=True)
        if want.size > 1 and np.ptp(want) == 0
    ]
    if unordered_rows:
        expected, actual, more = _matched(names, expected, actual, score_column, where)
        notes += more
    for name, want, got in zip(names, expected, actual, strict=True):
        _check(name, want, got, where)
    return tuple(notes)


def _check(name: str, want: Array, got: Array, where: str) -> None:
    if not want.size:
        return
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        raise ParityError("values that are not finite differ", where=f"{where}: output {name}")
    if not finite.any():
        return
    nearby = np.broadcast_to(_nearby(np.where(finite, np.abs(want), 0.0)), want.shape)[finite]
    want, got = want[finite], got[finite]
    scale = float(np.abs(want).max())
    difference = np.abs(want - got)
    allowed = RELATIVE * (min(1.0, scale) + np.abs(want)) + CANCELLATION * nearby
    worst = int(np.argmax(difference - allowed))
    if difference[worst] > allowed[worst]:
        raise ParityError(
            "ONNX Runtime computes something else than torch",
            where=f"{where}: output {name}",
            expected=f"{want[worst]:.6g} to within {allowed[worst]:.2g}",
            got=f"{got[worst]:.6g}; {np.count_nonzero(difference > allowed)} of {want.size} "
            "values differ by more",
        )


def _nearby(magnitudes: Array) -> Array:
    """Return the largest magnitude around each value, in a shape that broadcasts.

    Of a map [1, C, H, W] this is its channel's. Of [1, N, D], whichever axis holds boxes and scores
    side by side, it is the smaller of the row's and the column's: a score is not next to a box.
    """
    if magnitudes.ndim == 3:
        row, column = (magnitudes.max(axis=axis, keepdims=True) for axis in (2, 1))
        return np.asarray(np.minimum(row, column))
    axes = tuple(range(2, magnitudes.ndim)) if magnitudes.ndim > 3 else None
    return np.asarray(magnitudes.max(axis=axes, keepdims=True))


def _matched(
    names: Sequence[str],
    expected: list[Array],
    actual: list[Array],
    score_column: int | None,
    where: str,
) -> tuple[list[Array], list[Array], list[str]]:
    """Pair rows: return both sides with the rows that can be compared, in one order."""
    first = expected[0]
    if first.ndim != 3:
        return expected, actual, []
    rows = [i for i, a in enumerate(expected) if a.ndim == 3 and a.shape[1] == first.shape[1]]
    kept, notes = np.ones(first.shape[1], bool), []
    if score_column is not None:
        want, got = (np.sort(side[0][0, :, score_column]) for side in (expected, actual))
        _check(f"{names[0]}, scores", want, got, where)
        lowest = float(want[0])
        margin = RELATIVE * (min(1.0, float(want[-1])) + lowest)
        kept = first[0, :, score_column] > lowest + margin
        if not kept.any():
            notes.append("the chosen objects all score alike: only their scores were compared")
    want, got = (
        np.concatenate([_scaled(side[i][0], expected[i]) for i in rows], axis=1)
        for side in (expected, actual)
    )
    distances = np.abs(want[kept][:, None] - got[None]).max(axis=2)
    order = np.empty(len(distances), np.int64)
    free = np.ones(first.shape[1], bool)
    # Whoever has the closest match takes it first; each row is used once.
    for row in np.argsort(distances.min(axis=1)):
        order[row] = np.argmin(np.where(free, distances[row], np.inf))
        free[order[row]] = False
    wanted = [a[:, kept] if i in rows else a for i, a in enumerate(expected)]
    found = [a[:, order] if i in rows else a for i, a in enumerate(actual)]
    return wanted, found, notes


def _scaled(rows: Array, whole: Array) -> Float32:
    """Divide by the largest value, so that boxes in pixels do not outweigh scores."""
    scale = float(np.abs(whole[np.isfinite(whole)]).max(initial=0.0)) or 1.0
    return np.asarray(np.nan_to_num(rows) / scale, np.float32)
