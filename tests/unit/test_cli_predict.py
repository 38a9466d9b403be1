"""``edgecv predict``: images in, lines and pictures out, and what a bad image does to the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgecv import engines
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import Ran, command

STAGES = ["decode", "preprocess", "infer", "postprocess", "total"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundle")
    source = models.null_detector(made / "d.null.json")
    hints = Hints(head="end2end", labels=("cat", "dog"))
    return pack([source], made / "d.edgecv", hints=hints, trusted=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.jpg", "c.webp")):
        models.write_image(folder / name, i, (64 + i, 96))
    return folder


def predict(*args: object) -> Ran:
    return command("predict", *args)


def test_a_line_for_every_image(bundle: Path, photos: Path) -> None:
    ran = predict(bundle, photos)
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{photos / 'a.png'} 96x64: 1x dog, 1x cat (")
    assert lines[0].endswith(" ms)")


def test_json_lines_on_standard_output_and_nothing_else(bundle: Path, photos: Path) -> None:
    ran = predict(bundle, photos / "a.png", photos, "--json", "-")
    assert (ran.status, ran.err) == (0, "")
    assert [Path(line["source"]).name for line in ran.lines] == ["a.png", "b.jpg", "c.webp"]
    first = ran.lines[0]
    assert list(first) == ["source", "size_hw", "detections", "dropped", "timings_ms"]
    assert first["size_hw"] == [64, 96]
    assert [d["label"] for d in first["detections"]] == ["dog", "cat"]
    assert first["detections"][0]["xyxy"] == pytest.approx([10, 10, 50, 40], abs=0.01)
    assert list(first["timings_ms"]) == STAGES


def test_json_to_a_file_and_lines_for_people(bundle: Path, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    ran = predict(bundle, photos / "*.[jp][pn]g", "--json", target)
    assert ran.status == 0
    assert len(ran.out.splitlines()) == 2
    assert [json.loads(line)["size_hw"] for line in target.read_text().splitlines()] == [
        [64, 96], [65, 96],
    ]  # fmt: skip


@pytest.mark.parametrize("json_target", [None, "-"])
def test_a_broken_image_does_not_stop_the_others(
    bundle: Path, photos: Path, json_target: str | None
) -> None:
    bad = photos / "aa.png"
    bad.write_bytes((photos / "a.png").read_bytes()[:60])
    ran = predict(bundle, photos, *(["--json", json_target] if json_target else []))
    assert ran.status == 1
    assert ran.err.startswith(f"error: {bad}: ")
    assert len(ran.err.strip().splitlines()) <= 2
    if json_target is None:
        assert len(ran.out.splitlines()) == 3
        return
    assert len(ran.lines) == 4
    broken = ran.lines[1]
    assert list(broken) == ["source", "error"]
    assert broken["source"] == str(bad)
    assert str(bad) in broken["error"]


def test_only_broken_images(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    ran = predict(bundle, tmp_path / "x.png", "--json", "-")
    assert ran.status == 1
    assert list(ran.lines[0]) == ["source", "error"]


def test_sources_that_name_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, message in (
        (tmp_path / "nope.png", "no such file or folder"),
        (tmp_path / "*.png", "no images here"),
        (tmp_path / "empty", "no images here"),
        ("", "expected a file, folder or glob"),
    ):
        ran = predict(bundle, source)
        assert ran.status == 2
        assert message in ran.err
        assert ran.out == ""


def test_folders_below_a_folder(bundle: Path, photos: Path) -> None:
    ran = predict(bundle, photos.parent)
    assert ran.status == 2
    assert "--recursive" in ran.err
    assert len(predict(bundle, photos.parent, "--recursive").out.splitlines()) == 3


def test_pictures_are_saved(bundle: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    models.write_image(other / "A.png", 9, (10, 12))
    out = tmp_path / "deep" / "out"
    ran = predict(bundle, photos, other, "--save", out)
    assert (ran.status, ran.err) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == ["A-2.jpg", "a.jpg", "b.jpg", "c.jpg"]
    assert f"-> {out / 'a.jpg'}" in ran.out
    drawn = cv2.imread(str(out / "a.jpg"))
    assert drawn.shape == (64, 96, 3)
    assert (drawn != cv2.imread(str(photos / "a.png"))).any()


def test_a_folder_that_cannot_be_saved_to(bundle: Path, photos: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    for target in (blocked, blocked / "below", "/proc/nothing/here"):
        ran = predict(bundle, photos, "--save", target)
        assert ran.status == 2
        assert "--save" in ran.err
        assert ran.out == ""


def test_a_picture_that_cannot_be_written_loses_no_result(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "b.jpg").mkdir(parents=True)
    ran = predict(bundle, photos, "--save", tmp_path / "out", "--json", "-")
    assert ran.status == 1
    assert "b.jpg: cannot be written" in ran.err
    assert [len(line["detections"]) for line in ran.lines] == [2, 2, 2]


def test_thresholds(bundle: Path, photos: Path) -> None:
    ran = predict(bundle, photos / "a.png", "--conf", "0.7", "--json", "-")
    assert [d["score"] for d in ran.lines[0]["detections"]] == pytest.approx([0.9])
    ran = predict(bundle, photos / "a.png", "--conf", "0.95")
    assert ": nothing (" in ran.out


def test_what_was_dropped_is_said(tmp_path: Path, photos: Path) -> None:
    model = models.null_detector(tmp_path / "d.null.json")
    ran = predict(
        model, photos / "a.png", "--trusted", "--head", "end2end",
        "--head-option", "max_detections=1",
    )  # fmt: skip
    assert "1x class 1 (1 dropped: beyond a bound, or not finite)" in ran.out


def test_a_classifier(tmp_path: Path, photos: Path) -> None:
    model = models.null_classifier(tmp_path / "c.null.json")
    args = [model, photos / "a.png", "--trusted", "--head", "softmax"]
    assert "class 1 0.70, class 2 0.20, class 0 0.10 (" in predict(*args).out
    line = predict(*args, "--json", "-").lines[0]
    assert list(line) == ["source", "size_hw", "classes", "timings_ms"]
    ran = predict(*args, "--conf", "0.5")
    assert ran.status == 2
    assert "option confidence: unknown option" in ran.err


def test_every_option_about_a_bare_file_is_understood(tmp_path: Path, photos: Path) -> None:
    model = models.onnx_detector(tmp_path / "d.onnx", batch="N")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    ran = predict(
        model, photos / "a.png", "--trusted", "--head", "yolo", "--task", "detect",
        "--labels", labels, "--resize", "crop", "--crop-ratio", "0.9", "--pad-value", "3",
        "--interpolation", "area", "--color", "bgr", "--mean", "1,2,3", "--std", "200",
        "--size", "64x96", "--head-option", "normalized=false", "--threads", "1",
        "--backend", "openvino", "--precision", "fp32", "--conf", "0.1", "--iou", "0.5",
        "--json", "-",
    )  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    assert {d["label"] for d in ran.lines[0]["detections"]} == {"a", "b"}


def test_an_ambiguous_model_lists_what_it_could_be(tmp_path: Path, photos: Path) -> None:
    model = models.onnx_detector(tmp_path / "d.onnx")
    ran = predict(model, photos / "a.png", "--trusted")
    assert ran.status == 2
    assert "the head cannot be told" in ran.err
    assert "remedy: name it: --head yolo" in ran.err


def test_a_broken_model_is_a_failure(tmp_path: Path, photos: Path) -> None:
    for name, data in (("m.onnx", b"garbage"), ("m.tflite", b""), ("m.xml", b"<net")):
        (tmp_path / name).write_bytes(data)
        ran = predict(tmp_path / name, photos / "a.png", "--trusted")
        assert ran.status == 1, name
        assert ran.err.startswith("error: ")
        assert "Traceback" not in ran.err
        assert ran.out == ""


def test_options_of_a_bundle(bundle: Path, photos: Path) -> None:
    ran = predict(bundle, photos, "--mean", "0")
    assert ran.status == 2
    assert "a bundle says itself how it is fed and read: mean" in ran.err
    ran = predict(bundle, photos, "--variant", "fast")
    assert ran.status == 2
    assert "no such variant" in ran.err
    ran = predict(bundle, photos, "--backend", "openvino")
    assert ran.status == 2
    assert "expected one of null; got 'openvino'" in ran.err


def test_a_damaged_bundle_is_a_failure(bundle: Path, photos: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.edgecv").write_bytes(data)
    ran = predict(tmp_path / "b.edgecv", photos)
    assert ran.status == 1
    assert ran.err.startswith(f"error: {tmp_path / 'b.edgecv'}")


def test_nothing_falls_back_in_silence(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = models.onnx_detector(tmp_path / "d.onnx")
    path = pack([source], tmp_path / "d.edgecv", hints=Hints(head="yolo"), trusted=True)
    monkeypatch.setattr(engines.load_backend("onnxruntime"), "version", lambda: None)
    ran = predict(path, photos / "a.png", "--json", "-")
    assert ran.status == 0
    assert len(ran.lines) == 1
    assert "note: onnxruntime-fp32: onnxruntime is not installed" in ran.err
    monkeypatch.setattr(engines.load_backend("openvino"), "version", lambda: None)
    ran = predict(path, photos / "a.png")
    assert ran.status == 1
    assert "no variant can run here" in ran.err
    assert "pip install 'edgecv[openvino]'" in ran.err


def test_names_that_are_not_utf8(bundle: Path, photos: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    (photos / "a.png").rename(photos / name)
    ran = predict(bundle, photos / name, "--json", "-")
    assert ran.status == 0
    assert ran.lines[0]["source"].endswith("\udcff.png")
    assert predict(bundle, photos / name).out.count("\\udcff.png") == 1
    target = tmp_path / "x.jsonl"
    assert predict(bundle, photos / name, "--json", target, "--save", tmp_path / "o").status == 0
    assert json.loads(target.read_text())["source"].endswith("\udcff.png")


def test_labels_of_other_scripts(tmp_path: Path, photos: Path) -> None:
    model = models.null_classifier(tmp_path / "c.null.json")
    labels = tmp_path / "l.txt"
    labels.write_text("猫\nhund\nÄffchen\n", encoding="utf-8")
    args: list[Any] = [model, photos / "a.png", "--trusted", "--head", "softmax"]
    ran = predict(*args, "--labels", labels, "--json", "-")
    assert "猫" in ran.out
    assert predict(*args, "--labels", labels, "--save", tmp_path / "o").status == 0


def test_nothing_that_is_read_is_written_over(tmp_path: Path) -> None:
    model = models.null_detector(tmp_path / "m.null.json")
    bundle = tmp_path / "bundle.edgecv"
    packed = models.command("pack", model, "-o", bundle, "--head", "end2end", "--trusted")
    assert packed.status == 0, packed.err
    photos = tmp_path / "photos"
    photos.mkdir()
    photo = models.write_image(photos / "a.jpg")
    before = photo.read_bytes(), bundle.read_bytes()
    for target in (bundle, photo):
        ran = models.command("predict", bundle, photo, "--json", target)
        assert ran.status == 2
        assert "the command reads it" in ran.err
    assert models.command("info", bundle, "--json", bundle).status == 2
    ran = models.command("predict", bundle, photos, "--save", photos)
    assert ran.status == 2
    assert "would be written over" in ran.err
    assert before == (photo.read_bytes(), bundle.read_bytes())


def test_tiles(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """The null detector says the same of every tile: x from 10 to 50 and from 60 to 90."""
    wide = models.write_image(tmp_path / "wide.png", 1, (64, 250))
    one = predict(bundle, wide, "--json", "-").lines[0]
    many = predict(bundle, wide, "--tile", "64x96", "--json", "-").lines[0]
    assert len(one["detections"]) == 2
    assert len(many["detections"]) > 4
    assert list(many) == list(one)
    lefts = sorted(d["xyxy"][0] for d in many["detections"] if d["label"] == "dog")
    assert lefts == pytest.approx([10, 61, 112, 164], abs=0.1)
    ran = predict(bundle, wide, "--tile", "96", "--overlap", "0.5", "--whole", "--save", tmp_path)
    assert ran.status == 2
    ran = predict(bundle, wide, "--tile", "96", "--overlap", "0.5", "--whole")
    assert (ran.status, ran.err) == (0, "")
    assert "dog" in ran.out


@pytest.mark.parametrize("options", [["--overlap", "0.3"], ["--whole"], ["--overlap", "0"]])
def test_options_of_tiles_without_tiles(bundle: Path, photos: Path, options: list[str]) -> None:
    ran = predict(bundle, photos, *options)
    assert ran.status == 2
    assert "give --tile" in ran.err


def test_a_classifier_has_nothing_to_merge(tmp_path: Path, photos: Path) -> None:
    model = models.null_classifier(tmp_path / "c.null.json")
    ran = predict(model, photos, "--trusted", "--head", "softmax", "--tile", "32")
    assert ran.status == 2
    assert "only results that are detections" in ran.err
