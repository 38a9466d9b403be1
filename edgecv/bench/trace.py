"""What a meter said over time: its energy from one time to another, or why nobody knows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecv.bench.power import Quantity
from edgecv.bench.statistics import half_width
from edgecv.record import Record

SILENCE_INTERVALS = 5.0
"""A meter that says nothing new for more than so many of its usual intervals is not believed.

A reader that a busy machine holds up misses one or two readings, and a line between its neighbours
is as good. What a machine drew while nobody looked for longer is a guess: a model is loaded and run
within that time."""
SHORTEST_SILENCE_S = 0.5
"""Below this, a reader that waited for a CPU is no fault of the meter. No counter of a CPU goes
around more than once in it: its range is 65 kJ and more."""
_LATE_INTERVALS = 2.0
_FEWEST = 2
_BLOCKS = 10
_Array = np.ndarray[Any, Any]


class Spent(Record, kw_only=True):
    """Energy between two times.

    Attributes:
        joules: the energy.
        ends_j: half width of what is not known of it, because no reading was taken just when the
            time began and ended.
    """

    joules: float
    ends_j: float


class Power(Record, kw_only=True):
    """Mean power between two times.

    Attributes:
        watts: the mean.
        half_w: half width of its 95 % interval; None where there are too few readings.
    """

    watts: float
    half_w: float | None


class Trace(Record, kw_only=True):
    """What a meter said over time.

    Attributes:
        at_s: (N,) float64, in the order of time, on the clock of `time.monotonic`.
        value: (N, parts) float64, watts at that time, or joules since a fixed time.
        quantity: which of the two.
        parts: what is measured side by side.
    """

    at_s: _Array
    value: _Array
    quantity: Quantity
    parts: tuple[str, ...] = ("",)

    @classmethod
    def of(
        cls,
        series: Sequence[tuple[float, Sequence[float]]],
        quantity: Quantity,
        parts: tuple[str, ...] = ("",),
    ) -> Trace:
        """Make one of (time, reading of each part); others may add to `series` meanwhile."""
        series = tuple(series)
        return cls(
            at_s=np.array([at for at, _ in series], np.float64),
            value=np.array([v for _, v in series], np.float64).reshape(-1, len(parts)),
            quantity=quantity,
            parts=parts,
        )

    def constant(self, start: float, end: float) -> str | None:
        """Say so where a power meter gave one and the same reading from start to end."""
        value = self.value[(self.at_s >= start) & (self.at_s <= end)]
        if self.quantity == "watts" and len(value) and np.ptp(value, axis=0).max() == 0:
            watts = float(value[0].sum())
            return f"it did not move: {watts:g} W at each of {len(value)} readings, loaded or not"
        return None

    def spent(self, start: float, end: float) -> Spent | str:
        """Return the energy from start to end.

        A counter's value is interpolated at both ends. Watts are integrated by the trapezoid
        rule, the power at both ends interpolated.

        The power between an end and the next reading inside lies between that reading and the one
        outside: `Spent.ends_j` sums, over both ends, how far the energy moves if it was all the
        one inside. It falls with the time between readings.

        Args:
            start: seconds, on the clock of the trace.
            end: after `start`.

        Returns:
            The energy; or why it is not known: the readings do not reach over the time or leave
            out too much of it, or a counter did not move or went backwards.
        """
        why = self._refused(start, end)
        if why is not None:
            return why
        at, total = self.at_s, self.value.sum(axis=1)
        inside = np.flatnonzero((at > start) & (at < end))
        first, last = int(inside[0]), int(inside[-1])
        low, high = np.interp([start, end], at, total)
        if self.quantity == "joules":
            joules = float(high - low)
        else:
            times = np.concatenate([[start], at[inside], [end]])
            watts = np.concatenate([[low], total[inside], [high]])
            joules = float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2))
        if joules <= 0:
            return f"it showed {joules / (end - start):g} W, which no running machine draws"
        before, after = at[first] - start, end - at[last]
        if self.quantity == "joules":
            watts = np.diff(total) / np.diff(at)
            ends = before * abs(watts[first - 1] - watts[first])
            ends += after * abs(watts[last] - watts[last - 1])
        else:
            outside = total[max(0, first - 1)], total[min(len(total) - 1, last + 1)]
            ends = (before * abs(outside[0] - total[first]) / 2) + (
                after * abs(outside[1] - total[last]) / 2
            )
        return Spent(joules=joules, ends_j=float(ends))

    def mean(self, start: float, end: float) -> Power | str:
        """Return the mean power from start to end, or why it is not known.

        The interval is Student's t over the means of up to ten blocks of neighbouring readings
        (batch means: neighbours resemble each other, for chips average), with `Spent.ends_j`.
        """
        spent = self.spent(start, end)
        if isinstance(spent, str):
            return spent
        inside = (self.at_s > start) & (self.at_s < end)
        watts = self.value[inside].sum(axis=1)
        if self.quantity == "joules":
            watts = np.diff(watts) / np.diff(self.at_s[inside])
        blocks = np.array_split(watts, min(_BLOCKS, len(watts)))
        half = half_width([float(block.mean()) for block in blocks])
        length = end - start
        return Power(
            watts=spent.joules / length,
            half_w=None if half is None else math.hypot(half, spent.ends_j / length),
        )

    def _refused(self, start: float, end: float) -> str | None:
        at = self.at_s
        if len(at) < 2:
            return "it gave fewer than two readings"
        usual = float(np.median(np.diff(at)))
        counts = self.quantity == "joules"
        # A power at the very end is held for a moment; what a counter grew by is not.
        late = 0.0 if counts else max(SHORTEST_SILENCE_S, _LATE_INTERVALS * usual)
        if at[0] > start + late:
            return f"its readings begin {at[0] - start:.2g} s too late"
        if at[-1] < end - late:
            return f"it stopped answering {end - at[-1]:.2g} s before the end"
        n = int(np.count_nonzero((at > start) & (at < end)))
        if n < _FEWEST:
            return f"{n} reading(s) in {end - start:.2g} s: at least {_FEWEST} are needed"
        around = slice(
            max(0, int(np.searchsorted(at, start, "right")) - 1),
            int(np.searchsorted(at, end, "left")) + 1,
        )
        limit = max(SHORTEST_SILENCE_S, SILENCE_INTERVALS * usual)
        longest = float(np.diff(at[around]).max())
        if longest > limit:
            return f"it was silent for {longest:.2g} s, where a reading came every {usual:.2g} s"
        if counts:
            for name, values in zip(self.parts, self.value.T, strict=True):
                why = _stood_still(at, values, around, limit)
                if why is not None:
                    return f"the counter {f'of {name} ' if len(self.parts) > 1 else ''}{why}"
        return None


def _stood_still(at: _Array, values: _Array, around: slice, limit: float) -> str | None:
    """Say what is wrong with a counter from the last reading before to the first one after."""
    grown = np.diff(values[around])
    if grown.min() < 0:
        return "went backwards: it was reset, or went around more than once between two readings"
    if grown.max() == 0:
        return "did not move"
    moved = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    news = np.append(at[moved], at[-1])
    spans = np.diff(news)
    seen = (news[1:] > at[around][0]) & (news[:-1] < at[around][-1])
    longest = float(spans[seen].max())
    return f"stood still for {longest:.2g} s" if longest > limit else None
