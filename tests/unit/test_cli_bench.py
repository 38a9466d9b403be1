"""``edgecv bench``: the matrix it lays out, its report and its failures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from edgecv.bench import words
from edgecv.bench.cell import Settings
from edgecv.bench.saved import read
from edgecv.cli import bench_matrix as matrix
from edgecv.cli import bench_outputs, bench_progress
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import bench_reports, models
from tests.models import Ran, command

QUICK = ("--duration", "0.1", "--warmup", "0", "--cold-starts", "1", "--processes", "1")

SHORT = Settings(duration_s=0.1, warmup_s=0, cold_starts=1, processes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    sources = [models.null_detector(made / f"{name}.null.json") for name in ("one", "two")]
    golden = [models.write_image(made / "a.png", 1)]
    hints = Hints(head="end2end")
    pack(sources, made / "two.edgecv", hints=hints, golden=golden, trusted=True)
    pack(sources[:1], made / "bare.edgecv", hints=hints, trusted=True)
    return made


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def bench(*args: object) -> Ran:
    return command("bench", *args, *QUICK)


def test_every_variant_with_every_number_of_threads(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    ran = bench(folder / "two.edgecv", "--threads", "1,2", "--json", target)
    assert ran.status == 0
    report = json.loads(target.read_text())
    assert (report["schema"], report["model"]["name"]) == ("edgecv.bench/2", "two.edgecv")
    assert report == read(target).to_dict()
    assert report["failures"] == []
    assert [(r["variant"], r["threads"]) for r in report["results"]] == [
        ("null-fp32", 1), ("null-fp32", 2), ("null-fp32-2", 1), ("null-fp32-2", 2),
    ]  # fmt: skip
    for text in (
        "null-fp32-2",
        "cold start ms",
        "peak MiB",
        "postprocess",
        "energy: tier",
        "work, tier 5, for ranking only: null-fp32 · null: no MACs: nothing reads",
    ):
        assert text in ran.out.replace("\n", " "), text


def test_a_bare_file_and_json_alone_on_standard_output(folder: Path) -> None:
    ran = bench(
        folder / "one.null.json", "--head", "end2end", "--trusted", "--data", folder,
        "--backend", "all", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0
    report = json.loads(ran.out)
    assert [r["backend"] for r in report["results"]] == ["null"]
    assert report["results"][0]["images"] == 1


def test_a_configuration_that_fails_is_reported(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("nothing")
    target = tmp_path / "report.json"
    ran = bench(folder / "bare.edgecv", "--data", tmp_path / "bad.png", "--json", target)
    assert ran.status == 1
    assert ran.err.count("error: single, null-fp32: ") == 1
    report = json.loads(target.read_text())
    assert report["results"] == []
    assert [failure["cell"] for failure in report["failures"]] == ["single, null-fp32"]
    assert "bad.png" in report["failures"][0]["error"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["bare.edgecv"], "there is nothing to measure with"),
        (["one.null.json"], "--data"),
        (["two.edgecv", "--threads", "0"], "--threads: expected numbers such as 1,2,4; got '0'"),
        (["two.edgecv", "--threads", "1,,2"], "--threads"),
        (["two.edgecv", "--threads", "many"], "--threads"),
        (["two.edgecv", "--streams", "2"], "only multistream and server"),
        (["two.edgecv", "--rate", "5"], "--rate: only server keeps it"),
        (["two.edgecv", "--fps", "5", "--scenario", "server"], "--fps: only camera keeps it"),
        (["two.edgecv", "--target", "toaster"], "no such target"),
        (["two.edgecv", "--calibration", "none.json"], "none.json: cannot be read"),
        (["two.edgecv", "--variant", "nope"], "no such variant"),
        (["two.edgecv", "--backend", "litert"], "expected one of null"),
        (["two.edgecv", "--mean", "1"], "a bundle says itself"),
        (["one.null.json", "--data", "a.png", "--variant", "x"], "has no variants"),
        (["one.null.json", "--data", "a.png", "--backend", "litert"], "litert does not open"),
        (["one.null.json", "--data", "nope.png"], "no such file"),
    ],
)
def test_bad_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    ran = bench(*args)
    assert ran.status == 2
    assert message in ran.err
    assert ran.out == ""


def test_a_head_that_cannot_be_told_fails_with_its_remedy(folder: Path) -> None:
    model = models.onnx_detector(folder / "d.onnx")
    ran = bench(model, "--data", folder / "a.png", "--trusted")
    assert ran.status == 1
    assert "the head cannot be told" in ran.err
    assert "--head yolo" in ran.err


def test_scenarios_streams_and_reports(folder: Path, tmp_path: Path) -> None:
    saved, page = tmp_path / "saved.json", tmp_path / "page.html"
    ran = bench(
        folder / "bare.edgecv", "--data", folder / "a.png", "--scenario", "multistream",
        "--scenario", "camera", "--streams", "1,2", "--fps", "200", "--json", saved,
        "--html", page, "--markdown", tmp_path / "r.md", "--csv", tmp_path / "r.csv",
    )  # fmt: skip
    assert ran.status == 0
    assert [(r.scenario, r.streams) for r in read(saved).results] == [
        ("multistream", 1), ("multistream", 2), ("camera", 1),
    ]  # fmt: skip
    assert page.read_text().startswith("<!doctype html>")
    assert "camera" in (tmp_path / "r.md").read_text()
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 4
    again = bench(
        folder / "bare.edgecv", "--data", folder / "a.png", "--compare", saved, "--gate", saved
    )
    # Two scenarios of the baseline are missing, so nothing proves that they are as good.
    assert again.status == 1
    assert "gate: failed" in again.err
    assert "multistream" in again.err


def test_bad_durations_and_saved_runs(folder: Path) -> None:
    for text in ("forever", "0.01", "3601"):
        ran = command("bench", folder / "two.edgecv", "--duration", text)
        assert ran.status == 2
        assert "--duration: expected smoke (10 s)" in ran.err
    ran = bench(folder / "two.edgecv", "--compare", folder / "none.json")
    assert ran.status == 1
    assert "none.json: cannot be read" in ran.err


def test_no_output_is_written_over_what_is_read(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time,W\n")
    for option in ("--usb-log", "--calibration"):
        ran = bench(folder / "two.edgecv", option, log, "--csv", log)
        assert (ran.status, log.read_text()) == (2, "time,W\n")
        assert "the command reads it" in ran.err


def test_what_is_no_log_is_told_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    for log in (tmp_path / "none.csv", folder / "a.png"):
        ran = bench(folder / "two.edgecv", "--usb-log", log, "--json", target)
        assert ran.status == 2
        assert ran.err.startswith(f"error: {log}")
        assert not target.exists()


def test_another_board_than_this_one(folder: Path) -> None:
    ran = bench(folder / "two.edgecv", "--target", "rpi-zero-2w")
    assert ran.status == 0
    assert "not rpi-zero-2w" in ran.err
    # What would run there is said as `edgecv plan` says it.
    assert "Raspberry Pi Zero 2 W" in ran.err
    assert "null-fp32-2" in ran.err


def test_a_table_grows_on_a_terminal(folder: Path) -> None:
    screen = Console(file=Terminal(), force_terminal=True, width=140, height=24)
    cells = matrix.cells(
        folder / "two.edgecv", Hints(), trusted=True, variant="null-fp32", backend=None,
        scenarios=["single"], threads=[1, 2], streams=[1],
    )  # fmt: skip
    seen: list[str] = []

    class Watched(bench_progress.GrowingTable):
        def now(self, title: str, word: str) -> None:
            super().now(title, word)
            with screen.capture() as capture:
                screen.print(self)
            seen.append(capture.get())

    watched = Watched(screen)
    with watched.shown():
        results, failures = bench_progress.measure_all(
            cells, [folder / "a.png"], SHORT, {}, watched, usual_starts=False,
        )  # fmt: skip
    assert (len(results), failures) == (2, [])
    assert "null-fp32" in seen[0]
    assert "1 of 2" in seen[0]
    assert "p50 ms" not in seen[0]
    assert "2 of 2" in seen[-1]
    assert "p50 ms" in seen[-1]
    assert "2 of 2" in screen.file.getvalue()  # type: ignore[attr-defined]
    for number in range(40):
        watched.done(bench_reports.result(variant=f"v{number}"))
    with screen.capture() as capture:
        screen.print(watched)
    drawn = capture.get()
    assert len(drawn.splitlines()) < screen.height
    assert "2 of 2" in drawn
    assert "v39" in drawn


def test_nothing_is_drawn_into_a_file() -> None:
    # FORCE_COLOR makes rich take any stream for a terminal.
    screen = Console(file=io.StringIO(), force_terminal=True)
    growing = bench_progress.GrowingTable(screen)
    with growing.shown():
        growing.now("1 of 1", "loading")
        growing.done(bench_reports.result())
    assert screen.file.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 100, 10_000])
def test_what_has_no_room_is_named(width: int) -> None:
    results = [bench_reports.result(), bench_reports.result(variant="b")]
    table, left_out = bench_outputs.results_table(results, width)
    shown = [str(column.header) for column in table.columns]
    everything = [column.title for column in words.columns(results)]
    assert [title for title in everything if title in shown] == shown[2:]
    assert sorted(shown[2:] + left_out) == sorted(everything)
    assert {"cell", "validity", "p50 ms", "results/s"} <= set(shown)
    assert bool(left_out) == (width < 200)
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert width < 80 or len(lines) == 4 + len(results)
