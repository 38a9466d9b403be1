"""``edgecv convert --target``: what is left out for a board is not tried, and is written down."""

from __future__ import annotations

import json
from pathlib import Path

from edgecv.converters.report.document import validate
from tests.models import command

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits"
QUICK = (
    "--no-fused", "--head", "yolo", "--labels", DIGITS / "labels.txt", "--data",
    DIGITS / "data.yaml", "--limit", "4", "--bootstrap", "0",
)  # fmt: skip


def test_a_conversion_for_a_board(tmp_path: Path) -> None:
    ladder = tmp_path / "d.json"
    ran = command(
        "convert", DIGITS / "digits.onnx", "-o", tmp_path / "d.edgecv", *QUICK, "--to", "onnx",
        "--precision", "fp32,fp16", "--target", "rpi4", "--json", ladder,
    )  # fmt: skip
    assert ran.status == 0, ran.err
    record = validate(json.loads(ladder.read_text()))
    assert record.target == "rpi4"
    assert record.notes[0] == "made for rpi4; every speed was measured on this machine, not there"
    assert record.notes[1].startswith("onnx in fp16 is left out for rpi4: The core has no half")
    assert [rung.precision for rung in record.rungs] == ["fp32"]
    assert "onnx in fp16 is left out for rpi4" in ran.err
    assert "note: made for rpi4" in command("report", tmp_path / "d.edgecv").out


def test_what_is_left_out_needs_no_proof(tmp_path: Path) -> None:
    words = ("--to", "onnx", "--precision", "fp32,fp16", "--no-fused", "--head", "yolo")
    source = DIGITS / "digits.onnx"
    ran = command("convert", source, "-o", tmp_path / "d", *words)
    assert "no data to prove fp16 with" in ran.err
    ran = command("convert", source, "-o", tmp_path / "d", *words, "--target", "rpi4")
    assert ran.status == 0, ran.err


def test_what_makes_no_sense_there_is_refused_at_once(tmp_path: Path) -> None:
    asked = ("--to", "openvino", "--precision", "bf16")
    source = DIGITS / "digits.onnx"
    ran = command("convert", source, "-o", tmp_path / "d", *QUICK, *asked, "--target", "rpi4")
    assert ran.status == 2
    assert "nothing that was asked for makes sense there" in ran.err
    ran = command("convert", source, "-o", tmp_path / "d", *QUICK, "--target", "rpi6")
    assert ran.status == 2
    assert "no such target" in ran.err
    assert not list(tmp_path.iterdir())
