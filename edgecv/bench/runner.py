"""Measure one cell: fresh processes one after the other, with the machine watched beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

from edgecv.bench import memory, process, statistics
from edgecv.bench.calibration import Calibration
from edgecv.bench.cell import Cell, Settings
from edgecv.bench.energy import BoardPower
from edgecv.bench.monitor import Conditions, Monitor
from edgecv.bench.recorder import Recorder
from edgecv.bench.report import (
    STAGES,
    Arrivals,
    ColdStart,
    Energy,
    Latency,
    Memory,
    Result,
    Scenario,
    Work,
)
from edgecv.bench.validity import Evidence, judge
from edgecv.bench.weights import weights_bytes
from edgecv.bench.work import of_model
from edgecv.record import Record, field

_WORKER = process.program("edgecv.bench.worker")
_COLD_STAGES = ("import", "load", "first", "total")


class _Runs(Record, kw_only=True):
    """What the processes of a cell said.

    Attributes:
        said: the facts of each process that ran the scenario.
        cold_ms: of every process that was started.
        phases_ms: the same, split into ``import``, ``load``, ``first``; what remains is the
            interpreter's own start.
    """

    said: list[dict[str, Any]] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    phases_ms: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in _COLD_STAGES})


def measure(
    cell: Cell,
    images: Sequence[Path],
    settings: Settings | None = None,
    *,
    board: BoardPower | None = None,
    calibration: Calibration | None = None,
    usb_log: Path | None = None,
    counted: dict[tuple[str, str], Work] | None = None,
    root: Path = Path("/"),
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Measure one configuration.

    Args:
        cell: what to measure.
        images: run in turn; decoding is measured as a stage of its own.
        settings: how long, and in how many processes.
        board: what a board of this kind draws, for energies of tier 4.
        calibration: of this very board, for tier 3.
        usb_log: of a USB meter that is logging, for tier 1.
        counted: (variant, engine) of this model -> its work; what is counted here is put in.
        root: of the file system with ``proc`` and ``sys``.
        progress: called with a word on what is going on.

    Raises:
        InferenceError: a worker failed or died.
    """
    settings = settings or Settings()
    counted = {} if counted is None else counted
    request = _request(cell, images, settings)
    recorder = Recorder(root=root, usb_log=usb_log)
    with recorder, Monitor(root=root, watts=recorder.watts) as monitor:
        if settings.idle_s and recorder.origin is not None:
            progress("idle")
            recorder.idle(settings.idle_s)
        runs = _run_all(cell, request, settings, monitor, progress)
    info = runs.said[0]["info"]
    found = Memory(missing={"phases": "not asked for"})
    if settings.memory:
        progress("memory")
        weights = weights_bytes(cell.model, info["variant"], info["backend"])
        found = memory.measure({**request, "backend": info["backend"]}, weights)
    windows = [cast(tuple[float, float], tuple(said["window"])) for said in runs.said]
    cpu_s = sum(said["cpu_s"] for said in runs.said)
    conditions = monitor.conditions(windows, cpu_s)
    found = memory.with_run(found, [s.get("peak_rss_bytes") for s in runs.said], conditions.rss)
    energy = recorder.energy(
        windows,
        [said["results"] for said in runs.said],
        cpu_s=cpu_s,
        board=board,
        calibration=calibration,
        work=_work(cell, info, counted),
    )
    return _result(cell, runs, conditions, found, energy).replace(images=len(images))


def _work(cell: Cell, info: dict[str, Any], counted: dict[tuple[str, str], Work]) -> Work:
    """Count the work of what ran, once for all cells of it."""
    key = info["variant"], info["backend"]
    if key not in counted:
        size_hw = None if cell.hints is None else cell.hints.size_hw
        counted[key] = of_model(cell.model, *key, size_hw)
    return counted[key]


def _result(
    cell: Cell, runs: _Runs, conditions: Conditions, found: Memory, energy: Energy
) -> Result:
    """Sum up what the processes said, and judge it."""
    said, info = runs.said, runs.said[0]["info"]
    samples = (
        {stage: [times] for stage, times in runs.phases_ms.items()}
        if cell.scenario == "cold"
        else {stage: [one["samples_ms"][stage] for one in said] for stage in STAGES}
    )
    totals = samples["total"]
    spans = [one["window"][1] - one["window"][0] for one in said]
    elapsed_s, cpu_s = sum(spans), sum(one["cpu_s"] for one in said)
    results = sum(one["results"] for one in said)
    rates = [one["results"] / span for one, span in zip(said, spans, strict=True)]
    arrivals = _arrivals(said) if said[0].get("schedule") else None
    latency = {stage: statistics.summarise(times) for stage, times in samples.items()}
    validity = judge(
        Evidence(
            processes_ms=tuple(map(tuple, totals)),
            cpu_s=cpu_s,
            elapsed_s=elapsed_s,
            threads=info["threads"],
            single=cell.scenario == "single",
            cold=cell.scenario == "cold",
            precision_asked=cell.asked_precision,
            precision_actual=info["precision"],
            fallbacks=_fallbacks(cell, info),
            conditions=conditions,
            memory=found,
            arrivals=arrivals,
        )
    )
    return Result(
        scenario=cast(Scenario, cell.scenario),
        variant=info["variant"],
        backend=info["backend"],
        engine=info["engine"],
        precision_asked=cast(Any, cell.asked_precision),
        precision_actual=info["precision"],
        threads=info["threads"],
        streams=cell.streams,
        processes=len(said),
        images=0,
        duration_s=round(elapsed_s, 3),
        cold_start_ms=ColdStart(
            n=len(runs.cold_ms), p50=round(median(runs.cold_ms), 1), samples=tuple(runs.cold_ms)
        ),
        plan=said[0].get("plan"),
        latency_ms=latency,
        distribution_ms=statistics.histogram(totals),
        process_p50_ms=tuple(statistics.round_(median(times)) for times in totals if times),
        throughput=round(results / elapsed_s, 2),
        throughput_ci95=statistics.rate_interval(rates),
        cpu_per_image_ms=round(cpu_s * 1e3 / results, 3),
        arrivals=arrivals,
        memory_bytes=found,
        energy=energy,
        accuracy=cell.accuracy,
        timeline=conditions.timeline,
        missing=_missing(latency, conditions, len(said)),
        validity=validity,
    )


def _request(cell: Cell, images: Sequence[Path], settings: Settings) -> dict[str, Any]:
    return {
        "model": str(cell.model),
        "load": cell.load,
        "hints": cell.hints.given() if cell.hints else None,
        "images": [str(image) for image in images],
        "scenario": cell.scenario,
        "streams": cell.streams,
        "rate_hz": settings.rate_hz,
        "seed": settings.seed,
        "plan": cell.plan.to_dict() if cell.plan else None,
        "affinity": cell.affinity,
        "warmup_s": settings.warmup_s,
        "duration_s": settings.duration_s / settings.processes,
    }


def _run_all(
    cell: Cell,
    request: dict[str, Any],
    settings: Settings,
    monitor: Monitor,
    progress: Callable[[str], None],
) -> _Runs:
    """Start cold as often as asked, then run the scenario in each of the cell's processes."""
    runs = _Runs()
    steady = 0 if cell.scenario == "cold" else settings.processes
    cold = max(settings.cold_starts, settings.processes if cell.scenario == "cold" else 0) - steady
    for i in range(max(0, cold)):
        progress(f"cold start {i + 1} of {cold}")
        said, start = process.ask(
            _WORKER, {**request, "scenario": "cold"}, "first_result_s", follow=monitor.follow
        )
        _note_start(runs, said, start)
        if cell.scenario == "cold":
            now = said["first_result_s"]
            runs.said.append({**said, "window": (start, now), "cpu_s": said["cpu_s"], "results": 1})
    for i in range(steady):
        progress(f"process {i + 1} of {steady}")
        said, start = process.ask(
            _WORKER,
            {**request, "seed": settings.seed + i},
            "samples_ms",
            run_s=settings.duration_s + settings.warmup_s,
            follow=monitor.follow,
        )
        _note_start(runs, said, start)
        runs.said.append(said)
    return runs


def _note_start(runs: _Runs, said: dict[str, Any], start: float) -> None:
    marks = {
        "import": said["imported_s"] - said["began_s"],
        "load": said["loaded_s"] - said["imported_s"],
        "first": said["first_result_s"] - said["loaded_s"],
        "total": said["first_result_s"] - start,
    }
    for name, seconds in marks.items():
        runs.phases_ms[name].append(statistics.round_(seconds * 1e3))
    runs.cold_ms.append(round(marks["total"] * 1e3, 1))


def _arrivals(said: Sequence[dict[str, Any]]) -> Arrivals:
    schedules = [one["schedule"] for one in said]
    scheduled, dropped = (sum(s[name] for s in schedules) for name in ("scheduled", "dropped"))
    ages: list[list[float]] = [one["samples_ms"]["total"] for one in said]
    return Arrivals(
        rate_hz=round(sum(s["rate_hz"] for s in schedules) / len(schedules), 3),
        scheduled=scheduled,
        completed=sum(s["completed"] for s in schedules),
        dropped=dropped,
        dropped_share=round(dropped / scheduled, 5) if scheduled else None,
        age_ms=statistics.summarise(ages),
        overloaded=any(s["overloaded"] for s in schedules),
    )


def _fallbacks(cell: Cell, info: dict[str, Any]) -> tuple[str, ...]:
    """Say what ran otherwise than it was asked for."""
    found = []
    for what in ("variant", "backend"):
        asked = cell.load.get(what)
        if asked is not None and info[what] != asked:
            found.append(f"{what} {info[what]} ran where {asked} was asked for")
    threads = cell.load.get("threads")
    if threads is not None and info["threads"] != threads:
        found.append(f"{info['threads']} threads ran where {threads} were asked for")
    return tuple(found)


def _missing(latency: dict[str, Latency], conditions: Conditions, processes: int) -> dict[str, str]:
    """Say why a number is null: below a percentile's floor, or not told by the system."""
    found = {f"conditions.{name}": why for name, why in conditions.missing.items()}
    for name, (_, floor) in statistics.PERCENTILE_FLOORS.items():
        counts = [stage.n for stage in latency.values() if getattr(stage, name) is None]
        if counts:
            found[f"latency_ms.{name}"] = f"{min(counts)} samples; {floor} are needed"
    if any(stage.ci95 is None for stage in latency.values()):
        found["latency_ms.ci95"] = "fewer than 6 independent samples of one process"
    if processes < 2:
        found["throughput_ci95"] = "one process only: nothing to compare it with"
    return found
