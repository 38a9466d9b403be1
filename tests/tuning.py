"""What tests of tuning share: a machine that is made up, a bundle, and records of choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import tuned
from edgecv.bench import search
from edgecv.bench.interleaved import Competitor, Timing
from edgecv.bench.space import Candidate
from edgecv.bundle import open_bundle
from edgecv.errors import InferenceError
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.plan import Plan
from tests import models

MIB = 2**20


class Machine:
    """A made-up machine: true times, noise in each round, and a load that changes for all.

    Args:
        true_ms: of each candidate, by its name.
        noise: of each round.
        seed: of noise and load.
        dies: candidate -> in which of its races it fails, counted from 0, being tried alone.
        peak_mib: of each candidate's process.
        hangs: candidate -> in which of its races it does not answer.
    """

    def __init__(
        self,
        true_ms: dict[str, float],
        noise: float = 0.03,
        seed: int = 0,
        *,
        dies: dict[str, int] | None = None,
        peak_mib: dict[str, int] | None = None,
        hangs: dict[str, int] | None = None,
    ) -> None:
        self.true_ms, self.noise = true_ms, noise
        self.random = np.random.default_rng(seed)
        self.dies, self.peak_mib, self.hangs = dies or {}, peak_mib or {}, hangs or {}
        self.turns, self.now_s = 0, 0.0
        self.races: list[tuple[list[str], bool]] = []
        """Names of each race, and whether they were loaded together."""

    def clock(self) -> float:
        return self.now_s

    def race(
        self,
        some: Sequence[Competitor],
        rounds: int,
        turn_s: float,
        *,
        together: bool,
        failed: Callable[[str, InferenceError], None],
        timeout_s: float,
        within_s: float,
    ) -> dict[str, Timing]:
        assert 1 <= len(some) <= search.BESIDE + 1
        assert turn_s > 0
        load = 1 + 0.5 * self.random.random(rounds)
        self.turns += rounds * len(some)
        start_s = self.now_s
        self.now_s += len(some) * (1 + rounds * turn_s)
        self.races.append(([c.name for c in some], together))
        found = {}
        for c in some:
            done = sum(c.name in names for names, _ in self.races) - 1
            if self.hangs.get(c.name) == done:
                if timeout_s >= within_s:
                    self.now_s = start_s + within_s
                    return {}
                self.now_s += timeout_s
                failed(c.name, InferenceError("it hung", where=c.name))
                continue
            if self.dies.get(c.name) == done:
                failed(c.name, InferenceError("it died", where=c.name))
                continue
            times = self.true_ms[c.name] * load
            times = times * np.exp(self.noise * self.random.standard_normal(rounds))
            peak = self.peak_mib.get(c.name)
            found[c.name] = Timing(
                name=c.name, p50_ms=float(np.median(times)), ci95=(0.0, 0.0),
                rounds_ms=tuple(map(float, times)), stages_ms={}, samples=rounds,
                precision="fp32", threads=1,
                peak_rss_bytes=None if peak is None else peak * MIB,
            )  # fmt: skip
        return found


def candidates(count: int) -> list[Candidate]:
    return [candidate(f"v{i // 3}", 1 + i % 3) for i in range(count)]


def candidate(variant: str, threads: int, affinity: tuple[int, ...] = ()) -> Candidate:
    return Candidate(variant=variant, backend="null", plan=Plan(1, threads), affinity=affinity)


def two_variants(folder: Path) -> Path:
    """Pack a bundle with the variants null-fp32 and null-fp32-2."""
    sources = [models.null_detector(folder / f"{name}.null.json") for name in ("one", "two")]
    golden = [models.write_image(folder / "a.png", 1)]
    made: Path = pack(
        sources, folder / "b.edgecv", hints=Hints(head="end2end"), golden=golden, trusted=True
    )
    return made


def choice(bundle: Path, **changes: Any) -> tuned.Choice:
    """Make a record of null-fp32-2 with one thread, for this machine."""
    with open_bundle(bundle) as opened:
        digest = opened.digest
    facts = {
        "schema": tuned.SCHEMA, "model": bundle.name, "digest": digest, "cpu": tuned.identity(),
        "goal": "latency", "variant": "null-fp32-2", "engine": tuned.engine_of("null"),
        "plan": Plan(1, 1),
    }  # fmt: skip
    return tuned.Choice(**{**facts, **changes})
