"""Tune a bundle for this machine: what may run, what is fastest, and does it keep the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgecv import tuned
from edgecv.bench.cell import Cell, Settings
from edgecv.bench.limits import Budget, Limits, allowed, breach
from edgecv.bench.report import Result
from edgecv.bench.runner import measure
from edgecv.bench.search import search
from edgecv.bench.space import Candidate, Goal, candidates
from edgecv.bench.standings import Standing
from edgecv.bundle import open_bundle
from edgecv.errors import InferenceError, UsageError
from edgecv.record import Record

WARMUP_S = 0.5
"""Before the measurement in full."""
_RUNS = ("lasted", "slower", "not raced")


class Tuning(Record, kw_only=True):
    """What was found.

    Attributes:
        choice: the best that keeps the limits, for a process as this one is; None where only
            pinned ones keep them.
        pinned: the best when the process is pinned to the fast CPUs, where that is faster still, or
            where nothing else keeps the limits.
        not_better: the fast CPUs, where pinning to them was tried and is no use; else ().
        standings: of all candidates, the fastest first; speeds are against the first.
        results: measured in full: of the choices, and of whoever failed a limit before them.
        passed_over: variants and candidates that are out, with the reason.
    """

    choice: tuned.Choice | None
    pinned: tuned.Choice | None = None
    not_better: tuple[int, ...] = ()
    standings: tuple[Standing, ...]
    results: tuple[Result, ...]
    passed_over: dict[str, str]


def tune(
    model: Path,
    images: Sequence[Path],
    *,
    goal: Goal = "latency",
    limits: Limits | None = None,
    seconds: float = 5.0,
    budget_s: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Find the best way to run a bundle here.

    Args:
        model: the bundle.
        images: real ones.
        goal: ``latency`` of one image after the other, or ``throughput`` of many.
        limits: that the choice must keep.
        seconds: of the measurement in full, which the limits are held against.
        budget_s: in which all of it must end; None is no bound.
        progress: called with a word on what is going on.

    Raises:
        UsageError: no variant may be tried, none keeps the limits, or the budget is less than one
            measurement takes.
        InferenceError: every candidate that was tried failed.
    """
    if budget_s is not None and budget_s <= seconds + WARMUP_S:
        raise UsageError(
            "the budget leaves no time to search",
            where="budget",
            expected=f"more than the {seconds + WARMUP_S:g} s of the measurement in full",
            got=f"{budget_s:g} s",
            remedy="give more, or measure for fewer --seconds",
        )
    with open_bundle(model) as bundle:
        manifest, digest = bundle.manifest, bundle.digest
    limits = limits or Limits()
    variants, out = allowed(manifest, limits)
    if not variants:
        raise UsageError(f"no variant may be tried: {_told(out)}", where=manifest.name)
    one = _Tuner(
        model, digest, images, goal, limits, seconds, Budget(budget_s, seconds + WARMUP_S), progress
    )
    one.out.update(out)
    every = candidates(manifest, variants, goal)
    one.search([c for c in every if not c.affinity])
    choice = one.settle(one.standings)
    pinned = one.pinned(choice and choice[0], [c for c in every if c.affinity])
    if choice is None and pinned is None:
        raise one.nothing(manifest.name)
    return Tuning(
        choice=None if choice is None else one.record(*choice),
        pinned=None if pinned is None else one.record(*pinned),
        not_better=one.not_better,
        standings=tuple(one.standings),
        results=tuple(one.results),
        passed_over=one.out,
    )


class _Tuner:
    """What one call of `tune` finds, step by step."""

    def __init__(
        self,
        model: Path,
        digest: str,
        images: Sequence[Path],
        goal: Goal,
        limits: Limits,
        seconds: float,
        budget: Budget,
        progress: Callable[[str], None],
    ) -> None:
        self.model, self.digest, self.images, self.goal = model, digest, images, goal
        self.limits, self.budget, self.progress = limits, budget, progress
        self.settings = Settings(
            duration_s=seconds, warmup_s=WARMUP_S, processes=1, cold_starts=1, memory=False
        )
        self.standings: list[Standing] = []
        self.results: list[Result] = []
        self.out: dict[str, str] = {}
        self.not_better: tuple[int, ...] = ()

    def search(self, some: Sequence[Candidate]) -> list[Standing]:
        """Race some candidates, and add them to the standings."""
        found = search(
            self.model, some, self.images, goal=self.goal, limits=self.limits, budget=self.budget,
            progress=self.progress,
        )  # fmt: skip
        known = {s.candidate for s in self.standings}
        self.standings += [s for s in found if s.candidate not in known]
        return found

    def settle(self, ranked: Sequence[Standing]) -> tuple[Candidate, Result] | None:
        """Measure candidates in full, the fastest first, until one keeps the limits."""
        measured = False
        for candidate in [s.candidate for s in ranked if s.status in _RUNS]:
            if measured and self.budget.left_s() < self.budget.full_s():
                self.out[candidate.name] = f"{self.budget} was spent before it was measured"
                continue
            measured = True
            self.progress(f"measuring {candidate.name}")
            try:
                result = self.measure(candidate)
            except InferenceError as error:
                self.out[candidate.name] = error.message
                continue
            self.results.append(result)
            broken = breach(result, self.limits)
            if broken is None:
                return candidate, result
            self.out[candidate.name] = broken
        return None

    def pinned(
        self, choice: Candidate | None, some: Sequence[Candidate]
    ) -> tuple[Candidate, Result] | None:
        """Race the choice with candidates that are pinned to fast CPUs; None where it wins.

        Without a choice, the first pinned one that keeps the limits wins.
        """
        if not some:
            return None
        if self.budget.search_s() < 2 * self.budget.start_s:
            left = f"{self.budget} was spent"
            self.standings += [Standing(candidate=c, left=left) for c in some]
            return None
        before = list(self.standings)
        # Speeds are against one that may run, even where it does not keep the limits.
        unpinned = choice or next((s.candidate for s in before if s.status in _RUNS), None)
        found = self.search([*([unpinned] if unpinned else []), *some])
        if unpinned is not None:
            speed = next((s.speed for s in found if s.candidate == unpinned), None)
            # In the table all speeds are against it, also of those that only raced here.
            self.standings = before + [
                s.replace(speed=None if not speed or s.speed is None else round(s.speed / speed, 4))
                for s in found
                if s.candidate != unpinned
            ]
        pinned = [s for s in found if s.candidate.affinity]
        if choice is not None:
            place = next(i for i, s in enumerate(found) if s.candidate == choice)
            pinned = [s for s in found[:place] if s.status == "lasted"]
        if not pinned:
            if all(s.status not in ("not raced", "not tried") for s in found):
                self.not_better = some[0].affinity
            return None
        if self.budget.left_s() < self.budget.full_s():
            self.out[pinned[0].candidate.name] = f"{self.budget} was spent before it was measured"
            return None
        settled = self.settle(pinned)
        if settled is None and self.budget.left_s() >= self.budget.full_s():
            self.not_better = some[0].affinity
        return settled

    def measure(self, candidate: Candidate) -> Result:
        """Measure a candidate in full, as `edgecv bench` does."""
        cell = Cell(
            model=self.model,
            load=candidate.load,
            scenario="single" if self.goal == "latency" else "offline",
            plan=candidate.plan if self.goal == "throughput" else None,
            affinity=candidate.affinity,
        )
        return measure(cell, self.images, self.settings)

    def nothing(self, name: str) -> UsageError | InferenceError:
        """Make the error of a search that found nothing, with the reason of each candidate."""
        failed = {s.candidate.name: s.left for s in self.standings if s.status not in _RUNS}
        told = _told({**self.out, **failed})
        if not self.results and all(s.status != "over a limit" for s in self.standings):
            return InferenceError(f"no candidate could be run: {told}", where=name)
        return UsageError(f"nothing keeps the limits: {told}", where=name)

    def record(self, candidate: Candidate, result: Result) -> tuned.Choice:
        """Make the record that loading looks up, where the same CPUs may be used."""
        total = result.latency_ms["total"]
        return tuned.Choice(
            schema=tuned.SCHEMA,
            model=self.model.name,
            digest=self.digest,
            cpu=tuned.identity(candidate.affinity or None),
            goal=self.goal,
            variant=candidate.variant,
            engine=tuned.engine_of(candidate.backend),
            plan=candidate.plan,
            affinity=candidate.affinity,
            measured={
                "p50_ms": total.p50,
                "p90_ms": total.p90,
                "throughput": result.throughput,
                "peak_rss_bytes": result.memory_bytes.peak_rss,
                "validity": result.validity.status,
            },
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _told(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())
