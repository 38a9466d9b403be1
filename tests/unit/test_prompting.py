"""Promptable masks: what a decoder is fed with, what is chosen, and how masks come back."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import ImageError, InferenceError, UsageError
from edgecv.manifest import Input
from edgecv.prompt_decoder import Answer, PromptDecoder
from edgecv.prompting import Segmenter, _chosen, load_segmenter
from edgecv.prompts import Prompts, prompts_of
from edgecv.types import TensorSpec
from tests import models

SIDE = 64


def specs(**shapes: Any) -> list[TensorSpec]:
    return [
        TensorSpec(name, shape, "int64" if name == "input_labels" else "float32")
        for name, shape in shapes.items()
    ]


SAM = specs(
    image_embeddings=(1, 8, 4, 4), point_coords=(1, None, 2), point_labels=(1, None),
    mask_input=(1, 1, 16, 16), has_mask_input=(1,), orig_im_size=(2,),
)  # fmt: skip
SAM_OUT = specs(masks=(1, None, None, None), iou_predictions=(1, 4), low_res_masks=(1, 4, 16, 16))
HF = specs(image_embeddings=(1, 8, 4, 4), input_points=(1, 1, None, 2), input_labels=(1, 1, None))
HF_OUT = specs(iou_scores=(1, 1, 3), pred_masks=(1, 1, 3, 16, 16))


def decoder(inputs: Any, outputs: Any) -> PromptDecoder:
    return PromptDecoder(inputs, outputs, ["image_embeddings"], (SIDE, SIDE), "d")


def prompts(points: Any = (), labels: Any = (), box: Any = None, mask: Any = None) -> Prompts:
    return Prompts(
        points=np.array(points, np.float32).reshape(-1, 2),
        labels=np.array(labels, np.int32),
        box=None if box is None else np.array(box, np.float32),
        mask=mask,
        source_hw=(30, 40),
    )


def test_points_of_the_sam_layout_get_one_that_is_none() -> None:
    feeds = decoder(SAM, SAM_OUT).feeds(prompts([[10.5, 4.5], [3, 2]], [1, 0]))
    assert feeds["point_coords"].tolist() == [[[10, 4], [2.5, 1.5], [0, 0]]]
    assert feeds["point_labels"].tolist() == [[1, 0, -1]]
    assert feeds["orig_im_size"].tolist() == [30, 40]
    assert (feeds["has_mask_input"].tolist(), feeds["mask_input"].any()) == ([0], False)
    assert {value.dtype for value in feeds.values()} == {np.dtype("float32")}


def test_boxes_of_the_sam_layout_are_two_points() -> None:
    feeds = decoder(SAM, SAM_OUT).feeds(prompts([[10.5, 4.5]], [0], box=[1.5, 2.5, 7.5, 8.5]))
    assert feeds["point_coords"].tolist() == [[[10, 4], [1, 2], [7, 8]]]
    assert feeds["point_labels"].tolist() == [[0, 2, 3]]


def test_an_earlier_mask() -> None:
    mask = np.full((16, 16), 2, np.float32)
    feeds = decoder(SAM, SAM_OUT).feeds(prompts(mask=mask))
    assert feeds["has_mask_input"].tolist() == [1]
    assert (feeds["mask_input"] == 2).all()
    assert feeds["point_labels"].tolist() == [[-1]]
    with pytest.raises(UsageError, match=r"expected logits of shape \(16, 16\); got \(4, 4\)"):
        decoder(SAM, SAM_OUT).feeds(prompts(mask=mask[:4, :4]))
    free = [s if s.name != "mask_input" else s.__class__(s.name, (1, 1, None, None), s.dtype)
            for s in SAM]  # fmt: skip
    assert decoder(free, SAM_OUT).feeds(prompts())["mask_input"].shape == (1, 1, 16, 16)


def test_the_hugging_face_layout() -> None:
    feeds = decoder(HF, HF_OUT).feeds(prompts([[10.5, 4.5]], [1]))
    assert feeds["input_points"].tolist() == [[[[10, 4]]]]
    assert (feeds["input_labels"].tolist(), feeds["input_labels"].dtype) == ([[[1]]], np.int64)
    with pytest.raises(UsageError, match="does not take a box: expected an input input_boxes"):
        decoder(HF, HF_OUT).feeds(prompts(box=[1, 2, 3, 4]))
    with pytest.raises(UsageError, match="does not take a mask"):
        decoder(HF, HF_OUT).feeds(prompts([[1, 1]], [1], mask=np.zeros((16, 16))))
    boxes = decoder([HF[0], *specs(input_boxes=(1, 1, 4))], HF_OUT)
    assert boxes.feeds(prompts(box=[1, 2, 3, 4]))["input_boxes"].tolist() == [
        [[0.5, 1.5, 2.5, 3.5]]
    ]
    with pytest.raises(UsageError, match="does not take points"):
        boxes.feeds(prompts([[1, 1]], [1], box=[1, 2, 3, 4]))
    with pytest.raises(UsageError, match="input input_boxes: this decoder always needs a box"):
        boxes.feeds(prompts())


def test_decoders_that_are_none() -> None:
    with pytest.raises(UsageError, match="not a mask decoder that is known here"):
        decoder(specs(x=(1, 3, 8, 8)), SAM_OUT)
    with pytest.raises(UsageError, match="outputs iou_predictions, low_res_masks"):
        decoder(SAM, HF_OUT)
    with pytest.raises(UsageError, match="among image_embeddings; got high_res_features"):
        decoder([*SAM, *specs(high_res_features=(1, 8, 4, 4))], SAM_OUT)
    outputs = {"iou_predictions": np.zeros((1, 4)), "low_res_masks": np.zeros((1, 3, 16, 16))}
    with pytest.raises(InferenceError, match=r"got \[1, 4\] and \[1, 3, 16, 16\]"):
        decoder(SAM, SAM_OUT).answer(outputs, (30, 40))


@pytest.mark.parametrize(
    ("scores", "points", "multimask", "expected"),
    [
        ([0.9, 0.2, 0.8, 0.5], 1, True, [2, 3, 1]),
        ([0.9, 0.2, 0.8, 0.5], 2, False, [2]),
        ([0.1, 0.2, 0.8, 0.5], 3, False, [0]),
        ([0.1, 0.2, 0.8], 3, True, [2, 1, 0]),
        ([0.1, 0.2, 0.8], 3, False, [2]),
        ([0.5, 0.5, 0.5], 1, True, [0, 1, 2]),
        ([0.4], 1, True, [0]),
    ],
)
def test_which_masks_are_chosen(
    scores: Any, points: int, multimask: bool, expected: list[int]
) -> None:
    answer = Answer(np.array(scores, np.float32), np.zeros((len(scores), 4, 4), np.float32), None)
    assert _chosen(answer, points, multimask).tolist() == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no prompt: expected points, boxes or a mask"),
        ({"points": []}, r"points: expected \(N, 2\) numbers, N at least 1; got \[\]"),
        ({"points": [3, 4]}, r"points: expected \(N, 2\) numbers"),
        ({"points": "ab"}, r"points: expected \(N, 2\) numbers"),
        ({"points": [[np.nan, 1]]}, "points: not finite"),
        ({"points": [[41, 1]]}, "points: outside the image: expected 0 to 40, 30"),
        ({"boxes": [0, 0, 10, 31]}, "boxes: outside the image"),
        ({"boxes": [9, 0, 5, 3]}, "boxes: expected left, top, right, bottom"),
        ({"points": [[1, 1]], "labels": [2]}, r"labels: expected 1 of 0 or 1; got \[2\]"),
        ({"points": [[1, 1]], "labels": [1, 0]}, "labels: expected 1 of 0 or 1"),
        ({"points": [[1, 1]], "boxes": [[0, 0, 1, 1]] * 2}, "cannot be shared by several boxes"),
        ({"mask": np.zeros(3)}, r"mask: expected \(h, w\) finite logits; got \(3,\)"),
    ],
)
def test_prompts_that_cannot_be_meant(given: dict[str, Any], message: str) -> None:
    given = {"points": None, "labels": None, "boxes": None, "mask": None, **given}
    with pytest.raises(UsageError, match=message):
        prompts_of(**given, source_hw=(30, 40))


def onnx_pair(folder: Path, *, full: bool) -> tuple[Path, Path]:
    """Write an encoder that shrinks an image by 4, and a decoder of one mask: what is bright.

    The decoder's score is the sum of the coordinates that it was given, in thousands.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind, kernel = TensorProto.FLOAT, {"kernel_shape": [4, 4], "strides": [4, 4]}

    def value(name: str, shape: Any) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    encoder = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["features"], **kernel)], "encoder",
        [value("x", [1, 3, SIDE, SIDE])], [value("features", [1, 3, 16, 16])],
    )  # fmt: skip
    constants = {"one": np.array([1]), "thousand": np.float32(1000), "axes": np.array([1, 2])}
    nodes = [
        helper.make_node("ReduceMean", ["image_embeddings", "one"], ["low_res_masks"]),
        helper.make_node("ReduceSum", ["point_coords", "axes"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "one"], ["sums"]),
        helper.make_node("Div", ["sums", "thousand"], ["iou_predictions"]),
    ]
    outputs = [value("iou_predictions", [1, 1]), value("low_res_masks", [1, 1, 16, 16])]
    inputs = [value("image_embeddings", [1, 3, 16, 16]), value("point_coords", [1, "n", 2]),
              value("point_labels", [1, "n"])]  # fmt: skip
    if full:
        # A mask of its own at source size: everything.
        inputs.append(value("orig_im_size", [2]))
        constants["ones"] = np.array([1, 1])
        nodes += [
            helper.make_node("Cast", ["orig_im_size"], ["size"], to=TensorProto.INT64),
            helper.make_node("Concat", ["ones", "size"], ["shape"], axis=0),
            helper.make_node("ConstantOfShape", ["shape"], ["masks"],
                             value=helper.make_tensor("v", kind, [1], [1.0])),
        ]  # fmt: skip
        outputs.append(value("masks", [1, 1, "h", "w"]))
    # point_labels has to be used, too.
    nodes[2:2] = [helper.make_node("Identity", ["point_labels"], ["labels"])]
    outputs.append(value("labels", [1, "n"]))
    arrays = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    decoder = helper.make_graph(nodes, "decoder", inputs, outputs, arrays)
    paths = folder / "encoder.onnx", folder / "decoder.onnx"
    for graph, path in zip((encoder, decoder), paths, strict=True):
        opset = helper.make_opsetid("", 18)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        path.write_bytes(made.SerializeToString())
    return paths


@pytest.fixture(params=[False, True], ids=["low", "full"])
def segmenter(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with load_segmenter(*onnx_pair(tmp_path, full=request.param), trusted=True) as opened:
        yield opened


def picture() -> Any:
    """(40, 80, 3): black, and white in the columns 20 to 60 of the rows 8 to 24."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[8:24, 20:60] = 255
    return image


def test_a_whole_pair(segmenter: Segmenter, request: pytest.FixtureRequest) -> None:
    session = segmenter.set_image(picture())
    assert session.source_hw == (40, 80)
    found = session.predict([[20, 10], [40, 30]], labels=[1, 0])
    # Scaled by 64 / 80, less half a pixel, with a point of zeros behind.
    assert found.score[0] * 1000 == pytest.approx(0.8 * 100 - 4 * 0.5)
    mask = found.masks.full(0)
    assert mask.shape == (40, 80)
    if "full" in request.node.name:
        assert mask.all()
        return
    # Cells of 4 x 4 input pixels are 5 x 5 here; the edge lies between them.
    assert mask[12:20, 25:55].all()
    assert not mask[:4].any()
    assert not mask[:, :15].any()
    # The border below is 0 after the normalisation, and so not part of the black.
    assert found.logits[0, 12, 0] == 0
    assert found.logits[0, 2, 0] < -1
    data = found.to_json()["masks"][0]
    assert (data["mask"]["size"], data["score"]) == ([40, 80], round(float(found.score[0]), 6))


def test_several_boxes_are_as_many_objects(segmenter: Segmenter) -> None:
    session = segmenter.set_image(picture())
    boxes = [[0, 0, 10, 10], [5, 5, 80, 40]]
    found = session.predict(boxes=boxes)
    sums = [0.8 * sum(box) - 2 for box in boxes]
    np.testing.assert_allclose(found.score * 1000, sums, rtol=1e-5)
    assert (len(found), len(found.masks), found.logits.shape) == (2, 2, (2, 16, 16))
    one = session.predict(boxes=boxes[1])
    np.testing.assert_array_equal(one.masks.full(0), found.masks.full(1))


@given(st.integers(1, 90), st.integers(1, 90))
def test_masks_have_the_size_of_the_image(height: int, width: int) -> None:
    session = _shared().set_image(np.full((height, width, 3), 200, np.uint8))
    found = session.predict([[width / 2, height / 2]])
    assert found.masks.size_hw == (height, width)
    assert found.masks.full(0).all()


@cache
def _shared() -> Segmenter:
    """Open one segmenter for all sizes that are tried."""
    with tempfile.TemporaryDirectory() as folder:
        return load_segmenter(*onnx_pair(Path(folder), full=False), trusted=True)


def test_refusals(tmp_path: Path) -> None:
    encoder, decoder = onnx_pair(tmp_path, full=False)
    with pytest.raises(UsageError, match="no such file"):
        load_segmenter(tmp_path / "x.onnx", decoder, trusted=True)
    with pytest.raises(UsageError, match="not a mask decoder"):
        load_segmenter(encoder, encoder, trusted=True)
    with pytest.raises(UsageError, match=r"not an image encoder: expected one input \[1,3,H,W\]"):
        load_segmenter(decoder, decoder, trusted=True)
    stretch = Input(size_hw=(SIDE, SIDE), resize="stretch")
    with pytest.raises(UsageError, match="expected letterbox-topleft; got stretch"):
        load_segmenter(encoder, decoder, pixels=stretch, trusted=True)
    with load_segmenter(encoder, decoder) as opened:
        with pytest.raises(ImageError):
            opened.set_image(b"no image")
        session = opened.set_image(models.image())
    with pytest.raises(InferenceError):
        session.predict([[1, 1]])
