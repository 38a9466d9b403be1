"""What a tuned choice must keep, and the time in which it must be found."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgecv.bench.dialogue import TIMEOUT_S
from edgecv.bench.report import Result
from edgecv.engines import why_not
from edgecv.manifest import Manifest
from edgecv.record import Record

NOT_ACCURACY = ("drop_points", "size_bytes", "latency_ms")
_PATIENCE, _PATIENCE_S = 5, 10.0


class Limits(Record, kw_only=True):
    """What the choice must keep.

    Attributes:
        max_latency_ms: of the 90th percentile from encoded image to result.
        max_memory_bytes: peak resident set of a process that runs it.
        max_drop_points: of the main metric on the card, in hundredths, below the best variant.
    """

    max_latency_ms: float | None = None
    max_memory_bytes: float | None = None
    max_drop_points: float | None = None


class Budget:
    """The time that tuning may take, from now on.

    Args:
        seconds: of it; None is no bound.
        measured_s: of it that the measurement in full takes.
        clock: seconds, monotonic.

    Attributes:
        start_s: the longest that a candidate took, from its start to its end, when tried alone.
    """

    def __init__(
        self,
        seconds: float | None = None,
        measured_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self.start_s = 0.0
        self._measured_s = measured_s
        self._end = float("inf") if seconds is None else clock() + seconds

    def left_s(self) -> float:
        """Return what is left of all of it."""
        return max(0.0, self._end - self.clock())

    def search_s(self) -> float:
        """Return what is left for searching, when one candidate is to be measured in full."""
        return max(0.0, self.left_s() - self.full_s())

    def patience_s(self, took_s: float, left_s: float) -> float:
        """Return how long to wait for an answer, so that one that hangs leaves the others time.

        Five times what is known of it, and at least ten seconds or a tenth of the budget.

        Args:
            took_s: what it took alone, or the longest so far; 0 where nothing is known.
            left_s: never longer than this, but for one second.
        """
        if self.seconds is None:
            return TIMEOUT_S
        patience_s = max(_PATIENCE_S, _PATIENCE * took_s, self.seconds / 10)
        return max(1.0, min(TIMEOUT_S, left_s, patience_s))

    def full_s(self) -> float:
        """Return what it takes to measure a candidate in full, by what is known of its start."""
        return self._measured_s + 2 * self.start_s

    def note(self, start_s: float) -> None:
        """Note what it took to start a candidate; the longest counts."""
        self.start_s = max(self.start_s, start_s)

    def __str__(self) -> str:
        return f"the budget of {self.seconds:g} s" if self.seconds is not None else "no budget"


def accuracy(manifest: Manifest, variant: str) -> dict[str, float]:
    """Read what the card says about a variant's accuracy, the main metric first."""
    return {
        m.metric: m.value
        for m in manifest.card.measurements
        if m.variant == variant and m.value is not None and m.metric not in NOT_ACCURACY
    }


def allowed(manifest: Manifest, limits: Limits) -> tuple[list[str], dict[str, str]]:
    """List the variants that can run here and keep the allowed drop; and why the others are out."""
    out: dict[str, str] = {}
    fitting = []
    for variant in manifest.variants:
        reason = why_not(variant.backend, variant.precision)
        if reason is not None:
            out[variant.id] = reason
        else:
            fitting.append(variant.id)
    if limits.max_drop_points is None:
        return fitting, out
    # Also of those that cannot run here: how much is lost does not depend on the machine.
    figures = {variant.id: accuracy(manifest, variant.id) for variant in manifest.variants}
    kept = []
    for name in fitting:
        if not figures[name]:
            out[name] = "the card has no accuracy of it"
            continue
        metric, value = next(iter(figures[name].items()))
        best = max(figure[metric] for figure in figures.values() if metric in figure)
        if (best - value) * 100 > limits.max_drop_points + 1e-9:
            out[name] = (
                f"{(best - value) * 100:.2f} points below the best variant, "
                f"{limits.max_drop_points:g} are allowed"
            )
        else:
            kept.append(name)
    return kept, out


def breach(result: Result, limits: Limits) -> str | None:
    """Say which limit a measured candidate breaks, and by how much; None where it breaks none."""
    total = result.latency_ms["total"]
    latency = total.p90 if total.p90 is not None else total.p50
    if limits.max_latency_ms is not None and latency is not None:
        name = "p90" if total.p90 is not None else "p50"
        if latency > limits.max_latency_ms:
            return f"{name} of {latency:.2f} ms, {limits.max_latency_ms:g} are allowed"
    peak = result.memory_bytes.peak_rss
    if limits.max_memory_bytes is not None and peak is None:
        return "its memory cannot be measured here"
    return too_large(peak, limits)


def too_large(peak: int | None, limits: Limits) -> str | None:
    """Say by how much a peak is over the limit; None where it is not, or is not known.

    Args:
        peak: resident set, bytes.
        limits: that it is held against.
    """
    if peak is None or limits.max_memory_bytes is None or peak <= limits.max_memory_bytes:
        return None
    allowed_mib = limits.max_memory_bytes / 2**20
    return f"a peak of {peak / 2**20:.0f} MiB, {allowed_mib:.0f} are allowed"
