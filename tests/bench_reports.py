"""Reports of benchmarks, made of simulated samples: what real ones look like, and odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from edgecv.bench.report import (
    SCHEMA,
    Arrivals,
    ColdStart,
    Energy,
    Failure,
    Histogram,
    Interval,
    Latency,
    Memory,
    Moment,
    Phase,
    Reason,
    Report,
    Result,
    Subject,
    Validity,
    Work,
)

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> $x^2$ | `a` \u202e\x1b[31m"
)
MB = 2**20
ENVIRONMENT: dict[str, Any] = {
    "edgecv": "0.1.0",
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "cpu": "Cortex-A76",
    "cpu_features": ["asimd", "asimddp", "fphp"],
    "usable_cpus": 4,
    "memory_bytes": 8 * 2**30,
    "governor": "performance",
    "kernel": "6.6.31+rpt-rpi-2712",
    "machine": "aarch64",
    "python": "3.11.2",
    "libraries": {"numpy": "2.1.0", "opencv-python-headless": "4.10.0.84"},
    "engines": {"onnxruntime": "1.20.0", "openvino": "2025.0.0", "litert": None},
    "swap_bytes": None,
    "missing": {"swap_bytes": "/proc/meminfo has no SwapTotal", "engines.litert": "not installed"},
}


def simulated(
    p50_ms: float, *, processes: int = 5, samples: int = 400, spread: float = 0.01, seed: int = 0
) -> list[np.ndarray]:
    """Draw samples of several processes: log-normal, each process off by its own factor."""
    rng = np.random.default_rng(seed)
    offsets = np.exp(rng.normal(0, spread, processes))
    noise = np.exp(np.abs(rng.normal(0, 0.04, (processes, samples)))) / 1.0274
    return list(p50_ms * offsets[:, None] * noise)


def bootstrap(drawn: Sequence[np.ndarray], seed: int = 0, rounds: int = 100) -> Interval:
    """Return the 95 % interval of the median over processes and their samples."""
    rng = np.random.default_rng(seed)
    medians = []
    for _ in range(rounds):
        some = [drawn[i] for i in rng.integers(0, len(drawn), len(drawn))]
        medians.append(np.median(np.concatenate([rng.choice(x, len(x)) for x in some])))
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def latency(drawn: Sequence[np.ndarray], seed: int = 0) -> Latency:
    data = np.concatenate(drawn)
    n = len(data)

    def percentile(q: float, floor: int) -> float | None:
        return float(np.percentile(data, q)) if n >= floor else None

    return Latency(
        n=n, mean=float(data.mean()), min=float(data.min()), max=float(data.max()),
        p50=float(np.median(data)), p90=percentile(90, 64), p99=percentile(99, 662),
        p999=percentile(99.9, 6636), ci95=bootstrap(drawn, seed),
    )  # fmt: skip


def result(
    variant: str = "int8", p50_ms: float = 20.0, *, backend: str = "onnxruntime",
    scenario: str = "single", threads: int = 4, seed: int = 0, processes: int = 5,
    samples: int = 400, spread: float = 0.01, reasons: Sequence[Reason] = (),
    accuracy: float | None = None, joules: float | None = None, tier: int = 1,
    stages: bool = True, **other: Any,
) -> Result:  # fmt: skip
    drawn = simulated(p50_ms, processes=processes, samples=samples, spread=spread, seed=seed)
    shares = {"decode": 0.18, "preprocess": 0.07, "infer": 0.68, "postprocess": 0.07}
    whole = latency(drawn, seed)
    counts, edges = np.histogram(np.concatenate(drawn), bins=60)
    medians = tuple(float(np.median(x)) for x in drawn)
    rng = np.random.default_rng(seed)
    rate = 1000 / p50_ms
    uss = int(rng.integers(40, 90)) * MB
    worst = max((r.status for r in reasons), key=["suspect", "invalid"].index, default="valid")
    said: dict[str, Any] = {
        "scenario": scenario,
        "variant": variant,
        "backend": backend,
        "engine": f"{backend} 1.20.0",
        "precision_asked": "int8" if "int8" in variant else "fp32",
        "precision_actual": "int8" if "int8" in variant else "fp32",
        "threads": threads,
        "processes": processes,
        "images": 12,
        "duration_s": 60.0,
        "cold_start_ms": ColdStart(
            n=7, p50=180.0, samples=tuple(sorted(float(x) for x in rng.normal(180, 4, 7)))
        ),
        "latency_ms": {
            **{k: latency([x * v for x in drawn], seed) for k, v in shares.items() if stages},
            "total": whole,
        },
        "distribution_ms": Histogram(
            edges_ms=tuple(map(float, edges)), counts=tuple(map(int, counts))
        ),
        "process_p50_ms": medians,
        "throughput": rate,
        "throughput_ci95": (rate * 0.985, rate * 1.015),
        "cpu_per_image_ms": p50_ms * 3.4,
        "memory_bytes": Memory(
            peak_rss=uss + 70 * MB,
            phases={
                name: Phase(rss=part + 60 * MB, pss=part + 40 * MB, uss=part)
                for name, part in zip(
                    ("import", "load", "first", "steady"),
                    (uss // 4, uss // 2, uss * 9 // 10, uss),
                    strict=True,
                )
            },
            model_file=4 * MB,
            missing={"weights": "the engine's format does not tell", "arena": "weights unknown"},
        ),
        "energy": Energy(
            tier=tier,  # type: ignore[arg-type]
            source="ina226 at i2c 1-0040",
            gross_j=joules,
            gross_ci95=None if joules is None else (joules * 0.97, joules * 1.03),
            marginal_j=None if joules is None else joules * 0.6,
            marginal_ci95=None if joules is None else (joules * 0.57, joules * 0.63),
            idle_w=2.7,
            formula="gross: mean power x time / inferences; marginal: without idle power",
            scope="board",
            work=WORK,
        )
        if joules is not None
        else Energy(
            tier=5,
            source="counts of the graph",
            work=WORK,
            missing={"gross_j": "no meter and no counter", "marginal_j": "no meter and no counter"},
        ),
        "accuracy": {} if accuracy is None else {"map": accuracy},
        "timeline": tuple(
            Moment(
                at_s=float(t),
                temperature_c=float(48 + 14 * (1 - np.exp(-t / 25)) + rng.normal(0, 0.3)),
                mhz=2400.0 if t < 45 or not reasons else 1500.0,
                busy_share=float(abs(rng.normal(0.01, 0.005))),
                watts=None if joules is None else float(6.2 + rng.normal(0, 0.1)),
            )
            for t in range(0, 60, 2)
        ),
        "validity": Validity(status=worst, reasons=tuple(reasons)),  # type: ignore[arg-type]
    }
    return Result(**said | other)


def report(*results: Result, **other: Any) -> Report:
    said: dict[str, Any] = {
        "schema": SCHEMA,
        "created": "2026-03-01T12:00:00Z",
        "model": Subject(name="yolox_nano.edgecv", sha256="ab" * 32, bytes=5 * MB),
        "settings": {"duration_s": 60.0, "processes": 5, "warmup_s": 1.0},
        "environment": ENVIRONMENT,
        "results": results,
    }
    return Report(**said | other)


WORK = Work(macs=540_000_000, bytes_moved=21_500_000, missing={"instructions": "no counter here"})
THROTTLED = Reason(
    code="throttled",
    status="invalid",
    message="throttle bits 0x50005 after the run, 0x0 before: the board was throttled",
)
BUSY = Reason(
    code="busy-machine",
    status="suspect",
    message="other programs took 7.5 % of the CPUs, 5 % is the limit",
)


@cache
def full() -> Report:
    """A matrix with everything in it: a Pareto front, scenarios, a throttled cell, a failure."""
    return report(
        result("fp32", 46.0, accuracy=0.258, joules=0.31, seed=1),
        result("fp32", 38.0, backend="openvino", accuracy=0.258, joules=0.26, seed=2),
        result("int8", 21.0, accuracy=0.241, joules=0.14, seed=3, reasons=[BUSY]),
        result("int8", 17.5, backend="openvino", accuracy=0.247, joules=0.12, seed=4),
        result("int8-float9", 19.5, backend="openvino", accuracy=0.254, joules=0.15, seed=5),
        result("int8", 60.0, backend="openvino", threads=1, accuracy=0.247, joules=0.21, seed=6),
        result("int8", 58.0, backend="litert", accuracy=0.243, joules=0.33, seed=7,
               reasons=[THROTTLED, BUSY]),
        result("int8", 27.0, backend="openvino", scenario="camera", accuracy=0.247, joules=0.19,
               seed=8, samples=100,
               arrivals=Arrivals(rate_hz=30, scheduled=1800, completed=1764, dropped=36,
                                 dropped_share=0.02)),
        result("int8", 17.6, backend="openvino", scenario="server", seed=9, processes=1,
               samples=50),
        failures=(
            Failure(cell="single: fp16 on litert, 4 threads", error="the engine died: SIGILL"),
        ),
    )  # fmt: skip


@cache
def nothing() -> Report:
    """Only failures."""
    return report(failures=(Failure(cell="single: fp32 on onnxruntime", error="no such file"),))


@cache
def hostile() -> Report:
    """Names that would break a page, a table, a formula of a spreadsheet."""
    cell = result(HOSTILE, accuracy=0.2, joules=0.1, reasons=[THROTTLED.replace(message=HOSTILE)])
    return report(
        cell.replace(
            backend="=cmd()", engine=HOSTILE, accuracy={HOSTILE: 0.2}, missing={HOSTILE: HOSTILE}
        ),
        model=Subject(name=HOSTILE),
        environment={HOSTILE: {HOSTILE: [HOSTILE, None]}, "missing": {HOSTILE: HOSTILE}},
        settings={HOSTILE: HOSTILE},
        failures=(Failure(cell=HOSTILE, error=HOSTILE),),
    )


ALL = {"full": full, "nothing": nothing, "hostile": hostile}
