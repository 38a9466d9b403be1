"""``edgecv bench-report``: tables, the page, the comparison and the gate of saved results."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv.bench.report import Report
from edgecv.schema import to_json
from tests import bench_reports
from tests.bench_reports import THROTTLED, report, result
from tests.models import command


def save(path: Path, said: Report) -> Path:
    path.write_bytes(to_json(said))
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "r.json", bench_reports.full())


def test_what_is_printed(saved: Path) -> None:
    ran = command("bench-report", saved)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "yolox_nano.edgecv: 1 failed, 1 invalid, 1 suspect, 7 valid"
    assert lines[1] == "failed: single: fp16 on litert, 4 threads: the engine died: SIGILL"
    assert lines[2].startswith("invalid: int8 · litert · 4t: throttled: throttle bits")
    assert "int8-float9 · openvino · 4t" in ran.out


@pytest.mark.parametrize("name", ["hostile", "nothing"])
def test_every_output_of_every_report(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / "r.json", bench_reports.ALL[name]())
    html, markdown, csv = (tmp_path / f"o.{kind}" for kind in ("html", "md", "csv"))
    ran = command("bench-report", path, "--html", html, "--markdown", markdown, "--csv", csv,
                  "--compare", path)  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert html.read_text().startswith("<!doctype html>")
    assert "## Compared" in markdown.read_text()
    assert csv.read_text().startswith("status,reasons,")
    # The page is not replaced unless asked.
    again = command("bench-report", path, "--html", html)
    assert again.status == 2
    assert "--force replaces it" in again.err
    assert command("bench-report", path, "--html", html, "--force").status == 0


def test_tables_on_standard_output(saved: Path) -> None:
    assert command("bench-report", saved, "--csv", "-").out.startswith("status,reasons")
    assert command("bench-report", saved, "--markdown", "-").out.startswith("# yolox\\_nano.edgecv")
    both = command("bench-report", saved, "--markdown", "-", "--csv", "-")
    assert both.status == 2


def test_the_inputs_are_never_written_over(saved: Path) -> None:
    before = saved.read_bytes()
    for option in ("--html", "--markdown", "--csv"):
        ran = command("bench-report", saved, option, saved, "--force")
        assert ran.status == 2, option
        assert "cannot be written" in ran.err
    assert saved.read_bytes() == before


def test_a_comparison_names_what_changed(tmp_path: Path) -> None:
    before = save(tmp_path / "a.json", report(result(seed=1), result("gone")))
    after = save(tmp_path / "b.json", report(result(p50_ms=30, seed=2)))
    ran = command("bench-report", after, "--compare", before)
    assert "single: int8 on onnxruntime, 4 threads, 1 stream: " in ran.out
    assert "total p50 slower (1.4" in ran.out
    assert "only before: single: gone on onnxruntime" in ran.out


def test_the_gate_sets_the_exit_status(tmp_path: Path) -> None:
    before = save(tmp_path / "a.json", report(result(seed=1)))
    same = save(tmp_path / "b.json", report(result(seed=2)))
    slow = save(tmp_path / "c.json", report(result(p50_ms=30, seed=2)))
    bad = save(tmp_path / "d.json", report(result(seed=2, reasons=[THROTTLED])))
    ran = command("bench-report", same, "--gate", before)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "gate: passed")
    ran = command("bench-report", slow, "--gate", before)
    assert (ran.status, ran.out.splitlines()[-1]) == (1, "gate: failed")
    assert "total p50 got " in ran.out
    assert command("bench-report", slow, "--gate", before, "--tolerance", 1).status == 0
    ran = command("bench-report", bad, "--gate", before, "--csv", "-")
    assert ran.status == 1
    assert "the result is invalid" in ran.err
    assert "gate" not in ran.out


def test_an_older_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"schema": "edgecv.bench/1"}')
    ran = command("bench-report", path)
    assert ran.status == 1
    assert "written by an older edgecv" in ran.err
    assert "measure again" in ran.err
