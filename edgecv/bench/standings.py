"""How the candidates of a search stand, and who of them is preferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edgecv.bench.interleaved import Timing, ratio
from edgecv.bench.space import Candidate
from edgecv.record import Record

ALIKE = 1.01
"""Speeds whose ratio is below are alike."""
SURELY, FAR = 0.98, 0.8
"""A candidate leaves when the upper end of its speed against the best is below the first; or where
it did not race the best itself, when its speed, by way of whom both raced, is below the second."""

Status = Literal["lasted", "slower", "not raced", "over a limit", "failed", "not tried"]
_ORDER: tuple[Status, ...] = (
    "lasted", "slower", "not raced", "over a limit", "failed", "not tried",
)  # fmt: skip


class Standing(Record, kw_only=True):
    """How a candidate stands, and at last ended.

    Attributes:
        candidate: it.
        status: ``lasted``, so far or to the end; ``slower``; ``not raced``, where time ran out
            after it was tried alone; ``over a limit``; ``failed``; or ``not tried`` at all.
        left: why it did not last; "" for those that did.
        p50_ms: for latency from pixels to result; for throughput wall time by images; where it was
            last timed.
        ci95: interval of `p50_ms`; None before it raced.
        speed: against the best; 1 is as fast; None for those that did not race.
        heats: in which it took part.
        peak_rss_bytes: of its process, as far as it was watched; None where it is not known.
    """

    candidate: Candidate
    status: Status = "not tried"
    left: str = ""
    p50_ms: float | None = None
    ci95: tuple[float, float] | None = None
    speed: float | None = None
    heats: int = 0
    peak_rss_bytes: int | None = None


class Standings:
    """Who is still there, and who is the best of them.

    Attributes:
        best: the fastest so far of those that still run, which `Standing.speed` is against; None
            where none does.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.best: Candidate | None = None
        self._of = {c.name: Standing(candidate=c) for c in candidates}
        self._beside: dict[str, frozenset[str]] = {}
        """With whom each was last timed."""

    def __getitem__(self, c: Candidate) -> Standing:
        return self._of[c.name]

    def alive(self) -> list[Candidate]:
        """List those that still run, in their first order."""
        return [s.candidate for s in self._of.values() if s.status == "lasted"]

    def set(self, c: Candidate, **changes: Any) -> None:
        """Change fields of a standing."""
        self._of[c.name] = self._of[c.name].replace(**changes)

    def leave(self, c: Candidate, status: Status, why: str) -> None:
        """Let a candidate leave."""
        self.set(c, status=status, left=why)

    def note(self, some: Sequence[Candidate], timings: dict[str, Timing]) -> None:
        """Record a race in which the best took part, and who is the best now."""
        assert self.best is not None
        speeds = {c.name: ratio(timings[self.best.name], timings[c.name]) for c in some}
        fastest = max(some, key=lambda c: speeds[c.name].value)
        # Those of earlier races of the heat were held against the one that was best then.
        self._rescale(speeds[fastest.name].value)
        together = frozenset(c.name for c in some)
        for c in some:
            self._beside[c.name] = together
            timing, speed = timings[c.name], ratio(timings[fastest.name], timings[c.name])
            old = self[c]
            peaks = [p for p in (old.peak_rss_bytes, timing.peak_rss_bytes) if p is not None]
            self.set(
                c,
                p50_ms=round(timing.p50_ms, 4),
                ci95=timing.ci95,
                speed=round(speed.value, 4),
                heats=old.heats + 1,
                peak_rss_bytes=max(peaks, default=None),
            )
            if speed.ci95[1] < SURELY:
                self.leave(c, "slower", f"slower than {fastest.name}")
        self.best = fastest

    def replace_best(self) -> None:
        """Take the next best in place of one that failed.

        Who left as slower than the one that failed comes back, unless it is far behind this one.
        """
        left = [s for s in self._of.values() if s.status == "slower"]
        standing = [*map(self.__getitem__, self.alive()), *left]
        if not standing:
            self.best = None
            return
        new = min(standing, key=lambda s: (s.speed is None, -(s.speed or 0), s.p50_ms or 0))
        self.best = new.candidate
        if new.speed:
            self._rescale(new.speed)
        for s in left:
            speed = self[s.candidate].speed
            if speed is None or speed >= FAR:
                self.set(s.candidate, status="lasted", left="")

    def drop_far(self) -> None:
        """Let those leave that are far behind a best that they did not race.

        Who did race it leaves by the interval alone, in `note`.
        """
        best = self.best
        if best is None:
            return
        for c in self.alive():
            speed = self[c].speed
            direct = best.name in self._beside.get(c.name, ())
            if c != best and not direct and speed is not None and speed < FAR:
                self.leave(c, "slower", f"slower than {best.name}")

    def ranked(self) -> list[Standing]:
        """Return all, the preferred one first, with speeds against it."""
        winner = self._preferred()
        if winner is not None and winner.speed:
            self._rescale(winner.speed)
        first = None if winner is None else winner.candidate
        return sorted(
            self._of.values(),
            key=lambda s: (
                s.candidate != first, _ORDER.index(s.status), -s.heats, -(s.speed or 0),
                s.p50_ms or 0,
            ),
        )  # fmt: skip

    def _preferred(self) -> Standing | None:
        """Among those alike, take the one that leaves the process free, then with fewer threads."""
        if self.best is None:
            return None
        alike = [s for s in map(self.__getitem__, self.alive()) if (s.speed or 0) * ALIKE >= 1]
        return min(
            alike or [self[self.best]],
            key=lambda s: (
                bool(s.candidate.affinity), s.candidate.threads, s.candidate.plan.workers,
                s.candidate.plan.batch, -(s.speed or 0),
            ),
        )  # fmt: skip

    def _rescale(self, gain: float) -> None:
        for name, old in self._of.items():
            if old.speed is not None:
                self._of[name] = old.replace(speed=round(old.speed / gain, 4))
