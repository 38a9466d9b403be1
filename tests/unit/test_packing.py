"""Bundles made from model files: what goes in, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv import engines
from edgecv.bundle import Bundle, open_bundle
from edgecv.errors import (
    BackendMissingError,
    ImageError,
    ManifestError,
    ModelLoadError,
    UsageError,
)
from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models

HINTS = Hints(head="yolo", labels=models.LABELS)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return models.onnx_detector(tmp_path / "detector.onnx")


def made(path: Path, *sources: Path, **options: Any) -> Bundle:
    """Pack trusted files and open what was written."""
    return open_bundle(pack(sources, path, trusted=True, **{"hints": HINTS, **options}))


@pytest.mark.parametrize("name", ["b.edgecv", "b", "deep/er/b.edgecv"])
def test_one_file_makes_a_variant_for_every_engine(
    tmp_path: Path, detector: Path, name: str
) -> None:
    with made(tmp_path / name, detector) as bundle:
        manifest = bundle.manifest
        assert bundle.is_archive == name.endswith(".edgecv")
        assert [v.backend for v in manifest.variants] == ["onnxruntime", "openvino"]
        # The file is stored once.
        assert {e.path for e in manifest.files()} == {"models/detector.onnx"}
        assert (manifest.name, manifest.task, manifest.version) == ("detector", "detect", "1")
        assert manifest.labels == models.LABELS
        assert manifest.head.name == "yolo"
        assert manifest.golden == ()
        digest = hashlib.sha256(detector.read_bytes()).hexdigest()
        assert manifest.provenance.sources == {"models/detector.onnx": digest}
        assert set(manifest.provenance.versions) == {"onnxruntime", "openvino"}
        assert all(manifest.provenance.versions.values())
        assert manifest.provenance.tool == f"edgecv {edgecv.__version__}"
        assert manifest.variants[0].inputs[0].shape == (1, 3, *models.SIZE_HW)
        assert manifest.variants[0].layout == "NCHW"
    # Nothing is left beside it.
    assert {p.name for p in (tmp_path / name).parent.iterdir()} <= {
        "b", "b.edgecv", "detector.onnx",
    }  # fmt: skip


def test_a_packed_model_is_the_bare_model(tmp_path: Path, detector: Path) -> None:
    hints = Hints(
        head="yolo", labels=models.LABELS, color="bgr", mean=(3.0,), std=(200.0,), pad_value=7,
        head_options={"confidence": 0.1, "iou": 0.6}, resize="letterbox-topleft",
    )  # fmt: skip
    path = pack([detector], tmp_path / "b.edgecv", hints=hints, trusted=True)
    with edgecv.load(path) as packed, edgecv.load(detector, hints=hints, trusted=True) as bare:
        assert packed.info.input == bare.info.input
        assert packed.options == bare.options
        image = models.image(hw=(30, 30))
        a, b = packed(image), bare(image)
        assert a.value.to_json(a.labels) == b.value.to_json(b.labels)


def test_several_files_are_variants_in_their_order(tmp_path: Path, detector: Path) -> None:
    other = models.onnx_detector(tmp_path / "other.onnx", gain=0.99)
    with made(tmp_path / "b", other, detector, backends=["onnxruntime"]) as bundle:
        ids = [v.id for v in bundle.manifest.variants]
        files = [v.files[0].path for v in bundle.manifest.variants]
        assert len(set(ids)) == 2
        assert ids[1] == f"{ids[0]}-2"
        assert files == ["models/other.onnx", "models/detector.onnx"]
        assert bundle.manifest.name == "other"


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path: Path, detector: Path) -> None:
    for folder, name in (("x", "detector.onnx"), ("y", "DETECTOR.onnx")):
        (tmp_path / folder).mkdir()
        models.onnx_detector(tmp_path / folder / name, gain=0.5 if folder == "x" else 0.7)
    sources = [detector, tmp_path / "x" / "detector.onnx", tmp_path / "y" / "DETECTOR.onnx"]
    path = pack(sources, tmp_path / "b", hints=HINTS, backends=["onnxruntime"], trusted=True)
    with open_bundle(path) as bundle:
        variants = bundle.manifest.variants
        assert len({e.path.casefold() for e in bundle.manifest.files()}) == 3
    tops = []
    for variant in variants:
        with edgecv.load(path, variant=variant.id) as model:
            tops.append(float(model(models.image(color=255)).detections.score[0]))
    assert tops == pytest.approx([0.9, 0.45, 0.63], abs=1e-3)


def test_openvino_files_come_with_their_weights(tmp_path: Path) -> None:
    xml = models.openvino_detector(tmp_path, models.ultralytics())
    with made(tmp_path / "b.edgecv", xml, hints=Hints()) as bundle:
        (variant,) = bundle.manifest.variants
        assert [e.path for e in variant.files] == ["models/model.xml", "models/model.bin"]
        assert bundle.manifest.card.license == "AGPL-3.0"
        assert bundle.manifest.card.description.startswith("Ultralytics")
    with edgecv.load(tmp_path / "b.edgecv") as model:
        assert len(model(models.image(color=255)).detections) == 2


def test_only_the_backends_asked_for(tmp_path: Path, detector: Path) -> None:
    with made(tmp_path / "b", detector, backends=["openvino"]) as bundle:
        assert [v.backend for v in bundle.manifest.variants] == ["openvino"]
    with pytest.raises(UsageError, match="litert does not open"):
        pack([detector], tmp_path / "c", hints=HINTS, backends=["litert"], trusted=True)
    with pytest.raises(UsageError, match="got 'nope'"):
        pack([detector], tmp_path / "c", hints=HINTS, backends=["nope"], trusted=True)


def test_without_engines(tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.load_backend("onnxruntime"), "version", lambda: None)
    with made(tmp_path / "b", detector) as bundle:
        assert [v.backend for v in bundle.manifest.variants] == ["openvino"]
    monkeypatch.setattr(engines.load_backend("openvino"), "version", lambda: None)
    with pytest.raises(BackendMissingError, match="expected onnxruntime or openvino") as caught:
        pack([detector], tmp_path / "c", hints=HINTS, trusted=True)
    assert caught.value.remedy == "pip install edgecv"


def test_what_a_user_says_about_the_model(tmp_path: Path, detector: Path) -> None:
    hints = Hints(head="yolo", name="Mine", license="MIT", description="What it does.")
    with made(tmp_path / "b", detector, hints=hints, version="2.1") as bundle:
        manifest = bundle.manifest
        assert (manifest.name, manifest.version) == ("Mine", "2.1")
        assert (manifest.card.license, manifest.card.description) == ("MIT", "What it does.")


def test_the_null_backend_can_be_packed(tmp_path: Path) -> None:
    path = models.null_classifier(tmp_path / "c.null.json")
    with made(tmp_path / "b", path, hints=Hints(head="softmax")) as bundle:
        assert bundle.manifest.provenance.versions == {"edgecv": "1"}


@pytest.mark.parametrize(
    ("make", "field", "shown"),
    [
        (lambda p: models.null_model(p, [models.tensor("y", [1, 4])]), None, None),
        (
            lambda p: models.null_classifier(p, inputs=[models.tensor("x", [1, 3, 8, 8])]),
            "input",
            "size_hw (8, 8)",
        ),
    ],
)
def test_files_that_contradict_each_other(
    tmp_path: Path, make: Any, field: str | None, shown: str | None
) -> None:
    first = models.null_classifier(tmp_path / "a.null.json")
    other = make(tmp_path / "b.null.json")
    hints = Hints(head="softmax")
    if field is None:
        # The number of classes is no part of what a bundle says once.
        made(tmp_path / "out", first, other, hints=hints).close()
        return
    with pytest.raises(UsageError, match=f"the model files differ in their {field}") as caught:
        pack([first, other], tmp_path / "out", hints=hints, trusted=True)
    error = caught.value
    assert error.where == f"{other} (null)"
    assert error.got == shown
    assert error.expected == f"as in a.null.json (null): size_hw {models.SIZE_HW}"
    assert not (tmp_path / "out").exists()


def test_labels_that_contradict_each_other(tmp_path: Path) -> None:
    sources = [
        models.onnx_detector(
            tmp_path / f"{i}.onnx",
            metadata=models.as_properties(models.ultralytics(names=[f"{i}a", "b", "c"])),
        )
        for i in range(2)
    ]
    with pytest.raises(UsageError, match="differ in their labels") as caught:
        pack(sources, tmp_path / "out", backends=["onnxruntime"], trusted=True)
    assert "1a" in (caught.value.got or "")
    # One word of the user's settles it.
    with made(tmp_path / "out", *sources, hints=Hints(labels=models.LABELS)) as bundle:
        assert bundle.manifest.labels == models.LABELS


def test_what_cannot_be_packed(tmp_path: Path, detector: Path) -> None:
    out = tmp_path / "out.edgecv"
    with pytest.raises(UsageError, match="no model file was given"):
        pack([], out)
    with pytest.raises(UsageError, match="no such file or folder"):
        pack([tmp_path / "nope.onnx"], out)
    with pytest.raises(UsageError, match="no backend opens"):
        pack([models.write_image(tmp_path / "a.png")], out)
    with pytest.raises(UsageError, match="2 labels do not fit"):
        pack([detector], out, hints=Hints(head="yolo", labels=("a", "b")), trusted=True)
    with pytest.raises(UsageError, match=r"std\[0\]"):
        pack([detector], out, hints=Hints(head="yolo", std=(0.0,)), trusted=True)
    with pytest.raises(UsageError, match="option nope"):
        pack([detector], out, hints=Hints(head="yolo", head_options={"nope": 1}), trusted=True)
    broken = tmp_path / "broken.null.json"
    broken.write_text("{")
    with pytest.raises(ModelLoadError):
        pack([broken], out, hints=HINTS)
    with pytest.raises(ManifestError, match="name"):
        pack([detector], out, hints=Hints(head="yolo", name="x" * 200), trusted=True)
    assert not out.exists()


def test_an_engine_that_refuses_a_file_is_left_out_with_a_note(tmp_path: Path) -> None:
    model = models.onnx_classifier(tmp_path / "narrow.onnx", narrow=True)
    hints, notes = Hints(head="softmax"), []
    with made(tmp_path / "b", model, hints=hints, note=notes.append) as bundle:
        assert [v.backend for v in bundle.manifest.variants] == ["onnxruntime"]
    (note,) = notes
    assert note.startswith("no variant for openvino: ")
    assert "narrow.onnx: OpenVINO does not open it" in note
    assert "GatherElements" in note
    # Not where it was asked for, nor where nothing would be left.
    for wanted in (["openvino"], ["onnxruntime", "openvino"]):
        with pytest.raises(ModelLoadError, match="OpenVINO does not open it"):
            made(tmp_path / "c", model, hints=hints, backends=wanted)
    model.write_bytes(b"garbage")
    with pytest.raises(ModelLoadError, match=r"narrow\.onnx"):
        made(tmp_path / "c", model, hints=hints, note=notes.append)
    assert len(notes) == 1
    assert not (tmp_path / "c").exists()


def test_bad_golden_images_leave_nothing_behind(tmp_path: Path, detector: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("not an image")
    for golden in (text, tmp_path / "missing.png"):
        with pytest.raises(ImageError, match=golden.name):
            pack([detector], tmp_path / "out", hints=HINTS, golden=[golden], trusted=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["detector.onnx", "text.png"]


def test_an_existing_target(tmp_path: Path, detector: Path) -> None:
    out = tmp_path / "b.edgecv"
    pack([detector], out, hints=HINTS, trusted=True)
    before = out.read_bytes()
    with pytest.raises(UsageError, match="exists already") as caught:
        pack([detector], out, hints=HINTS, trusted=True)
    assert "--force" in (caught.value.remedy or "")
    assert out.read_bytes() == before
    hints = Hints(head="yolo", name="new")
    with made(out, detector, hints=hints, overwrite=True) as bundle:
        assert bundle.manifest.name == "new"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        pack([detector], folder, hints=HINTS, overwrite=True, trusted=True)


def test_golden_samples(tmp_path: Path, detector: Path) -> None:
    images = [
        models.write_image(tmp_path / "a.PNG", 1),
        models.write_image(tmp_path / "b.jpg", color=0),
        models.write_image(tmp_path / "sub.x.bmp", 2),
    ]
    with made(tmp_path / "b", detector, golden=images) as bundle:
        manifest = bundle.manifest
        assert [g.image.path for g in manifest.golden] == [
            "golden/000.png", "golden/001.jpg", "golden/002.bmp",
        ]  # fmt: skip
        ids = {v.id for v in manifest.variants}
        for golden, image in zip(manifest.golden, images, strict=True):
            assert bytes(bundle.read(golden.image)) == image.read_bytes()
            assert set(golden.expected) == set(golden.tolerances) == ids
        first, dark, _ = manifest.golden
        assert all(len(said["detections"]) == 2 for said in first.expected.values())
        assert all(said["detections"] == [] for said in dark.expected.values())


def test_a_file_is_first_tried_in_a_child_process(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr("edgecv.probe.probe", lambda path, backend: tried.append(backend))
    pack([detector], tmp_path / "a", hints=HINTS)
    assert tried == ["onnxruntime", "openvino"]
    pack([detector], tmp_path / "b", hints=HINTS, trusted=True)
    assert len(tried) == 2
