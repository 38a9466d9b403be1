"""What Ultralytics' exports say about themselves, and what broken or hostile ones may not do."""

from __future__ import annotations

import builtins
import json
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgecv.errors import DependencyMissingError, ModelLoadError
from edgecv.foreign import Export
from edgecv.foreign.ultralytics import describe, read
from edgecv.hints import Hints
from edgecv.manifest import HeadSpec, Input
from tests import models

NONE: dict[str, str] = {}


def from_onnx(**said: Any) -> Hints | None:
    return read(Path("yolo11n.onnx"), models.as_properties(models.ultralytics(**said)))


def from_yaml(folder: Path, text: str) -> Hints | None:
    (folder / "metadata.yaml").write_text(text)
    return read(folder / "model.xml", NONE)


def from_zip(folder: Path, members: dict[str, str | bytes], **options: Any) -> Hints | None:
    path = folder / "model.tflite"
    path.write_bytes(models.zipped(members, **options))
    return read(path, NONE)


def test_a_detector_in_onnx() -> None:
    said = from_onnx()
    assert said is not None
    assert said.origin == "Ultralytics metadata"
    assert (said.task, said.head, said.head_options) == ("detect", "yolo", {})
    assert said.labels == models.LABELS
    assert said.size_hw == models.SIZE_HW
    assert (said.resize, said.rounding, said.pad_value) == ("letterbox", "round", 114)
    assert (said.color, said.mean, said.std) == ("rgb", (0, 0, 0), (255, 255, 255))
    assert said.license == "AGPL-3.0"
    assert said.description == "Ultralytics YOLO11n model trained on nothing"
    assert said.name == "yolo11n"


@pytest.mark.parametrize(
    "said", [{"head": "RTDETRDecoder"}, {"description": "Ultralytics rtdetr-l model"}]
)
def test_rt_detr_is_a_head_and_a_resize_of_its_own(said: dict[str, str]) -> None:
    hints = from_onnx(**said)
    assert hints is not None
    assert (hints.task, hints.head, hints.head_options) == ("detect", "detr", {})
    assert (hints.resize, hints.std) == ("stretch", (255, 255, 255))


def test_openvino_has_the_properties_of_onnx_in_a_section_of_its_own() -> None:
    properties = models.as_properties(models.ultralytics())
    said = read(Path("m.onnx"), {f"framework/{key}": value for key, value in properties.items()})
    assert said is not None
    assert said.labels == models.LABELS


@pytest.mark.parametrize(
    "more", [{"end2end": True}, {"args": {"nms": True}}, {"end2end": True, "args": {"nms": False}}]
)
def test_suppression_inside_means_end2end(more: dict[str, Any]) -> None:
    said = from_onnx(**more)
    assert said is not None
    assert said.head == "end2end"


@pytest.mark.parametrize("more", [{"end2end": False}, {"args": {}}, {"args": "broken {"}])
def test_no_suppression_inside_means_yolo(more: dict[str, Any]) -> None:
    said = from_onnx(**more)
    assert said is not None
    assert said.head == "yolo"


def test_a_classifier() -> None:
    said = from_onnx(task="classify", imgsz=224)
    assert said is not None
    assert (said.head, said.head_options) == ("softmax", {"logits": False})
    assert (said.resize, said.crop_ratio) == ("crop", 1.0)
    assert said.size_hw == (224, 224)
    assert said.pad_value is None


def test_class_maps() -> None:
    said = from_onnx(task="semantic")
    assert said is not None
    assert (said.head, said.head_options, said.resize) == ("semantic", {}, "letterbox")
    assert said.labels == models.LABELS


def test_depth_is_in_metres_and_has_no_classes() -> None:
    said = from_onnx(task="depth")
    assert said is not None
    assert (said.head, said.head_options) == ("depth", {"kind": "metric"})
    assert (said.resize, said.interpolation, said.labels) == ("stretch", "linear", None)


def test_a_pose_model_says_how_many_keypoints() -> None:
    said = from_onnx(task="pose", kpt_shape=[21, 2])
    assert said is not None
    assert (said.task, said.head) == ("pose", "yolo_pose")
    assert said.head_options == {"layout": "anchor-free", "kpt_shape": [21, 2]}
    said = from_onnx(task="pose", end2end=True)
    assert said is not None
    assert said.head_options == {"layout": "end2end"}
    for broken in ("17", [17], [0, 3], [17, 4], {}, ["a", "b"], [1e400, 3]):
        with pytest.raises(ModelLoadError, match="kpt_shape"):
            from_onnx(task="pose", kpt_shape=broken)


@pytest.mark.parametrize("layout", ["anchor-free", "end2end"])
def test_a_pose_model_is_told_as_it_is_read(tmp_path: Path, layout: str) -> None:
    options = {"layout": layout, "kpt_shape": [5, 2]}
    export = Export(
        name="p", version="1", description="", license="", task="pose", labels=("one",),
        input=Input(size_hw=(64, 96), resize="letterbox"), layout="NCHW", precision="fp32",
        head=HeadSpec(name="yolo_pose", options=options), inputs=(), outputs=(), files={},
    )  # fmt: skip
    said = read(tmp_path / "p.onnx", models.as_properties(describe(export)))
    assert said is not None
    assert (said.task, said.head, said.head_options) == ("pose", "yolo_pose", options)
    assert (said.labels, said.size_hw) == (("one",), (64, 96))


@pytest.mark.parametrize("end2end", [False, True])
@pytest.mark.parametrize(("task", "head"), [("segment", "yolo_seg"), ("obb", "yolo_obb")])
def test_masks_and_oriented_boxes(task: str, head: str, end2end: bool) -> None:
    said = from_onnx(task=task, end2end=end2end)
    assert said is not None
    layout = "end2end" if end2end else "anchor-free"
    assert (said.task, said.head, said.head_options) == (task, head, {"layout": layout})


@pytest.mark.parametrize("task", ["panoptic"])
def test_another_task_is_named_and_has_no_head(task: str) -> None:
    said = from_onnx(task=task)
    assert said is not None
    assert (said.task, said.head) == (task, None)


@pytest.mark.parametrize(
    "metadata", [{}, {"task": "detect"}, {"names": "x", "task": "y"}, {"model_info labels": "a b"}]
)
def test_other_files_are_not_its_own(metadata: dict[str, str], tmp_path: Path) -> None:
    assert read(tmp_path / "model.onnx", metadata) is None


def test_names_may_be_a_list_or_have_text_for_keys() -> None:
    for names in (["a", "b"], {"0": "a", "1": "b"}, {1: "b", 0: "a"}):
        said = from_onnx(names=names)
        assert said is not None
        assert said.labels == ("a", "b")


@pytest.mark.parametrize(
    "names",
    [{0: "a", 2: "b"}, {"x": "a"}, {1: "a"}, "a, b", 7, [["a"]], {0: {"a": 1}}, {1e999: "a"},
     {None: "a"}, {-1: "a"}],
)  # fmt: skip
def test_names_that_cannot_be_used(names: Any) -> None:
    with pytest.raises(ModelLoadError, match="names: class names cannot be used"):
        from_onnx(names=names)


def test_names_may_be_numbers_or_none_at_all() -> None:
    said = from_onnx(names={0: 0, 1: 1})
    assert said is not None
    assert said.labels == ("0", "1")
    said = from_onnx(names={})
    assert said is not None
    assert said.labels == ()


@pytest.mark.parametrize("size", ["big", [1, 2, 3], [], {"h": 1, "w": 2}, [1e999, 1], [None, 1]])
def test_a_size_that_cannot_be_used(size: Any) -> None:
    with pytest.raises(ModelLoadError, match="imgsz: cannot be used"):
        from_onnx(imgsz=size)


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, "(" * 500 + ")" * 500, "-" * 100_000 + "1", "9" * 10_000, "{" * 50 + "}" * 50,
     "__import__('os').abort()", "x" * (3 * 2**20), "\0", ""],
)  # fmt: skip
def test_hostile_properties_are_text_or_an_error(value: str) -> None:
    said = models.as_properties(models.ultralytics())
    for key in said:
        hostile = {**said, key: value}
        hints = error = None
        try:
            hints = read(Path("model.onnx"), hostile)
        except ModelLoadError as caught:
            error = caught
        assert hints is not None or len(str(error)) < 400


def test_yaml_beside_openvino(tmp_path: Path) -> None:
    said = from_yaml(tmp_path, yaml.safe_dump(models.ultralytics()))
    assert said is not None
    assert said.head == "yolo"
    assert said.labels == models.LABELS
    assert said.size_hw == models.SIZE_HW
    assert said.name == "model"


def test_yaml_of_somebody_else_or_none(tmp_path: Path) -> None:
    assert read(tmp_path / "model.xml", NONE) is None
    assert from_yaml(tmp_path, "just: words") is None
    assert from_yaml(tmp_path, "- a\n- b") is None
    assert from_yaml(tmp_path, "") is None


@pytest.mark.parametrize("text", ["a: [1, 2", "\x01", "[" * 5000, "\t- x"])
def test_broken_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelLoadError, match=r"metadata\.yaml") as caught:
        from_yaml(tmp_path, text)
    assert "\n" not in caught.value.message


def test_yaml_builds_nothing_but_text(tmp_path: Path) -> None:
    """Tags of types are text like any other; merge keys do not merge."""
    for value in ("!!python/object/apply:os.abort []", "!!timestamp foo", "2024-13-45", "!!int x"):
        hints = from_yaml(tmp_path, f"task: detect\nnames: [a]\nstride: 32\ndate: {value}\n")
        assert hints is not None
        assert hints.labels == ("a",)
    merges = "a0: &a0 {x: y}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
    )
    assert from_yaml(tmp_path, merges + "task: detect\nnames: [a]\nstride: 32\n") is not None


def test_yaml_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_bytes(b"\xff\xfe\xff task: \xff")
    with pytest.raises(ModelLoadError):
        read(tmp_path / "model.xml", NONE)


def test_yaml_too_large(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="too large"):
        from_yaml(tmp_path, "#" * (2**20 + 1))


def test_yaml_aliases_are_not_written_out(tmp_path: Path) -> None:
    # Nine levels of nine: a few hundred bytes that str() would turn into gigabytes.
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for above, here in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{here}: &{here} [{', '.join([f'*{above}'] * 9)}]\n"
    for key in ("names", "imgsz", "description", "license", "task", "args"):
        said = {"task": "detect", "names": "[a]", "stride": "32", key: "*i"}
        start = time.monotonic()
        with suppress(ModelLoadError):
            from_yaml(tmp_path, bomb + "\n".join(f"{k}: {v}" for k, v in said.items()))
        assert time.monotonic() - start < 30


def test_yaml_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyMissingError, match=r"PyYAML") as caught:
        from_yaml(tmp_path, "task: detect")
    assert caught.value.remedy == "pip install 'edgecv[openvino]'"


def test_the_newer_zip_behind_tflite(tmp_path: Path) -> None:
    said = from_zip(tmp_path, {"metadata.json": json.dumps(models.ultralytics())})
    assert said is not None
    assert (said.head, said.head_options, said.labels) == ("yolo", {}, models.LABELS)


def test_the_older_text_behind_tflite_has_boxes_as_fractions(tmp_path: Path) -> None:
    said = from_zip(tmp_path, {"temp_meta.txt": str(models.ultralytics())})
    assert said is not None
    assert (said.head, said.head_options) == ("yolo", {"normalized": True})
    assert said.labels == models.LABELS
    said = from_zip(tmp_path, {"meta.txt": str(models.ultralytics(task="classify"))})
    assert said is not None
    assert said.head_options == {"logits": False}


def test_zips_of_somebody_else(tmp_path: Path) -> None:
    assert from_zip(tmp_path, {"labels.txt": "cat\ndog\n"}) is None
    assert from_zip(tmp_path, {}) is None
    assert from_zip(tmp_path, {"a.json": "[1, 2]"}) is None
    (tmp_path / "plain.tflite").write_bytes(b"TFL3" * 10)
    assert read(tmp_path / "plain.tflite", NONE) is None
    assert read(tmp_path / "missing.tflite", NONE) is None


def test_the_right_member_is_found_among_others(tmp_path: Path) -> None:
    said = from_zip(
        tmp_path, {"labels.txt": "cat", "metadata.json": json.dumps(models.ultralytics())}
    )
    assert said is not None
    assert said.labels == models.LABELS


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"task": }', "\0"])
def test_broken_json_behind_tflite(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelLoadError, match="behind the model is broken"):
        from_zip(tmp_path, {"metadata.json": text})


def test_a_damaged_member(tmp_path: Path) -> None:
    data = bytearray(models.zipped({"metadata.json": json.dumps(models.ultralytics())}))
    start = data.index(b"metadata.json") + len(b"metadata.json")
    for damage in (b"\xff" * 40, bytes(40)):
        data[start : start + 40] = damage
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        with pytest.raises(ModelLoadError, match="behind the model is broken"):
            read(path, NONE)


def test_a_bomb_and_a_strange_compression_are_left_alone(tmp_path: Path) -> None:
    said = json.dumps(models.ultralytics())
    assert from_zip(tmp_path, {"metadata.json": " " * 2**22 + said}) is None
    assert from_zip(tmp_path, {"metadata.json": said}, compression=zipfile.ZIP_LZMA) is None
