"""The benchmark: its statistics against brute force, and its worker processes."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.bench import runner, statistics
from edgecv.bench.environment import environment, library_version
from edgecv.bench.runner import Cell, measure
from edgecv.errors import InferenceError
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models

STAGES = ["decode", "preprocess", "infer", "postprocess", "total"]


def test_a_summary_of_known_samples() -> None:
    data = [float(i) for i in range(1, 101)]
    random.Random(3).shuffle(data)
    said = statistics.summarise(data)
    assert list(said) == ["n", "mean", "min", "p50", "p90", "p99", "ci95"]
    assert (said["n"], said["mean"], said["min"], said["p50"]) == (100, 50.5, 1.0, 50.5)
    assert said["p90"] == pytest.approx(np.percentile(data, 90), abs=1e-3)
    assert said["p99"] is None


@pytest.mark.parametrize(
    ("count", "p90", "p99"),
    [(1, False, False), (63, False, False), (64, True, False), (661, True, False),
     (662, True, True)],
)  # fmt: skip
def test_percentiles_have_floors(count: int, p90: bool, p99: bool) -> None:
    said = statistics.summarise([1.0] * count)
    assert said["p50"] == 1.0
    assert (said["p90"] is not None, said["p99"] is not None) == (p90, p99)


def test_no_samples_is_no_number() -> None:
    said = statistics.summarise([])
    assert said.pop("n") == 0
    assert set(said.values()) == {None}


@pytest.mark.parametrize("n", [*range(41), 99, 100, 1001])
def test_the_interval_of_the_median_by_brute_force(n: int) -> None:
    low, high = statistics.median_interval(n)
    total = 2**n

    def coverage(a: int, b: int) -> float:
        # The median lies between the ranks a and b if a + 1 to b samples are below it.
        return sum(math.comb(n, k) for k in range(a + 1, b + 1)) / total

    if low is None or high is None:
        assert (low, high) == (None, None)
        assert n < 6
        # Not even all samples reach 95 %.
        assert n == 0 or coverage(0, n - 1) < 0.95
        return
    assert 0 <= low < high == n - 1 - low
    assert coverage(low, high) >= 0.95
    if low + 1 < n - 2 - low:
        assert coverage(low + 1, high - 1) < 0.95


def test_the_interval_covers_the_median_of_a_skewed_distribution() -> None:
    generator = np.random.default_rng(5)
    low, high = statistics.median_interval(25)
    samples = np.sort(generator.exponential(size=(4000, 25)), axis=1)
    inside = (samples[:, low] <= math.log(2)) & (math.log(2) <= samples[:, high])
    assert inside.mean() > 0.94


def test_drift() -> None:
    assert statistics.drift([1.0] * 29) is None
    assert statistics.drift([1.0] * 30) == 0
    assert statistics.drift([1.0] * 20 + [2.0] * 10) == pytest.approx(1.0)
    assert statistics.drift([2.0] * 15 + [1.0] * 15) == pytest.approx(-0.5)
    # A single outlier is no drift.
    assert statistics.drift([1.0] * 29 + [900.0]) == 0


def test_the_environment_is_json() -> None:
    data = json.loads(json.dumps(environment(), allow_nan=False))
    assert set(data) == {
        "edgecv", "cpu", "cpu_features", "usable_cpus", "memory_bytes", "kernel", "python",
        "libraries", "engines", "load_average", "governor", "board", "machine",
    }  # fmt: skip
    assert data["usable_cpus"] >= 1
    assert data["engines"]["null"]
    assert "numpy" in data["libraries"]
    assert library_version("no-such-distribution") is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    source = models.null_detector(made / "d.null.json")
    models.write_image(made / "a.png", 1)
    models.write_image(made / "b.jpg", 2, (30, 30))
    pack([source], made / "d.edgecv", hints=Hints(head="end2end"), trusted=True)
    return made


def images(folder: Path) -> list[Path]:
    return [folder / "a.png", folder / "b.jpg"]


def test_a_bundle_is_measured_in_processes_of_its_own(folder: Path) -> None:
    words: list[str] = []
    cell = Cell(folder / "d.edgecv", {"threads": 1}, None, "fp32")
    result = measure(
        cell, images(folder), duration_s=0.05, warmup_s=0, cold_starts=2, progress=words.append
    )
    json.dumps(result, allow_nan=False)
    assert list(result) == [
        "scenario", "variant", "backend", "engine", "precision_asked", "precision_actual",
        "threads", "images", "cold_start_ms", "latency_ms", "throughput", "cpu_per_image_ms",
        "memory_bytes", "energy", "validity",
    ]  # fmt: skip
    assert (result["backend"], result["threads"], result["images"]) == ("null", 1, 2)
    assert result["cold_start_ms"]["n"] == len(result["cold_start_ms"]["samples"]) == 2
    assert min(result["cold_start_ms"]["samples"]) > 0
    assert list(result["latency_ms"]) == STAGES
    counts = {stage["n"] for stage in result["latency_ms"].values()}
    assert len(counts) == 1
    assert counts.pop() >= 10
    assert all(stage["p50"] > 0 for stage in result["latency_ms"].values())
    assert result["throughput"] > 0
    memory = result["memory_bytes"]
    assert memory["peak_rss"] >= memory["after_first_result"] > 2**20
    assert result["energy"] == {"tier": None, "reason": "no meter or counter was read"}
    assert words == ["cold start 1 of 2", "steady run"]


def test_hints_reach_the_worker(folder: Path) -> None:
    hints = Hints(
        origin="option", head="end2end", labels=("a", "b"), mean=(1.0,), std=(2.0, 2.0, 2.0),
        head_options={"confidence": 0.5}, resize="letterbox-topleft",
    )  # fmt: skip
    cell = Cell(folder / "d.null.json", {"backend": "null", "threads": None}, hints)
    result = measure(cell, images(folder), duration_s=0.01, warmup_s=0, cold_starts=1)
    assert result["variant"] == "null"
    assert result["precision_asked"] is None


def test_what_the_worker_says_is_wrong_is_raised_here(folder: Path) -> None:
    text = folder / "text.png"
    text.write_text("no image")
    cell = Cell(folder / "d.edgecv", {})
    with pytest.raises(InferenceError, match=r"text\.png"):
        measure(cell, [text], duration_s=0.01, warmup_s=0, cold_starts=1)
    cell = Cell(folder / "d.edgecv", {"variant": "nope"})
    with pytest.raises(InferenceError, match="no such variant"):
        measure(cell, images(folder), duration_s=0.01, warmup_s=0, cold_starts=1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", "died with status -6"),
        ("import sys; sys.exit('bad luck')", "status 1.*bad luck"),
        ("print('{broken'); print('[1]'); print(7)", "it said nothing"),
        ("print('{\"first_result_s\": 1}')", "status 0"),
        (r"import sys; sys.stderr.buffer.write(b'\xff gone'); sys.exit(3)", r"status 3.*gone"),
    ],
)
def test_a_worker_that_dies(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(runner, "_WORKER", code)
    with pytest.raises(InferenceError, match=message):
        measure(Cell(folder / "d.edgecv", {}), images(folder), duration_s=0.01, cold_starts=1)


def test_a_worker_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_WORKER", "import time; time.sleep(60)")
    monkeypatch.setattr(runner, "_TIMEOUT_S", 0.2)
    with pytest.raises(InferenceError, match="timed out"):
        measure(
            Cell(folder / "d.edgecv", {}), images(folder), duration_s=0.01, warmup_s=0,
            cold_starts=1,
        )  # fmt: skip


def test_the_working_folder_is_not_where_the_worker_looks_for_modules(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "cv2", "edgecv", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the folder')")
    monkeypatch.chdir(tmp_path)
    result = measure(
        Cell(folder / "d.edgecv", {}), images(folder), duration_s=0.01, warmup_s=0, cold_starts=1
    )
    assert result["backend"] == "null"


def doubts(**changes: Any) -> list[str]:
    facts: dict[str, Any] = {
        "asked": "fp32", "actual": "fp32", "threads": 2, "samples": [1.0] * 100, "cpu_s": 1.0,
        "elapsed_s": 1.0, **changes,
    }  # fmt: skip
    return runner._doubts(
        Cell(Path("m"), {}, None, facts["asked"]),
        {"precision": facts["actual"], "threads": facts["threads"]},
        {"total": facts["samples"]},
        facts,
    )


def test_what_a_result_is_doubted_for() -> None:
    assert doubts() == []
    assert doubts(asked=None) == []
    (one,) = doubts(samples=[1.0] * 63)
    assert "63, 64 are needed" in one
    (one,) = doubts(samples=[1.0] * 50 + [1.2] * 50)
    assert "drifted by +20%" in one
    (one,) = doubts(actual="bf16")
    assert one == "ran in bf16 where fp32 was asked for"
    (one,) = doubts(actual=None)
    assert "does not tell" in one
    (one,) = doubts(threads=1, cpu_s=0.5)
    assert "no CPU for 50% of the time" in one
    assert doubts(threads=1, cpu_s=0.95) == []
