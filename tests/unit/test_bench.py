"""The benchmark's processes: what they measure, and what happens when they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecv import schema
from edgecv.bench import process, runner
from edgecv.bench.cell import Cell, Settings
from edgecv.bench.environment import environment, library_version
from edgecv.bench.report import Work
from edgecv.bench.runner import measure
from edgecv.errors import InferenceError, UsageError
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models

STAGES = ["decode", "preprocess", "infer", "postprocess", "total"]


def test_the_environment_is_json() -> None:
    data = json.loads(json.dumps(environment(), allow_nan=False))
    assert set(data) == {
        "edgecv", "cpu", "cpu_features", "cpus", "usable_cpus", "cpu_quota", "memory_bytes",
        "kernel", "libc", "python", "libraries", "engines", "load_average", "governor", "board",
        "machine", "missing",
    }  # fmt: skip
    assert {name for name, value in data.items() if value is None} == set(data["missing"])
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


def quick(**changes: Any) -> Settings:
    return Settings(
        **{"duration_s": 0.06, "warmup_s": 0.0, "processes": 2, "cold_starts": 1, "memory": False,
           **changes}
    )  # fmt: skip


def test_a_bundle_is_measured_in_processes_of_its_own(folder: Path) -> None:
    words: list[str] = []
    cell = Cell(model=folder / "d.edgecv", load={"threads": 1}, asked_precision="fp32")
    settings = quick(cold_starts=3, memory=True)
    counted: dict[tuple[str, str], Work] = {}
    result = measure(cell, images(folder), settings, counted=counted, progress=words.append)
    raw = json.loads(schema.to_json(result))
    assert schema.validate(type(result), raw, "", UsageError) == result
    assert (result.scenario, result.backend, result.threads) == ("single", "null", 1)
    assert (result.images, result.processes, result.streams) == (2, 2, 1)
    assert result.cold_start_ms.n == len(result.cold_start_ms.samples) == 3
    assert min(result.cold_start_ms.samples) > 0
    assert list(result.latency_ms) == STAGES
    counts = {stage.n for stage in result.latency_ms.values()}
    assert len(counts) == 1
    assert counts.pop() >= 20
    assert all(stage.p50 and stage.p50 > 0 for stage in result.latency_ms.values())
    assert len(result.process_p50_ms) == 2
    assert result.throughput
    assert sum(result.distribution_ms.counts) == result.latency_ms["total"].n
    memory = result.memory_bytes
    assert list(memory.phases) == ["import", "load", "first", "steady"]
    for phase in memory.phases.values():
        assert (phase.rss or 0) >= (phase.pss or 0) >= (phase.uss or 0) > 2**20
    assert memory.peak_rss
    assert memory.model_file
    assert "leak_per_minute" in memory.missing
    assert result.energy.tier in range(1, 6)
    assert (result.energy.gross_j is None) == ("gross_j" in result.energy.missing)
    assert result.energy.work.missing["macs"].startswith("nothing reads the graph of")
    assert counted == {("null-fp32", "null"): result.energy.work}
    assert result.timeline
    assert words == ["cold start 1 of 1", "process 1 of 2", "process 2 of 2", "memory"]


@pytest.mark.parametrize("scenario", ["server", "camera", "multistream", "offline", "cold"])
def test_the_other_scenarios(folder: Path, scenario: str) -> None:
    cell = Cell(model=folder / "d.edgecv", scenario=scenario, streams=2)
    settings, counted = quick(processes=1, cold_starts=2, rate_hz=100.0), Work(macs=7)
    result = measure(cell, images(folder), settings, counted={("null-fp32", "null"): counted})
    assert (result.scenario, result.energy.work) == (scenario, counted)
    assert (result.arrivals is not None) == (scenario in ("server", "camera"))
    if scenario == "cold":
        assert list(result.latency_ms) == ["import", "load", "first", "total"]
        assert result.latency_ms["total"].n == result.processes == 2
        parts = sum(result.latency_ms[s].mean or 0 for s in ("import", "load", "first"))
        assert parts < (result.latency_ms["total"].mean or 0)
    else:
        assert list(result.latency_ms) == STAGES
    if result.arrivals is not None:
        assert result.arrivals.rate_hz == pytest.approx(100.0)
        assert result.arrivals.scheduled >= 10


def test_hints_reach_the_worker(folder: Path) -> None:
    hints = Hints(
        origin="option", head="end2end", labels=("a", "b"), mean=(1.0,), std=(2.0, 2.0, 2.0),
        head_options={"confidence": 0.5}, resize="letterbox-topleft",
    )  # fmt: skip
    cell = Cell(
        model=folder / "d.null.json", load={"backend": "null", "threads": None}, hints=hints
    )
    result = measure(cell, images(folder), quick())
    assert result.variant == "null"
    assert result.precision_asked is None


def test_another_precision_than_asked_is_invalid(folder: Path) -> None:
    cell = Cell(model=folder / "d.edgecv", asked_precision="bf16")
    validity = measure(cell, images(folder), quick()).validity
    assert validity.status == "invalid"
    assert "precision" in [reason.code for reason in validity.reasons]


def test_what_the_worker_says_is_wrong_is_raised_here(folder: Path) -> None:
    text = folder / "text.png"
    text.write_text("no image")
    cell = Cell(model=folder / "d.edgecv")
    with pytest.raises(InferenceError, match=r"text\.png"):
        measure(cell, [text], quick())
    cell = Cell(model=folder / "d.edgecv", load={"variant": "nope"})
    with pytest.raises(InferenceError, match="no such variant"):
        measure(cell, images(folder), quick())


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
        measure(Cell(model=folder / "d.edgecv"), images(folder), quick())


def test_a_worker_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_WORKER", "import time; time.sleep(60)")
    monkeypatch.setattr(process, "TIMEOUT_S", 0.2)
    with pytest.raises(InferenceError, match="timed out"):
        measure(Cell(model=folder / "d.edgecv"), images(folder), quick(cold_starts=3))


def test_the_working_folder_is_not_where_the_worker_looks_for_modules(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "cv2", "edgecv", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the folder')")
    monkeypatch.chdir(tmp_path)
    assert measure(Cell(model=folder / "d.edgecv"), images(folder), quick()).backend == "null"
