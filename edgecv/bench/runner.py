"""Measure configurations one after another, each in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import edgecv
from edgecv.bench import statistics
from edgecv.errors import InferenceError
from edgecv.hints import Hints

SCHEMA = "edgecv.bench/1"
_TIMEOUT_S = 600.0
# As `python -m edgecv.bench.worker`, but for the working folder: it may hold anybody's files, so it
# is not where modules are looked for. -P leaves it out, and edgecv's own place goes last.
_WORKER = (
    f"import sys; sys.path.append({str(Path(edgecv.__file__).parent.parent)!r}); "
    "from edgecv.bench.worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration to measure.

    Attributes:
        model: a bundle or a bare model file.
        load: keyword arguments of `edgecv.load`.
        hints: about a bare file; None for a bundle.
        asked_precision: what the variant is meant to run in; None if nothing was asked.
    """

    model: Path
    load: dict[str, Any]
    hints: Hints | None = None
    asked_precision: str | None = None


def measure(
    cell: Cell,
    images: Sequence[Path],
    *,
    duration_s: float = 5.0,
    warmup_s: float = 1.0,
    cold_starts: int = 3,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure one configuration: cold starts in processes of their own, then a steady run.

    Args:
        cell: what to measure.
        images: run in turn; decoding is measured as a stage of its own.
        duration_s: of the steady run.
        warmup_s: before it; at least three images.
        cold_starts: processes from start to first result; the steady run's own is one of them.
        progress: called with a word on what is going on.

    Returns:
        One entry of ``results`` in the report.

    Raises:
        InferenceError: the worker failed or died.
    """
    request = {
        "model": str(cell.model),
        "load": cell.load,
        "hints": cell.hints.given() if cell.hints else None,
        "images": [str(image) for image in images],
        "warmup_s": warmup_s,
    }
    colds = []
    for i in range(cold_starts - 1):
        if progress:
            progress(f"cold start {i + 1} of {cold_starts}")
        _, cold_ms = _run({**request, "duration_s": 0})
        colds.append(cold_ms)
    if progress:
        progress("steady run")
    said, cold_ms = _run({**request, "duration_s": duration_s})
    colds.append(cold_ms)
    info, samples = said["info"], said["samples_ms"]
    reasons = _doubts(cell, info, samples, said)
    return {
        "scenario": "single",
        "variant": info["variant"],
        "backend": info["backend"],
        "engine": info["engine"],
        "precision_asked": cell.asked_precision,
        "precision_actual": info["precision"],
        "threads": info["threads"],
        "images": len(images),
        "cold_start_ms": {"n": len(colds), "p50": round(median(colds), 1), "samples": colds},
        "latency_ms": {stage: statistics.summarise(ms) for stage, ms in samples.items()},
        "throughput": round(len(samples["total"]) / said["elapsed_s"], 2),
        "cpu_per_image_ms": round(said["cpu_s"] * 1e3 / len(samples["total"]), 3),
        "memory_bytes": {
            "peak_rss": said["peak_rss_bytes"],
            "after_first_result": said["rss_bytes"],
            "model": info["model_bytes"],
        },
        "energy": {"tier": None, "reason": "no meter or counter was read"},
        "validity": {"status": "suspect" if reasons else "valid", "reasons": reasons},
    }


def _run(request: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Run a worker; return what it said and the time from its start to its first result, ms."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _WORKER],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            # Beyond what the steady run is to take: loading, warming up, and slow images.
            timeout=_TIMEOUT_S + request["duration_s"] + request["warmup_s"],
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InferenceError(f"the benchmark's process failed: {error}") from None
    said: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        # An engine may print lines of its own.
        with suppress(ValueError):
            fact = json.loads(line)
            said |= fact if isinstance(fact, dict) else {}
    if "error" in said:
        raise InferenceError(said["error"], remedy=said.get("remedy"))
    complete = "samples_ms" if request["duration_s"] > 0 else "first_result_s"
    if done.returncode != 0 or complete not in said:
        tail = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise InferenceError(
            f"the benchmark's process died with status {done.returncode}",
            where=request["model"],
            got=tail[0],
        )
    return said, round((said["first_result_s"] - start) * 1e3, 1)


def _doubts(
    cell: Cell, info: dict[str, Any], samples: dict[str, list[float]], said: dict[str, Any]
) -> list[str]:
    """List the reasons for which a result should not be taken at face value."""
    reasons = []
    count = len(samples["total"])
    floor = statistics.PERCENTILE_FLOORS[90]
    if count < floor:
        reasons.append(f"too few samples for percentiles: {count}, {floor} are needed for p90")
    change = statistics.drift(samples["total"])
    if change is not None and abs(change) > statistics.DRIFT_LIMIT:
        reasons.append(f"latency drifted by {change:+.0%} from the first third to the last")
    asked, actual = cell.asked_precision, info["precision"]
    if asked and actual and asked != actual:
        reasons.append(f"ran in {actual} where {asked} was asked for")
    if actual is None:
        reasons.append("the engine does not tell in which precision it ran")
    waited = said["elapsed_s"] * info["threads"]
    if info["threads"] == 1 and said["cpu_s"] < 0.9 * waited:
        share = 1 - said["cpu_s"] / waited
        reasons.append(f"the process got no CPU for {share:.0%} of the time: a busy machine")
    return reasons
