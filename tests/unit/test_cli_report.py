"""``edgecv report``: the table, the page, the record, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.conversion import ladders
from tests.models import command

PAGE = Path(__file__).parents[2] / "docs/report.md"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ladders.bundle(tmp_path_factory.mktemp("report") / "b.edgecv", ladders.yolox())


def test_the_ladder_as_a_table(bundle: Path) -> None:
    ran = command("report", bundle)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith(
        "yolox_nano (detect): map 0.343 (0.301 to 0.389) in float on coco128"
    )
    for text in (
        "calibration: ranges, fixes and layers chosen: coco128 train, 100 images",
        "0.30 (-0.30 to 1.00)", "1.63x", "drop 24.80 points, 0.50 allowed; scores saturate",
        "note: 5 calibration images were too small",
    ):  # fmt: skip
        assert text in ran.out
    order = [ran.out.index(f"\n{backend}\n") for backend in ("onnxruntime", "openvino", "litert")]
    assert order == sorted(order)
    shipped = [line for line in lines if line.startswith("  *   ")]
    assert [line.split()[1] for line in shipped] == [
        "onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "openvino-bf16-fused",
        "openvino-int8-float9",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ladders.ALL)
def test_every_ladder_can_be_shown(name: str, tmp_path: Path) -> None:
    path = tmp_path / "ladder.json"
    path.write_bytes(ladders.encode(ladders.ALL[name]()))
    ran = command("report", path)
    assert (ran.status, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    rungs = ladders.ALL[name]()["rungs"]
    assert ran.out.count("\n  ") - 2 * len({r["backend"] for r in rungs}) >= len(rungs)


def test_the_record(bundle: Path, tmp_path: Path) -> None:
    ran = command("report", bundle, "--json", "-")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == ladders.yolox()
    ran = command("report", bundle, "--json", tmp_path / "c.json")
    assert "yolox_nano (detect)" in ran.out
    assert (tmp_path / "c.json").read_text() == json.dumps(
        ladders.yolox(), indent=2, ensure_ascii=False
    ) + "\n"
    again = command("report", tmp_path / "c.json", "--json", "-")
    assert json.loads(again.out) == ladders.yolox()
    ran = command("report", tmp_path / "c.json", "--json", tmp_path / "c.json")
    assert (ran.status, ran.out) == (2, "")
    assert "the command reads it" in ran.err


def test_the_page(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    ran = command("report", bundle, "--html", target)
    assert (ran.status, ran.err) == (0, "")
    assert f"page: {target}" in ran.out
    text = target.read_text()
    assert text.startswith("<!doctype html>")
    assert "data:image/jpeg;base64," in text
    before = target.stat().st_mtime_ns
    ran = command("report", bundle, "--html", target)
    assert (ran.status, ran.out) == (2, "")
    assert "it exists already\n  remedy: --force replaces it" in ran.err
    assert target.stat().st_mtime_ns == before
    assert command("report", bundle, "--html", target, "--force", "--json", "-").status == 0
    assert target.read_text() == text
    ran = command("report", bundle, "--html", bundle, "--force")
    assert (ran.status, "the report is made of it" in ran.err) == (2, True)


def test_what_has_no_ladder(tmp_path: Path) -> None:
    packed = ladders.bundle(tmp_path / "packed.edgecv")
    ran = command("report", packed, "--html", tmp_path / "x.html")
    assert (ran.status, ran.out) == (2, "")
    assert "packed, not converted: there is no ladder in it" in ran.err
    assert not (tmp_path / "x.html").exists()
    assert command("report", tmp_path / "nothing").status == 2
    broken = ladders.bundle(tmp_path / "broken.edgecv", b'{"schema": "edgecv.conversion/1"}')
    ran = command("report", broken)
    assert ran.status == 1
    assert "broken.edgecv: report/conversion.json: name: missing field" in ran.err


def test_without_the_libraries(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    assert command("report", bundle).status == 0, "the table needs neither"
    ran = command("report", bundle, "--html", tmp_path / "page.html")
    assert (ran.status, ran.out) == (1, "")
    assert "pip install 'edgecv[report]'" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_the_commands_of_the_page_in_docs(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolox.edgecv").write_bytes(bundle.read_bytes())
    lines = re.findall(r"^    \$ edgecv (report .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        ran = command(*shlex.split(line))
        assert (ran.status, ran.err) == (0, ""), line
