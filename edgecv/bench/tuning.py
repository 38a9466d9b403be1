"""Tune a bundle for this machine: what may run, what is fastest, and does it keep the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edgecv import tuned
from edgecv.bench import search
from edgecv.bench.cell import Cell, Settings
from edgecv.bench.report import Result
from edgecv.bench.runner import measure
from edgecv.bench.search import Candidate, Standing
from edgecv.bundle import open_bundle
from edgecv.engines import why_not
from edgecv.errors import UsageError
from edgecv.manifest import Manifest
from edgecv.record import Record

Goal = Literal["latency", "throughput"]
NOT_ACCURACY = ("drop_points", "size_bytes", "latency_ms")


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


class Tuning(Record, kw_only=True):
    """What was found.

    Attributes:
        choice: the best that keeps the limits.
        standings: of the race, the fastest first; empty for throughput.
        results: measured in full: of the choice, and of whoever failed a limit before it.
        passed_over: variants and candidates that are out, with the reason.
    """

    choice: tuned.Choice
    standings: tuple[Standing, ...]
    results: tuple[Result, ...]
    passed_over: dict[str, str]


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
    figures = {name: next(iter(accuracy(manifest, name).values()), None) for name in fitting}
    best = max((value for value in figures.values() if value is not None), default=None)
    kept = []
    for name, value in figures.items():
        if value is None or best is None:
            out[name] = "the card has no accuracy of it"
        elif (best - value) * 100 > limits.max_drop_points + 1e-9:
            out[name] = (
                f"{(best - value) * 100:.2f} points below the best variant, "
                f"{limits.max_drop_points:g} are allowed"
            )
        else:
            kept.append(name)
    return kept, out


def candidates(
    manifest: Manifest, variants: Sequence[str], root: Path = Path("/")
) -> list[Candidate]:
    """Lay out the ways to run some variants: threads, and fast CPUs where there are two kinds."""
    fast = search.fast_cpus(root)
    found = [
        Candidate(variant=v.id, backend=v.backend, threads=threads)
        for v in manifest.variants
        if v.id in variants
        # The default first: it is what everything is held against.
        for threads in reversed(search.thread_counts())
    ]
    found += [
        c.replace(threads=len(fast), affinity=fast)
        for c in found
        if fast and c.threads == max(search.thread_counts())
    ]
    return list(dict.fromkeys(found))


def tune(
    model: Path,
    images: Sequence[Path],
    *,
    goal: Goal = "latency",
    limits: Limits | None = None,
    seconds: float = 5.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Find the best way to run a bundle here.

    Args:
        model: the bundle.
        images: real ones.
        goal: ``latency`` of one image after the other, or ``throughput`` of many.
        limits: that the choice must keep.
        seconds: of the measurement in full, which the limits are held against.
        progress: called with a word on what is going on.

    Raises:
        UsageError: no variant may be tried, or none keeps the limits.
        InferenceError: a candidate failed.
    """
    limits = limits or Limits()
    with open_bundle(model) as bundle:
        manifest, digest = bundle.manifest, bundle.digest
    variants, out = allowed(manifest, limits)
    if not variants:
        told = "; ".join(f"{name}: {why}" for name, why in out.items())
        raise UsageError(f"no variant may be tried: {told}", where=manifest.name)
    standings: list[Standing] = []
    results: list[Result] = []
    settings = Settings(duration_s=seconds, warmup_s=0.5, processes=1, cold_starts=1, memory=False)
    if goal == "latency":
        standings = search.search(model, candidates(manifest, variants), images, progress=progress)
        ranked = [s.candidate for s in sorted(standings, key=lambda s: bool(s.left))]
    else:
        rates: dict[str, Result] = {}
        for name in variants:
            progress(f"throughput of {name}")
            cell = Cell(model=model, load={"variant": name}, scenario="offline")
            rates[name] = measure(cell, images, settings)
        backends = {v.id: v.backend for v in manifest.variants}
        order = sorted(variants, key=lambda name: -(rates[name].throughput or 0))
        ranked = [
            Candidate(variant=n, backend=backends[n], threads=rates[n].threads) for n in order
        ]
    for candidate in ranked:
        progress(f"measuring {candidate.name}")
        load = {"variant": candidate.variant, "threads": candidate.threads}
        if goal == "throughput":
            load = {"variant": candidate.variant, "threads": None}
        scenario = "single" if goal == "latency" else "offline"
        result = measure(Cell(model=model, load=load, scenario=scenario), images, settings)
        results.append(result)
        broken = breach(result, limits)
        if broken is None:
            choice = _choice(model, digest, goal, candidate, result)
            return Tuning(choice=choice, standings=tuple(standings), results=tuple(results),
                          passed_over=out)  # fmt: skip
        out[candidate.name] = broken
    told = "; ".join(f"{name}: {why}" for name, why in out.items())
    raise UsageError(f"nothing keeps the limits: {told}", where=manifest.name)


def breach(result: Result, limits: Limits) -> str | None:
    """Say which limit a measured candidate breaks, and by how much; None where it breaks none."""
    total = result.latency_ms["total"]
    latency = total.p90 if total.p90 is not None else total.p50
    if limits.max_latency_ms is not None and latency is not None:
        name = "p90" if total.p90 is not None else "p50"
        if latency > limits.max_latency_ms:
            return f"{name} of {latency:.2f} ms, {limits.max_latency_ms:g} are allowed"
    peak = result.memory_bytes.peak_rss
    if limits.max_memory_bytes is not None:
        if peak is None:
            return "its memory cannot be measured here"
        if peak > limits.max_memory_bytes:
            allowed_mib = limits.max_memory_bytes / 2**20
            return f"a peak of {peak / 2**20:.0f} MiB, {allowed_mib:.0f} are allowed"
    return None


def _choice(
    model: Path, digest: str, goal: Goal, candidate: Candidate, result: Result
) -> tuned.Choice:
    total = result.latency_ms["total"]
    return tuned.Choice(
        schema=tuned.SCHEMA,
        model=model.name,
        digest=digest,
        cpu=tuned.identity(),
        goal=goal,
        variant=candidate.variant,
        engine=tuned.engine_of(candidate.backend),
        threads=candidate.threads if goal == "latency" else None,
        plan=result.plan if goal == "throughput" else None,
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
