"""Find the fastest way to run a bundle on this machine, by measurement that stops early.

Each candidate is first tried alone, one after the other: does it run, within which memory, and how
fast about. Those that can win then race in heats: each heat's models take turns in processes of
their own, beside the best one so far, and ratios are taken within a round, so that what happens to
the machine happens to all of them. Who is slower beyond doubt leaves; the rest race again, longer.
What is left within `ALIKE` of the best counts as equally fast, and the one with fewer threads is
taken. A candidate that fails leaves, with the reason, and the search goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgecv import host
from edgecv.bench.interleaved import Competitor, Timing, take_turns
from edgecv.bench.limits import Budget, Limits, too_large
from edgecv.bench.space import Candidate, Goal
from edgecv.bench.standings import Standing, Standings
from edgecv.errors import InferenceError

HEATS: dict[Goal, tuple[tuple[int, float], ...]] = {
    "latency": ((4, 0.1), (10, 0.15), (24, 0.2)),
    "throughput": ((4, 0.4), (8, 0.6), (16, 0.8)),
}
"""Rounds of each heat, and seconds of a turn."""
ALONE_S: dict[Goal, float] = {"latency": 0.2, "throughput": 0.4}
"""Seconds for which a candidate is timed alone."""
FEWEST_ROUNDS = 4
"""A race that time ends before so many tells nothing."""
BESIDE = 4
"""Challengers that are loaded at the same time, beside the best one so far."""
HOPELESS = 1 / 8
"""A candidate does not race whose speed, each of them alone, is below this share of the best's.
Other work on a machine was seen to make equals look like 1 to 4, which only a race sets right."""
MEMORY_SHARE = 0.8
"""Of the free memory, for all that are loaded at the same time."""
Failed = Callable[[str, InferenceError], None]


class Race(Protocol):
    """Times competitors in turns, as `edgecv.bench.interleaved.take_turns` does."""

    def __call__(
        self,
        some: Sequence[Competitor],
        rounds: int,
        turn_s: float,
        *,
        together: bool,
        failed: Failed,
        timeout_s: float,
        within_s: float,
    ) -> dict[str, Timing]:
        """Return the timing of each that did not fail, or of none where no round was finished."""


def search(
    model: Path,
    candidates: Sequence[Candidate],
    images: Sequence[Path],
    *,
    goal: Goal = "latency",
    limits: Limits | None = None,
    budget: Budget | None = None,
    race: Race | None = None,
    free_bytes: Callable[[], int | None] = host.free_memory_bytes,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Standing]:
    """Race candidates until the best is known.

    Args:
        model: the bundle.
        candidates: at least one, the preferred one first.
        images: run in turn.
        goal: what the candidates are timed for.
        limits: whoever is seen to need more memory does not race.
        budget: of time; what it does not suffice for is not done, and told.
        race: times competitors in turns; None does it for real.
        free_bytes: tells the free memory; candidates are loaded at the same time only where it
            holds them, else each turn has a fresh process.
        progress: called with a word on what is going on.

    Returns:
        All candidates, the winner first, those that lasted by their speed, then the others. Where
        the first one has not lasted, none can be used.
    """
    budget = budget or Budget()

    def really(
        some: Sequence[Competitor], rounds: int, turn_s: float, **how: Any
    ) -> dict[str, Timing]:
        return take_turns(some, images, rounds=rounds, turn_s=turn_s, progress=progress, **how)

    one = _Search(model, candidates, goal, budget, race or really, free_bytes, progress)
    one.try_alone(limits or Limits())
    one.run_heats()
    return one.standings.ranked()


class _Search:
    """The state of a search."""

    def __init__(
        self,
        model: Path,
        candidates: Sequence[Candidate],
        goal: Goal,
        budget: Budget,
        race: Race,
        free_bytes: Callable[[], int | None],
        progress: Callable[[str], None],
    ) -> None:
        self.model, self.candidates, self.goal, self.budget = model, candidates, goal, budget
        self.race, self.free_bytes, self.progress = race, free_bytes, progress
        self.standings = Standings(candidates)
        self._took_s: dict[str, float] = {}

    def try_alone(self, limits: Limits) -> None:
        """Run each candidate for a moment, one process at a time.

        As soon as one runs, half of the time is kept for the heats.
        """
        whole_s = self.budget.search_s()
        for number, c in enumerate(self.candidates, 1):
            room_s = self.budget.search_s()
            if self.standings.alive() and self.budget.seconds is not None:
                room_s -= whole_s / 2
            if number > 1 and room_s <= self.budget.start_s:
                self.standings.leave(c, "not tried", f"{self.budget} was spent")
                continue
            self.progress(f"trying {number} of {len(self.candidates)}: {c.name}")
            start = self.budget.clock()
            patience_s = self.budget.patience_s(self.budget.start_s, room_s)
            timings = self._race(
                [c], 1, ALONE_S[self.goal], together=False, timeout_s=patience_s,
                within_s=patience_s,
            )  # fmt: skip
            if c.name not in timings and self.standings[c].status != "failed":
                self.standings.leave(c, "failed", f"no answer within {patience_s:.0f} s")
            self._took_s[c.name] = took_s = self.budget.clock() - start
            if c.name in timings:
                self.budget.note(took_s)
                self._note_alone(c, timings[c.name], limits)
        alive = self.standings.alive()
        self.standings.best = best = min(alive, key=self._p50, default=None)
        for c in alive:
            if best is not None and self._p50(c) * HOPELESS > self._p50(best):
                self.standings.leave(c, "slower", f"far slower than {best.name}, each alone")

    def run_heats(self) -> None:
        """Let those that still run race, until one is left or time is up."""
        standings = self.standings
        for number, (rounds, turn_s) in enumerate(HEATS[self.goal], 1):
            alive = standings.alive()
            if len(alive) < 2:
                return
            self.progress(f"heat {number}: {len(alive)} candidates")
            waiting = [c for c in alive if c != standings.best]
            while waiting and standings.best is not None:
                group, together = self._group(waiting)
                some = [standings.best, *group]
                if self._cost_s(some, rounds, turn_s, together) > self.budget.search_s():
                    self._give_up()
                    return
                waiting = waiting[len(group) :]
                left_s = self.budget.search_s()
                # They load at the same time.
                took_s = sum(self._took_s[c.name] for c in some)
                timings = self._race(
                    some, rounds, turn_s, together=together, within_s=max(1.0, left_s),
                    timeout_s=self.budget.patience_s(took_s, left_s),
                )  # fmt: skip
                few = min(rounds, FEWEST_ROUNDS)
                ran = [
                    c for c in some if c.name in timings and len(timings[c.name].rounds_ms) >= few
                ]
                if not ran and any(c in standings.alive() for c in some):
                    # Time was up before there was enough to tell who is slower.
                    if standings.best not in standings.alive():
                        standings.replace_best()
                    self._give_up()
                    return
                if standings.best in ran:
                    standings.note(ran, timings)
                else:
                    # Nothing can be held against it; the others race once more.
                    standings.replace_best()
                    waiting = [c for c in standings.alive() if c != standings.best]
            standings.drop_far()

    def _race(
        self, some: Sequence[Candidate], rounds: int, turn_s: float, **how: Any
    ) -> dict[str, Timing]:
        by_name = {c.name: c for c in some}

        def failed(name: str, error: InferenceError) -> None:
            self.standings.leave(by_name[name], "failed", error.what)

        racing = [competitor(self.model, c, self.goal) for c in some]
        return self.race(racing, rounds, turn_s, failed=failed, **how)

    def _note_alone(self, c: Candidate, timing: Timing, limits: Limits) -> None:
        peak = timing.peak_rss_bytes
        p50_ms = round(timing.p50_ms, 4)
        self.standings.set(c, status="lasted", p50_ms=p50_ms, peak_rss_bytes=peak)
        reason = too_large(peak, limits)
        if reason is not None:
            self.standings.leave(c, "over a limit", reason)

    def _group(self, waiting: Sequence[Candidate]) -> tuple[list[Candidate], bool]:
        """Choose who races beside the best, and whether memory holds them at the same time."""
        free, best = self.free_bytes(), self.standings.best
        room = float("inf") if free is None else MEMORY_SHARE * free
        room -= 0 if best is None else self._peak(best)
        group: list[Candidate] = []
        for c in waiting[:BESIDE]:
            room -= self._peak(c)
            if group and room < 0:
                break
            group.append(c)
            if room < 0:
                return group, False
        return group, True

    def _cost_s(
        self, some: Sequence[Candidate], rounds: int, turn_s: float, together: bool
    ) -> float:
        """Estimate what a race takes, by what each took alone."""
        starts = sum(self._took_s[c.name] for c in some)
        # A turn is at least three images; with a plan, three batches for each worker.
        turns = sum(
            max(turn_s, 3 * c.plan.workers * c.plan.batch * self._p50(c) / 1e3) for c in some
        )
        return rounds * turns + starts * (1 if together else rounds)

    def _give_up(self) -> None:
        """Note for whom there was no time to race at all."""
        for c in self.standings.alive():
            if not self.standings[c].heats and c != self.standings.best:
                self.standings.leave(c, "not raced", f"{self.budget} was spent before it raced")

    def _p50(self, c: Candidate) -> float:
        return self.standings[c].p50_ms or 0.0

    def _peak(self, c: Candidate) -> int:
        return self.standings[c].peak_rss_bytes or 0


def competitor(model: Path, c: Candidate, goal: Goal) -> Competitor:
    """Let a candidate take turns; for throughput with its plan."""
    plan = c.plan if goal == "throughput" else None
    return Competitor(c.name, model, c.load, c.affinity, plan=plan)
