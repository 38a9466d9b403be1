"""Find the fastest way to run a bundle on this machine, by measurement that stops early.

Candidates race in heats: each heat's models take turns in processes of their own, beside the best
one so far, and ratios are taken within a round, so that what happens to the machine happens to all
of them. Who is slower beyond doubt leaves; the rest race again, longer. What is left within `ALIKE`
of the best counts as equally fast, and the one with fewer threads is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgecv import host
from edgecv.bench.interleaved import Competitor, Ratio, Timing, ratio, take_turns
from edgecv.record import Record

ALIKE = 1.01
"""Speeds whose ratio is below are alike."""
HEATS = ((4, 0.1), (10, 0.15), (24, 0.2))
"""Rounds of each heat, and seconds of a turn."""
BESIDE = 4
"""Challengers that are loaded at the same time, beside the best one so far."""
SURELY, FAR = 0.98, 0.8
"""A candidate leaves when the upper end of its speed against the best is below the first; or where
it did not race the best itself, when its speed, by way of whom both raced, is below the second."""

Race = Callable[[Sequence[Competitor], int, float], dict[str, Timing]]


class Candidate(Record, kw_only=True):
    """One way to run a bundle.

    Attributes:
        variant: its id.
        backend: of the variant.
        threads: of one inference.
        affinity: CPUs that the process is pinned to; () is all.
    """

    variant: str
    backend: str
    threads: int
    affinity: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """A name that no other candidate has."""
        pinned = f" on CPUs {','.join(map(str, self.affinity))}" if self.affinity else ""
        return f"{self.variant} x{self.threads}{pinned}"


class Standing(Record, kw_only=True):
    """How a candidate ended.

    Attributes:
        candidate: it.
        p50_ms: from pixels to result, in the last heat that it was in.
        ci95: interval of `p50_ms`.
        speed: against the winner; 1 is as fast.
        heats: in which it took part.
        left: why it is out; "" for those that lasted to the end.
    """

    candidate: Candidate
    p50_ms: float | None = None
    ci95: tuple[float, float] | None = None
    speed: float | None = None
    heats: int = 0
    left: str = ""


def thread_counts(cpus: int | None = None) -> tuple[int, ...]:
    """List the numbers of threads worth trying: powers of two, and all CPUs."""
    most = host.usable_cpus() if cpus is None else cpus
    return tuple(sorted({1 << i for i in range(most.bit_length()) if 1 << i <= most} | {most}))


def fast_cpus(root: Path = Path("/")) -> tuple[int, ...]:
    """Return the CPUs of the fast kind where there are several kinds; () where all are alike.

    Sources: ``cpu_capacity`` of Arm kernels; else the highest clock of cpufreq, which tells two
    kinds where it differs by more than a tenth.
    """
    for file in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        found: dict[int, int] = {}
        for path in (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{file}"):
            number = path.relative_to(root / "sys/devices/system/cpu").parts[0][3:]
            try:
                found[int(number)] = int(path.read_text())
            except (OSError, ValueError):
                continue
        if found:
            top = max(found.values())
            fast = tuple(sorted(cpu for cpu, value in found.items() if value > 0.9 * top))
            return fast if len(fast) < len(found) else ()
    return ()


def search(
    model: Path,
    candidates: Sequence[Candidate],
    images: Sequence[Path],
    *,
    race: Race | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Standing]:
    """Race candidates until the best is known.

    Args:
        model: the bundle.
        candidates: at least one, the preferred one first.
        images: run in turn.
        race: times competitors in turns; None does it for real.
        progress: called with a word on what is going on.

    Returns:
        All candidates, the winner first, those that lasted by their speed, then those that left.

    Raises:
        InferenceError: a candidate failed.
    """

    def really(some: Sequence[Competitor], rounds: int, turn_s: float) -> dict[str, Timing]:
        return take_turns(some, images, rounds=rounds, turn_s=turn_s, progress=progress)

    race = race or really
    standings = {c.name: Standing(candidate=c) for c in candidates}
    alive = list(candidates)
    best = alive[0]
    for number, (rounds, turn_s) in enumerate(HEATS, 1):
        if len(alive) == 1 and number > 1:
            break
        progress(f"heat {number}: {len(alive)} candidates")
        challengers = [c for c in alive if c is not best] or [best]
        for start in range(0, len(challengers), BESIDE):
            some = [best, *(c for c in challengers[start : start + BESIDE] if c is not best)]
            timings = race([_competitor(model, c) for c in some], rounds, turn_s)
            best = _note(standings, some, timings, best)
        alive = _keep(standings, alive, best)
    winner = _prefer(standings, alive, best)
    return _ranked(standings, winner)


def _competitor(model: Path, c: Candidate) -> Competitor:
    load: dict[str, Any] = {"variant": c.variant, "threads": c.threads}
    return Competitor(c.name, model, load, c.affinity)


def _note(
    standings: dict[str, Standing],
    some: Sequence[Candidate],
    timings: dict[str, Timing],
    best: Candidate,
) -> Candidate:
    """Record a race, its speeds against the one that was best, and return who is best now."""
    speeds = {c.name: ratio(timings[best.name], timings[c.name]) for c in some}
    fastest = max(some, key=lambda c: speeds[c.name].value)
    reference = timings[fastest.name]
    # Those of earlier races of the heat were held against the one that was best then.
    names = {c.name for c in some}
    for name, old in standings.items():
        if name not in names and old.speed is not None:
            gain = speeds[fastest.name].value
            standings[name] = old.replace(speed=round(old.speed / gain, 4))
    for c in some:
        timing, speed = timings[c.name], ratio(reference, timings[c.name])
        old = standings[c.name]
        standings[c.name] = old.replace(
            p50_ms=round(timing.p50_ms, 4),
            ci95=timing.ci95,
            speed=round(speed.value, 4),
            heats=old.heats + 1,
            left="" if not _slower(speed) else f"slower than {fastest.name}",
        )
    return fastest


def _slower(speed: Ratio) -> bool:
    return speed.ci95[1] < SURELY


def _keep(
    standings: dict[str, Standing], alive: Sequence[Candidate], best: Candidate
) -> list[Candidate]:
    """Keep those that did not leave; who raced the best of an earlier race is measured again."""
    for name, old in standings.items():
        if not old.left and old.speed is not None and old.speed < FAR:
            standings[name] = old.replace(left=f"slower than {best.name}")
    kept = [c for c in alive if not standings[c.name].left or c is best]
    standings[best.name] = standings[best.name].replace(left="")
    return kept


def _prefer(
    standings: dict[str, Standing], alive: Sequence[Candidate], best: Candidate
) -> Candidate:
    """Among those alike, take the one with fewer threads, then the faster one."""
    alike = [c for c in alive if (standings[c.name].speed or 0) * ALIKE >= 1 or c is best]
    return min(alike, key=lambda c: (c.threads, bool(c.affinity), -(standings[c.name].speed or 0)))


def _ranked(standings: dict[str, Standing], winner: Candidate) -> list[Standing]:
    first = standings[winner.name]
    rest = [s for name, s in standings.items() if name != winner.name]
    rest.sort(key=lambda s: (bool(s.left), -s.heats, -(s.speed or 0)))
    return [first, *rest]
