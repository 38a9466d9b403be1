"""Models that take more than an image: what feeds the other inputs, in files and in bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.describe import describe
from edgecv.errors import AmbiguousModelError, UsageError
from edgecv.hints import Hints
from edgecv.model_inputs import constants, image_input, unknown
from edgecv.packing import pack
from edgecv.plugins import load as plugin
from edgecv.types import TensorSpec
from edgecv.verification import verify
from tests import models

DETR, PICODET, YOLO = (plugin("heads", name) for name in ("detr", "picodet", "yolo"))
IMAGE = TensorSpec("images", (None, 3, 64, 96), "float32")
SIZES = TensorSpec("orig_target_sizes", (None, 2), "int64")
DEPLOYED = [
    TensorSpec("labels", (None, 5), "int64"),
    TensorSpec("boxes", (None, 5, 4), "float32"),
    TensorSpec("scores", (None, 5), "float32"),
]


def test_the_image_is_found_among_others() -> None:
    for inputs in ([IMAGE, SIZES], [SIZES, IMAGE]):
        assert image_input(inputs) is IMAGE
    packed = TensorSpec("x", (1, 64, 96, 3), "uint8")
    assert image_input([SIZES, packed]) is packed
    assert image_input([IMAGE, packed]) is None
    assert image_input([SIZES, SIZES]) is None
    assert image_input([]) is None
    # A map of features or masks has other channels.
    assert image_input([IMAGE, TensorSpec("f", (1, 256, 8, 12), "float32")]) is IMAGE


def test_constants_have_the_type_and_shape_of_the_input() -> None:
    fed = constants(DETR, "detr", [IMAGE, SIZES], (64, 96))
    assert fed["orig_target_sizes"].dtype == np.int64
    assert fed["orig_target_sizes"].tolist() == [[96, 64]]
    flat = TensorSpec("orig_target_sizes", (2,), "float32")
    assert constants(DETR, "detr", [flat, IMAGE], (64, 96))["orig_target_sizes"].tolist() == [
        96,
        64,
    ]
    others = [TensorSpec(name, (1, 2), "float32") for name in ("im_shape", "scale_factor")]
    fed = constants(PICODET, "picodet", [others[0], IMAGE, others[1]], (64, 96))
    assert {name: array.tolist() for name, array in fed.items()} == {
        "im_shape": [[64, 96]],
        "scale_factor": [[1, 1]],
    }
    assert constants(YOLO, "yolo", [IMAGE], (64, 96)) == {}


def test_what_no_head_knows_is_listed() -> None:
    text = TensorSpec("input_ids", (1, 16), "int64")
    assert unknown(DETR, [IMAGE, SIZES, text]) == (text,)
    with pytest.raises(UsageError, match="head detr does not know what this input takes") as caught:
        constants(DETR, "detr", [IMAGE, SIZES, text], (64, 96))
    assert caught.value.where == "input input_ids"
    assert caught.value.expected == "orig_target_sizes"
    assert caught.value.got == "input_ids int64[1,16]"
    wrong = TensorSpec("orig_target_sizes", (1, 4), "int64")
    with pytest.raises(UsageError, match=r"got orig_target_sizes int64\[1,4\]"):
        constants(DETR, "detr", [IMAGE, wrong], (64, 96))
    with pytest.raises(UsageError, match="expected no input beside the image"):
        constants(YOLO, "yolo", [IMAGE, SIZES], (64, 96))


def tell(inputs: list[TensorSpec], outputs: list[TensorSpec], **said: Any) -> Any:
    return describe(Path("m.onnx"), inputs, outputs, {}, Hints(origin="option", **said))


def test_a_head_is_recognised_only_if_it_knows_every_input() -> None:
    found = tell([IMAGE, SIZES], DEPLOYED)
    assert (found.head.name, found.told_by) == ("detr", "shapes")
    assert found.input.size_hw == (64, 96)
    assert found.notes == ("input orig_target_sizes is fed with 96, 64",)
    text = TensorSpec("input_ids", (1, 16), "int64")
    with pytest.raises(UsageError, match="only models with one image input") as caught:
        tell([IMAGE, text], DEPLOYED)
    assert "input_ids int64[1,16]" in (caught.value.got or "")
    with pytest.raises(UsageError, match="head detr does not know what this input takes"):
        tell([IMAGE, text], DEPLOYED, head="detr")
    # A head that would be certain by the outputs alone, and does not know the input.
    with pytest.raises(AmbiguousModelError, match="no head fits"):
        tell([IMAGE, SIZES], [TensorSpec("y", (1, 1000), "float32")])


def deployed(path: Path) -> Path:
    """Write a detector that scales fractions of boxes by ``orig_target_sizes``, as RT-DETR does.

    Its scores are fractions of the mean pixel; it has two objects.
    """
    from onnx import TensorProto, helper, numpy_helper

    constant = {
        "boxes01": np.array([[[0.25, 0.5, 0.75, 1], [0, 0, 0.5, 0.25]]], np.float32),
        "shares": np.array([[0.9, 0.6]], np.float32),
        "ids": np.array([[1, 0]], np.int64),
        "axes": np.array([1, 2, 3]),
        "batch": np.array([-1, 1]),
        "one": np.array([1]),
        "zero": np.array(0, np.int64),
        "twice": np.array([1, 2]),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean4"], keepdims=0),
        helper.make_node("Reshape", ["mean4", "batch"], ["mean"]),
        helper.make_node("Mul", ["mean", "shares"], ["scores"]),
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Tile", ["size", "twice"], ["whwh"]),
        helper.make_node("Unsqueeze", ["whwh", "one"], ["factors"]),
        helper.make_node("Mul", ["factors", "boxes01"], ["boxes"]),
        helper.make_node("Mul", ["orig_target_sizes", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "ids"], ["labels"]),
    ]

    def tensor(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "deployed",
        [
            tensor("images", TensorProto.FLOAT, "n", 3, 64, 96),
            tensor("orig_target_sizes", TensorProto.INT64, "n", 2),
        ],
        [
            tensor("labels", TensorProto.INT64, "n", 2),
            tensor("boxes", TensorProto.FLOAT, "n", 2, 4),
            tensor("scores", TensorProto.FLOAT, "n", 2),
        ],
        [numpy_helper.from_array(value, name) for name, value in constant.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


# 192 x 128 in an input of 96 x 64: twice as large.
WHITE = np.full((128, 192, 3), 255, np.uint8)
XYXY = [[48, 64, 144, 128], [0, 0, 96, 32]]


def check(result: Any) -> None:
    np.testing.assert_allclose(result.detections.xyxy, XYXY, atol=1e-4)
    np.testing.assert_allclose(result.detections.score, [0.9, 0.6], atol=1e-5)
    assert result.detections.class_id.tolist() == [1, 0]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_runs_alone_and_in_batches(tmp_path: Path, backend: str) -> None:
    with edgecv.load(deployed(tmp_path / "m.onnx"), backend=backend) as model:
        assert model.head == "detr"
        assert "input orig_target_sizes is fed with 96, 64" in model.info.notes
        check(model(WHITE))
        for result in model.batch([WHITE] * 3):
            check(result)
        check(model.with_options(confidence=0.1)(WHITE))
        assert len(model.with_options(confidence=0.7)(WHITE).detections) == 1


def test_a_bundle_packs_and_verifies(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "white.png"), WHITE)
    made = pack(
        [deployed(tmp_path / "m.onnx")],
        tmp_path / "m.edgecv",
        golden=[tmp_path / "white.png"],
    )
    verification = verify(made)
    assert verification.ok
    assert {check.status for check in verification.checks} == {"ok"}
    with edgecv.load(made) as model:
        assert [spec.split()[0] for spec in model.info.inputs] == ["images", "orig_target_sizes"]
        check(model(WHITE))


def test_rows_of_all_images_are_not_cut_by_image(tmp_path: Path) -> None:
    """Two images, two rows: each row would be taken for an image's own."""
    from onnx import TensorProto, helper, numpy_helper

    rows = np.array([[0, 1, 2, 30, 40, 1, 0.9], [0, 5, 5, 20, 20, 0, 0.6]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x", "all"], ["mean4"], keepdims=0),
        helper.make_node("Mul", ["mean4", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolov7",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 96])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["k", 7])],
        [
            numpy_helper.from_array(value, name)
            for name, value in {
                "all": np.array([0, 1, 2, 3]), "zero": np.zeros(1, np.float32), "rows": rows,
            }.items()
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(AmbiguousModelError) as caught:
        edgecv.load(path)
    assert "end2end" in caught.value.candidates
    with edgecv.load(path, head="end2end", hints=Hints(resize="stretch")) as loaded:
        image = np.zeros((64, 96, 3), np.uint8)
        for result in loaded.batch([image, image]):
            np.testing.assert_allclose(result.detections.xyxy, rows[:, 1:5], atol=1e-4)


def test_the_detector_of_the_other_tests_needs_no_constants(tmp_path: Path) -> None:
    with edgecv.load(models.onnx_detector(tmp_path / "d.onnx"), head="yolo") as model:
        assert not [note for note in model.info.notes if "is fed with" in note]


def test_branches_of_a_family_have_their_own_pixels() -> None:
    def outputs(*shapes: tuple[str, int]) -> list[TensorSpec]:
        return [TensorSpec(name, (1, 300, width), "float32") for name, width in shapes]

    rf_detr = outputs(("dets", 4), ("labels", 91))
    assert tell([IMAGE], rf_detr).input.mean == (123.675, 116.28, 103.53)
    assert tell([IMAGE], rf_detr, mean=(1.0,)).input.mean == (1, 1, 1)
    rt_detr = outputs(("logits", 80), ("pred_boxes", 4))
    assert tell([IMAGE], rt_detr).input.std == (255, 255, 255)


def test_an_activation_that_nothing_tells_is_asked_for() -> None:
    outputs = [
        TensorSpec("logits", (1, 300, 4), "float32"),
        TensorSpec("pred_boxes", (1, 300, 4), "float32"),
    ]
    with pytest.raises(UsageError, match="nothing tells the activation of 4 columns") as caught:
        tell([IMAGE], outputs)
    assert caught.value.remedy == "say it: --head-option activation=sigmoid or softmax"
    said = {"activation": "softmax"}
    assert len(tell([IMAGE], outputs, head_options=said, labels=("a", "b", "c")).labels) == 3
    with pytest.raises(UsageError, match="4 labels do not fit"):
        tell([IMAGE], outputs, head_options=said, labels=("a", "b", "c", "d"))
    with pytest.raises(UsageError, match="activation: wrong type: expected a text or null; got 1"):
        tell([IMAGE], outputs, head_options={"activation": 1})
