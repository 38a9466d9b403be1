"""``edgecv export-metadata`` and ``--from``."""

from __future__ import annotations

from pathlib import Path

from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models


def test_a_model_goes_out_and_comes_back(tmp_path: Path) -> None:
    source = models.onnx_detector(tmp_path / "detector.onnx")
    said = Hints(head="yolo", labels=models.LABELS)
    bundle = pack([source], tmp_path / "d.edgecv", hints=said, trusted=True)
    out = tmp_path / "out"
    ran = models.command("export-metadata", bundle, "--to", "nn_archive", "-o", out)
    assert ran.status == 0
    assert "d.tar.xz" in ran.out or "detector.tar.xz" in ran.out
    assert "not kept: head yolo" in ran.err
    (archive,) = out.iterdir()
    back = tmp_path / "back.edgecv"
    ran = models.command(
        "pack", archive, "-o", back, "--from", "nn_archive", "--head", "yolo", "--trusted"
    )
    assert ran.status == 0, ran.err
    assert back.is_file()


def test_a_folder_that_is_there_and_a_format_without_words_are_bad_use(tmp_path: Path) -> None:
    source = models.onnx_detector(tmp_path / "detector.onnx")
    bundle = pack([source], tmp_path / "d.edgecv", hints=Hints(head="yolo"), trusted=True)
    ran = models.command("export-metadata", bundle, "--to", "model_api", "-o", tmp_path)
    assert (ran.status, "exists already" in ran.err) == (2, True)
    ran = models.command("export-metadata", bundle, "--to", "tflite_metadata", "-o", tmp_path / "n")
    assert (ran.status, "a file ending in .tflite" in ran.err) == (2, True)
