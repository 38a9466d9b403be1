"""How a bare model file is fed and read: who says what, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgecv import engines, plugins
from edgecv.describe import Description, describe, load_head
from edgecv.engines import backends_for, choose_backend, find_model_file
from edgecv.errors import AmbiguousModelError, BackendMissingError, UsageError
from edgecv.hints import Hints
from edgecv.types import Quantization, TensorSpec
from tests import models

IMAGE = TensorSpec("x", (1, 3, 416, 416), "float32")
YOLOX = TensorSpec("y", (1, 3549, 85), "float32")
YOLO = TensorSpec("y", (1, 84, 3549), "float32")
CLASSES = TensorSpec("y", (1, 1000), "float32")
PATH = Path("folder/model.onnx")


def tell(
    output: TensorSpec | list[TensorSpec] = YOLOX,
    image: TensorSpec | list[TensorSpec] = IMAGE,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> Description:
    return describe(
        PATH,
        image if isinstance(image, list) else [image],
        output if isinstance(output, list) else [output],
        metadata or {},
        Hints(origin="option", **options),
    )


def ultralytics(**said: Any) -> dict[str, str]:
    said = {"imgsz": [416, 416], "names": [str(i) for i in range(80)], **said}
    return models.as_properties(models.ultralytics(**said))


def test_shapes_tell_the_head_and_its_family_the_pixels() -> None:
    found = tell()
    assert (found.task, found.head.name, found.told_by) == ("detect", "yolox", "shapes")
    assert found.layout == "NCHW"
    assert found.input.size_hw == (416, 416)
    assert (found.input.resize, found.input.color) == ("letterbox-topleft", "bgr")
    assert found.input.rounding == "floor"
    assert (found.input.mean, found.input.std) == ((0, 0, 0), (1, 1, 1))
    assert found.labels == ()


def test_metadata_wins_over_shapes() -> None:
    found = tell(YOLO, metadata=ultralytics())
    assert (found.head.name, found.told_by) == ("yolo", "Ultralytics metadata")
    assert len(found.labels) == 80
    assert (found.input.resize, found.input.color, found.input.std) == (
        "letterbox", "rgb", (255, 255, 255),
    )  # fmt: skip


OVERRIDES: list[tuple[str, Any, str, Any]] = [
    ("resize", "stretch", "resize", "stretch"),
    ("resize", "letterbox-topleft", "rounding", "floor"),
    ("crop_ratio", 0.875, "crop_ratio", 0.875),
    ("pad_value", 0, "pad_value", 0),
    ("interpolation", "cubic", "interpolation", "cubic"),
    ("color", "bgr", "color", "bgr"),
    ("mean", (127.5,), "mean", (127.5, 127.5, 127.5)),
    ("mean", (1.0, 2.0, 3.0), "mean", (1.0, 2.0, 3.0)),
    ("std", (128.0,), "std", (128.0, 128.0, 128.0)),
    ("std", (1.0, 2.0, 3.0), "std", (1.0, 2.0, 3.0)),
]


@pytest.mark.parametrize(("option", "value", "field", "expected"), OVERRIDES)
@pytest.mark.parametrize("said", [None, ultralytics()], ids=["family", "metadata"])
def test_an_option_wins(option: str, value: Any, field: str, expected: Any, said: Any) -> None:
    plain = tell(YOLO, metadata=said, head="yolo")
    assert getattr(plain.input, field) != expected
    found = tell(YOLO, metadata=said, head="yolo", **{option: value})
    assert getattr(found.input, field) == expected


def test_an_option_names_head_labels_and_head_options() -> None:
    labels = tuple(f"thing {i}" for i in range(80))
    found = tell(YOLO, metadata=ultralytics(), labels=labels, head_options={"iou": 0.6})
    assert found.labels == labels
    assert found.head.options == {"iou": 0.6}
    assert found.told_by == "Ultralytics metadata"
    found = tell(TensorSpec("y", (1, 300, 6), "float32"), metadata=ultralytics(), head="end2end")
    assert (found.head.name, found.told_by) == ("end2end", "option")


def test_the_size_fills_free_axes_and_must_fit_fixed_ones() -> None:
    free = TensorSpec("x", (None, 3, None, None), "float32")
    output = TensorSpec("y", (None, 84, None), "float32")
    assert tell(output, free, size_hw=(320, 640), head="yolo").input.size_hw == (320, 640)
    half = TensorSpec("x", (1, 3, 320, None), "float32")
    assert tell(output, half, size_hw=(320, 640), head="yolo").input.size_hw == (320, 640)
    assert tell(size_hw=(416, 416)).input.size_hw == (416, 416)
    with pytest.raises(UsageError, match="expected 416x416; got 320x320"):
        tell(size_hw=(320, 320))
    with pytest.raises(UsageError, match="expected 320x640; got 416x640"):
        tell(output, half, size_hw=(416, 640), head="yolo")
    with pytest.raises(UsageError, match="height and width free") as caught:
        tell(output, free, head="yolo")
    assert "--size" in (caught.value.remedy or "")
    with pytest.raises(UsageError, match="input's width free"):
        tell(output, half, head="yolo")


def test_a_fixed_shape_wins_over_the_size_in_metadata() -> None:
    assert tell(YOLO, metadata=ultralytics(imgsz=[320, 320])).input.size_hw == (416, 416)


def test_a_size_in_metadata_fills_free_axes() -> None:
    free = TensorSpec("images", (None, 3, None, None), "float32")
    output = TensorSpec("y", (None, 84, None), "float32")
    assert tell(output, free, metadata=ultralytics(imgsz=[96, 64])).input.size_hw == (96, 64)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 3, 416, 416), "NCHW"), ((1, 416, 416, 3), "NHWC"), ((None, 3, 416, 416), "NCHW"),
     ((None, 416, 416, 3), "NHWC"), ((1, 1, 416, 416), "NCHW"), ((1, 416, 416, 1), "NHWC")],
)  # fmt: skip
def test_layouts(shape: tuple[int | None, ...], layout: str) -> None:
    found = tell(image=TensorSpec("x", shape, "float32"))
    assert found.layout == layout
    assert found.input.size_hw == (416, 416)


@pytest.mark.parametrize("shape", [(1, 3, 416, 3), (1, 4, 416, 416), (1, 416, 416, 416)])
def test_a_layout_that_cannot_be_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="which axis holds the channels"):
        tell(image=TensorSpec("x", shape, "float32"))


@pytest.mark.parametrize(
    "inputs",
    [[], [IMAGE, TensorSpec("size", (1, 2), "float32")], [TensorSpec("x", (1, 512), "float32")],
     [TensorSpec("x", (), "float32")]],
)  # fmt: skip
def test_only_one_image_goes_in(inputs: list[TensorSpec]) -> None:
    with pytest.raises(UsageError, match="only models with one image input"):
        tell(image=inputs)


def test_a_fixed_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="batch axis is fixed"):
        tell(image=TensorSpec("x", (4, 3, 416, 416), "float32"), head="yolox")


def test_grey_models() -> None:
    grey = TensorSpec("x", (1, 1, 416, 416), "float32")
    assert tell(image=grey).input.color == "grey"
    assert tell(image=grey, color="grey").input.color == "grey"
    # What the file says holds for a family, of which this one is grey.
    assert tell(YOLO, grey, metadata=ultralytics()).input.color == "grey"
    with pytest.raises(UsageError, match=r"color: .*expected grey; got 'rgb'"):
        tell(image=grey, color="rgb")
    with pytest.raises(UsageError, match=r"color: .*expected rgb or bgr; got 'grey'"):
        tell(color="grey")


def test_integer_inputs_take_raw_pixels() -> None:
    shape = (1, 224, 224, 3)
    plain = tell(CLASSES, TensorSpec("x", shape, "uint8")).input
    assert (plain.mean, plain.std) == ((0, 0, 0), (1, 1, 1))
    shifted = tell(CLASSES, TensorSpec("x", shape, "int8")).input
    assert (shifted.mean, shifted.std) == ((128, 128, 128), (1, 1, 1))
    scaled = TensorSpec("x", shape, "uint8", Quantization(1 / 128, 128))
    assert tell(CLASSES, scaled).input.mean == (128, 128, 128)
    assert tell(CLASSES, scaled).input.std == pytest.approx((128, 128, 128))
    signed = TensorSpec("x", shape, "int8", Quantization(1 / 255, -128))
    assert tell(CLASSES, signed).input.mean == (0, 0, 0)
    assert tell(CLASSES, signed).input.std == pytest.approx((255, 255, 255))
    # Who speaks about normalisation is believed.
    said = tell(CLASSES, scaled, mean=(127.5,), std=(127.5,)).input
    assert (said.mean, said.std) == ((127.5,) * 3, (127.5,) * 3)
    assert tell(CLASSES).input.mean == load_head("softmax").PIXELS.mean


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(
    "quantization", [None, Quantization(0.0078125, 127), Quantization(0.5, -7)]
)
def test_raw_pixels_are_raw(kind: str, quantization: Quantization | None) -> None:
    import numpy as np

    from edgecv.preprocess import Preprocessor

    spec = TensorSpec("x", (1, 16, 16, 3), kind, quantization)
    pixels = np.arange(768, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    found = tell(TensorSpec("y", (1, 3), "float32"), spec, head="softmax", resize="stretch")
    tensor, _ = Preprocessor(found.input, spec, "NHWC").prepare(pixels)
    shift = 128 if kind == "int8" else 0
    assert (tensor[0].astype(int) + shift == pixels[..., ::-1]).all()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("std", (0.0,), r"input: std\[0\]: expected a number other than 0"),
     ("std", (1.0, 0.0, 1.0), r"input: std\[1\]"),
     ("mean", (float("nan"),), r"input: mean\[0\]: .*finite"),
     ("mean", (float("inf"),), r"input: mean\[0\]: .*finite"),
     ("mean", (1.0, 2.0), "mean: wrong number of values: expected 1 or 3; got 2"),
     ("std", (), "std: wrong number of values"),
     ("pad_value", 256, "input: pad_value"), ("crop_ratio", 0.0, "input: crop_ratio"),
     ("color", "cmyk", "input: color: expected one of rgb, bgr, grey"),
     ("resize", "shrink", "input: resize: expected one of"),
     ("interpolation", "magic", "input: interpolation: expected one of")],
)  # fmt: skip
def test_values_that_cannot_be_used(option: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tell(**{option: value})


def test_a_head_that_shapes_leave_open() -> None:
    with pytest.raises(AmbiguousModelError) as caught:
        tell(TensorSpec("y", (1, 3549, 6), "float32"))
    error = caught.value
    assert set(error.candidates) >= {"yolox", "end2end"}
    assert all(name in (error.expected or "") for name in error.candidates)
    named = [f"--head {name}" for name in error.candidates]
    assert error.remedy == f"name it: {' or '.join(named)}", "none is likelier than another"
    assert "y float32[1,3549,6]" in error.message
    # Naming any of them resolves it.
    for name in error.candidates:
        assert tell(TensorSpec("y", (1, 3549, 6), "float32"), head=name).head.name == name


def test_the_task_narrows_the_choice() -> None:
    with pytest.raises(AmbiguousModelError) as caught:
        tell(CLASSES, task="detect")
    assert "softmax" not in (caught.value.remedy or "")
    assert tell(CLASSES, task="classify").head.name == "softmax"


def test_a_model_that_no_head_fits() -> None:
    with pytest.raises(AmbiguousModelError, match="no head fits") as caught:
        tell(TensorSpec("y", (1, 21, 416, 416, 2), "float32"))
    assert caught.value.candidates == ()
    assert all(name in (caught.value.remedy or "") for name in plugins.names("heads"))


@pytest.mark.parametrize("task", ["caption", "translate"])
def test_a_task_without_a_head(task: str) -> None:
    expected = f"no head does this task: expected .*classify or .*detect.*; got '{task}'"
    with pytest.raises(UsageError, match=expected):
        tell(YOLO, metadata=ultralytics(task=task))
    with pytest.raises(UsageError, match=f"got '{task}'"):
        tell(task=task)


def test_task_and_head_contradict() -> None:
    with pytest.raises(UsageError, match=r"yolox does not do this task.*detect; got 'classify'"):
        tell(head="yolox", task="classify")
    with pytest.raises(UsageError, match="got 'classify'"):
        tell(CLASSES, metadata=ultralytics(task="classify"), head="yolo")


def test_an_unknown_head_lists_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"expected one of .*yolox.*; got 'yolo99'"):
        tell(head="yolo99")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sharpness": 1}, "option sharpness: unknown option: expected one of .*confidence"),
     ({"input_hw": [1, 1]}, "unknown option"),
     ({"confidence": "high"}, "confidence: wrong type: expected a number; got 'high'"),
     ({"confidence": True}, "expected a number; got True"),
     ({"confidence": None}, "expected a number; got None"),
     ({"confidence": float("nan")}, "expected a number"),
     ({"confidence": 1.5}, "confidence: out of range: expected 0 to 1; got 1.5"),
     ({"iou": -0.1}, "iou: out of range"),
     ({"max_detections": 2.5}, "expected a whole number; got 2.5"),
     ({"max_detections": -1}, "out of range"),
     ({"class_aware": 1}, "expected true or false; got 1"),
     ({"strides": "8,16"}, "expected a list, each a whole number; got '8,16'"),
     ({"strides": [8, "16"]}, "strides: wrong type"),
     ({"decoded": "yes"}, "decoded: wrong type")],
)  # fmt: skip
def test_head_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tell(head="yolox", head_options=options)


def test_options_that_may_be_null() -> None:
    for value in (None, True, False):
        assert tell(YOLO, head_options={"normalized": value}).head.options["normalized"] is value
    with pytest.raises(UsageError, match="normalized: wrong type: expected true or false or null"):
        tell(YOLO, head_options={"normalized": "yes"})
    assert tell(CLASSES, head_options={"background": 0, "top_k": 1}).head.name == "softmax"


def test_a_head_that_the_shapes_contradict() -> None:
    with pytest.raises(
        UsageError, match=r"head fastestdet does not fit the model's outputs"
    ) as caught:
        tell(head="fastestdet")
    assert "y [1, 3549, 85]" in (caught.value.got or "")
    assert "--head" in (caught.value.remedy or "")
    with pytest.raises(UsageError, match="head yolox does not fit"):
        tell(head_options={"strides": [8, 16]})
    with pytest.raises(UsageError, match="head yolo does not fit"):
        tell([YOLO, TensorSpec("masks", (1, 32, 104, 104), "float32")], metadata=ultralytics())


def test_a_head_named_for_outputs_that_look_different_is_noted() -> None:
    # As wide as 81 classes, transposed: possible, but no known model.
    (note,) = tell(head="yolo").notes
    assert note == "y float32[1,3549,85] does not look like an output of head yolo"
    assert tell(YOLO, head="yolo").notes == ()
    assert tell().notes == ()


def test_rare_shapes_are_not_noted_where_the_labels_are_as_many_as_the_classes() -> None:
    # Nobody's usual numbers: poses of 6 points in 2 classes, oriented boxes of 3.
    for task, channels, count, more in (
        ("pose", 4 + 2 + 6 * 3, 2, {"kpt_shape": [6, 3]}),
        ("obb", 4 + 3 + 1, 3, {}),
    ):
        output = TensorSpec("y", (1, channels, 3549), "float32")
        names = [f"kind {i}" for i in range(count)]
        said = tell(output, metadata=ultralytics(task=task, names=names, **more))
        assert (said.task, said.notes) == (task, ())
    (note,) = tell(output, head="yolo_obb").notes
    assert note.endswith("does not look like an output of head yolo_obb"), "nobody counted"


@pytest.mark.parametrize(
    ("output", "count"),
    [(YOLOX, 80), (YOLO, 80), (CLASSES, 1000), (TensorSpec("y", (1, 85, 26, 26), "float32"), 80)],
)
def test_labels_are_as_many_as_classes(output: TensorSpec, count: int) -> None:
    labels = tuple(map(str, range(count)))
    assert tell(output, labels=labels).labels == labels
    for wrong in (labels[:-1], (*labels, "one more")):
        with pytest.raises(UsageError, match=f"{len(wrong)} labels do not fit") as caught:
            tell(output, labels=wrong)
        assert output.name in (caught.value.got or "")


def test_outputs_without_a_batch_axis_are_checked_as_they_are() -> None:
    image = TensorSpec("x", (1, 3, 320, 320), "float32")
    outputs = [
        TensorSpec(f"{kind}{cells}", (cells, width), "float32")
        for cells in (1600, 400, 100)
        for kind, width in (("class", 80), ("box", 32))
    ]
    assert tell(outputs, image).head.name == "nanodet"


def test_a_free_batch_axis_does_not_hide_wrong_labels() -> None:
    output = TensorSpec("y", (None, 84, 3549), "float32")
    with pytest.raises(UsageError, match="3 labels do not fit"):
        tell(output, labels=("a", "b", "c"))


def test_labels_of_outputs_that_do_not_tell_the_classes() -> None:
    finished = TensorSpec("y", (1, 300, 6), "float32")
    assert len(tell(finished, labels=("a", "b")).labels) == 2
    open_ended = TensorSpec("y", (1, None, 85), "float32")
    assert len(tell(open_ended, head="yolox", labels=("a", "b")).labels) == 2


def test_backends_go_by_suffix() -> None:
    assert backends_for(Path("m.onnx"))[0] == "onnxruntime"
    assert "openvino" in backends_for(Path("m.onnx"))
    assert backends_for(Path("m.xml")) == ("openvino",)
    assert backends_for(Path("m.tflite")) == ("litert",)
    assert backends_for(Path("m.null.json")) == ("null",)
    with pytest.raises(UsageError, match="no backend opens") as caught:
        backends_for(Path("m.tar.xz"))
    assert caught.value.remedy == "make a bundle of it with edgecv pack"
    with pytest.raises(UsageError, match=r"m\.pt: no backend opens .*\.onnx.*got '\.pt'$"):
        backends_for(Path("m.pt"))


def test_the_first_installed_backend_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("m.onnx")
    assert choose_backend(path) == "onnxruntime"
    assert choose_backend(path, "openvino") == "openvino"
    monkeypatch.setattr(engines.load_backend("onnxruntime"), "version", lambda: None)
    assert choose_backend(path) == "openvino"
    monkeypatch.setattr(engines.load_backend("openvino"), "version", lambda: None)
    with pytest.raises(BackendMissingError, match="expected onnxruntime or openvino") as caught:
        choose_backend(path)
    assert caught.value.remedy == "pip install edgecv"
    monkeypatch.setattr(engines.load_backend("litert"), "version", lambda: None)
    with pytest.raises(BackendMissingError) as caught:
        choose_backend(Path("m.tflite"))
    assert caught.value.remedy == "pip install 'edgecv[litert]'"


def test_a_backend_that_does_not_open_the_file() -> None:
    with pytest.raises(UsageError, match="litert does not open"):
        choose_backend(Path("m.onnx"), "litert")
    with pytest.raises(UsageError, match="got 'tensorrt'"):
        choose_backend(Path("m.onnx"), "tensorrt")


def test_a_folder_means_its_only_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find_model_file(tmp_path / "nope")
    with pytest.raises(UsageError, match="got 0 model files"):
        find_model_file(tmp_path)
    (tmp_path / "a.xml").touch()
    (tmp_path / "a.bin").touch()
    assert find_model_file(tmp_path) == tmp_path / "a.xml"
    assert find_model_file(tmp_path / "a.xml") == tmp_path / "a.xml"
    (tmp_path / "b.onnx").touch()
    with pytest.raises(UsageError, match="got 2 model files"):
        find_model_file(tmp_path)


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="not a regular file"):
        find_model_file(tmp_path / "m.onnx")
