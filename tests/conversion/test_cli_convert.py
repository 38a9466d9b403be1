"""``edgecv convert``: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecv.converters.report.document import validate
from tests.models import command

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
ONNX = DIGITS / "digits.onnx"
QUICK = (
    "--to", "onnx", "--precision", "fp32", "--no-fused", "--head", "yolo",
    "--labels", DIGITS / "labels.txt", "--data", DIGITS / "data.yaml", "--limit", "8",
    "--bootstrap", "20",
)  # fmt: skip


def test_a_conversion_writes_bundle_json_and_page(tmp_path: Path) -> None:
    bundle, ladder, page = (tmp_path / name for name in ("d.edgecv", "d.json", "d.html"))
    ran = command("convert", ONNX, "-o", bundle, *QUICK, "--json", ladder, "--html", page)
    assert ran.status == 0, ran.err
    assert "onnx-fp32" in ran.out
    assert f"{bundle}: onnx-fp32" in ran.out
    assert "onnx_normalize" in ran.err
    record = validate(json.loads(ladder.read_text()))
    assert record.name == "digits"
    assert [rung.variant for rung in record.rungs] == ["onnx-fp32"]
    assert "<svg" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.edgecv", "d.html", "d.json"]
    again = command("convert", ONNX, "-o", bundle, *QUICK)
    assert again.status == 2
    assert "exists already" in again.err


def test_json_on_standard_output_is_all_there_is(tmp_path: Path) -> None:
    work = tmp_path / "work"
    ran = command("convert", ONNX, "-o", tmp_path / "d", *QUICK, "--json", "-", "--work", work)
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["schema"] == "edgecv.conversion/1"
    assert (tmp_path / "d" / "manifest.json").is_file()
    assert (work / "log.txt").is_file()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--to", "coreml"], "expected some of onnx, openvino, tflite"),
        (["--precision", "int4"], "expected some of fp32"),
        (["--max-drop", "-1"], "--max-drop"),
        (["--data", "nowhere.yaml"], "nowhere.yaml"),
        (["--json", "no/such/folder/x.json"], "its folder does not exist"),
        (["--html", "no/such/folder/x.html"], "folder"),
        (["--input", "big"], "HEIGHTxWIDTH"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    tmp_path: Path, given: list[str], words: str
) -> None:
    ran = command("convert", ONNX, "-o", tmp_path / "d.edgecv", *QUICK, *given)
    assert ran.status == 2
    assert words in ran.err
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    ran = command("convert", tmp_path / "nope.onnx", "-o", tmp_path / "d.edgecv", *QUICK)
    assert ran.status == 2
    assert "nope.onnx" in ran.err
    assert "Traceback" not in ran.err


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Evil()))
    ran = command("convert", tmp_path / "model.pt", "-o", tmp_path / "d.edgecv", *QUICK)
    assert ran.status == 1
    assert "--trust-pickle" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
