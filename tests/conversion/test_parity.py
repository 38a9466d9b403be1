"""Parity of outputs and results: what is the same passes, and nothing that is not hides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecv.converters.artifact import Artifact
from edgecv.converters.calibration import CalibrationSet, calibration_set
from edgecv.converters.parity import (
    Parity,
    check_float,
    compare_outputs,
    parity,
    result_agreement,
)
from edgecv.errors import ParityError
from edgecv.loading import load
from edgecv.manifest import HeadSpec, Input
from edgecv.results.detections import Detections
from edgecv.types import Array
from tests import models

IMAGES = [Path(f"{i}.png") for i in range(3)]
YOLO = HeadSpec(name="yolo")
SPEC = Input(size_hw=models.SIZE_HW, resize="letterbox", std=(255, 255, 255))

Outputs = Mapping[str, Array]


def fixed(make: Callable[[int], Outputs]) -> Callable[[Path], Outputs]:
    """Make a model of a function of the image's number."""
    return lambda image: make(int(image.stem))


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def one(change: Callable[[Array], Array] = lambda v: v, name: str = "y") -> Any:
    return fixed(lambda i: {name: change(noise(i, 1, 50))})


def test_the_same_outputs() -> None:
    result = compare_outputs(one(), one(), IMAGES)
    (row,) = result.outputs
    assert (row.name, row.max_abs, row.snr_db) == ("y", 0, None)
    assert row.cosine == pytest.approx(1)
    assert row.scale == pytest.approx(max(np.abs(noise(i, 1, 50)).max() for i in range(3)))
    assert result.images == 3
    assert (result.vacuous, result.nondeterministic, result.nan) == (None, (), ())
    check_float(result)


def test_the_measures_are_those_of_all_images_together() -> None:
    error = 0.1 * noise(9, 1, 50)
    result = compare_outputs(one(), one(lambda v: v + error), IMAGES)
    a = np.concatenate([noise(i, 1, 50).ravel() for i in range(3)]).astype(np.float64)
    b = np.concatenate([(noise(i, 1, 50) + error).ravel() for i in range(3)]).astype(np.float64)
    (row,) = result.outputs
    assert row.max_abs == pytest.approx(np.abs(a - b).max())
    assert row.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert row.snr_db == pytest.approx(10 * math.log10((a @ a) / ((a - b) @ (a - b))))
    assert result.to_json()["outputs"][0]["snr_db"] == row.snr_db


@pytest.mark.parametrize("factor", [0.98, 1.02, -1])
def test_what_is_off_is_refused(factor: float) -> None:
    result = compare_outputs(one(), one(lambda v: v * np.float32(factor)), IMAGES)
    with pytest.raises(ParityError, match="output y is not the source's") as caught:
        check_float(result, where="onnx, plain")
    assert caught.value.where == "onnx, plain"
    assert "differences of up to" in str(caught.value.got)


def test_many_small_errors_are_found_by_the_cosine() -> None:
    """Each is a hundredth of the largest value, and together they are all that there is."""
    true = fixed(lambda i: {"y": np.sign(noise(i, 1, 5000)) * np.float32(0.01) + np.eye(1, 5000)})
    gone = fixed(lambda i: {"y": np.eye(1, 5000)})
    result = compare_outputs(true, gone, IMAGES)
    assert result.outputs[0].max_abs < 0.01 * result.outputs[0].scale
    with pytest.raises(ParityError, match=r"cosine 0\.8"):
        check_float(result)


def mixed(change: float) -> Any:
    """Make a model of 20 boxes in pixels and 3 scores each, one of them changed."""

    def make(seed: int) -> Outputs:
        random = np.random.default_rng(seed)
        box, score = random.uniform(0, 640, (4, 900)), random.uniform(0, 0.9, (3, 900))
        score[1, 7] += change
        return {"y": np.concatenate([box, score])[None].astype(np.float32)}

    return fixed(make)


def test_scores_do_not_hide_behind_pixels() -> None:
    """A score that is off by a half is a thousandth of the largest coordinate."""
    result = compare_outputs(mixed(0), mixed(0.5), IMAGES)
    check_float(result)
    result = compare_outputs(mixed(0), mixed(0.5), IMAGES, head=YOLO, input_hw=(640, 640))
    assert [row.name for row in result.outputs] == ["y", "y (scores)"]
    assert result.worst.name == "y (scores)"
    with pytest.raises(ParityError, match=r"output y \(scores\)"):
        check_float(result)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda i: np.zeros((1, 9)), "y is 0 everywhere"),
        (lambda i: 1e-21 * noise(i, 1, 9), "y is at most"),
        (lambda i: np.full((1, 9), 0.5), "y is 0.5 everywhere"),
        (lambda i: noise(7, 1, 9), "y is the same for 3 different images"),
    ],
)
def test_a_comparison_that_could_not_fail_is_said(
    make: Callable[[int], Array], reason: str
) -> None:
    model = fixed(lambda i: {"y": make(i)})
    result = compare_outputs(model, model, IMAGES)
    assert result.vacuous is not None
    assert result.vacuous.startswith(reason)
    with pytest.raises(ParityError, match="proves nothing"):
        check_float(result)


def test_one_constant_output_among_others_is_a_note_but_zeros_are_not() -> None:
    table = fixed(lambda i: {"y": noise(i, 1, 9), "anchors": noise(7, 1, 9)})
    result = compare_outputs(table, table, IMAGES)
    assert result.vacuous is None
    assert result.notes == ("anchors is the same for 3 different images",)
    check_float(result)
    dead = fixed(lambda i: {"y": noise(i, 1, 9), "scores": np.zeros((1, 9))})
    assert compare_outputs(dead, dead, IMAGES).vacuous == "scores is 0 everywhere"


def test_a_single_image_can_be_compared() -> None:
    assert compare_outputs(one(), one(), IMAGES[:1]).vacuous is None
    with pytest.raises(ParityError, match="no image"):
        compare_outputs(one(), one(), [])


def test_who_is_random_or_not_a_number() -> None:
    shaky = wavering(one())
    assert compare_outputs(one(), shaky, IMAGES).nondeterministic == ("candidate",)
    assert compare_outputs(shaky, shaky, IMAGES).nondeterministic == ("reference", "candidate")

    def broken(v: Array) -> Array:
        v = v.copy()
        v[0, 3] = np.nan
        return v

    result = compare_outputs(one(), one(broken), IMAGES)
    assert result.nan == ("candidate",)
    with pytest.raises(ParityError, match="NaN or infinity"):
        check_float(result)
    both = compare_outputs(one(broken), one(broken), IMAGES)
    assert both.nan == ("reference", "candidate")
    assert both.nondeterministic == ()


def wavering(model: Callable[[Path], Outputs]) -> Callable[[Path], Outputs]:
    """Make a model that gives slightly other numbers each time."""
    calls = iter(range(100))

    def run(image: Path) -> Outputs:
        off = np.float32(1e-5 * next(calls))
        return {name: array + off for name, array in model(image).items()}

    return run


def test_outputs_are_matched_by_name_position_or_shape() -> None:
    a = fixed(lambda i: {"p": noise(i, 1, 5), "q": noise(i + 50, 1, 5)})
    swapped = fixed(lambda i: {"q": noise(i + 50, 1, 5), "p": noise(i, 1, 5)})
    renamed = fixed(lambda i: {"out0": noise(i, 1, 5), "out1": noise(i + 50, 1, 5)})
    for other in (swapped, renamed):
        rows = compare_outputs(a, other, IMAGES).outputs
        assert [(row.name, row.max_abs) for row in rows] == [("p", 0), ("q", 0)]
    b = fixed(lambda i: {"p": noise(i, 1, 5), "q": noise(i + 50, 1, 6)})
    turned = fixed(lambda i: {"0": noise(i + 50, 1, 6), "1": noise(i, 1, 5)})
    assert [row.max_abs for row in compare_outputs(b, turned, IMAGES).outputs] == [0, 0]
    for wrong in (one(), fixed(lambda i: {"p": noise(i, 1, 5), "q": noise(i, 1, 4)})):
        with pytest.raises(ParityError, match="do not match") as caught:
            compare_outputs(a, wrong, IMAGES)
        assert caught.value.expected == "p [1, 5], q [1, 5]"


@pytest.fixture
def images(tmp_path: Path) -> CalibrationSet:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(8):
        models.write_image(folder / f"{i}.png", i)
    return calibration_set(folder)


def artifact(path: Path, **more: Any) -> Artifact:
    if path.suffix == ".xml":
        return Artifact("openvino", (path, path.with_suffix(".bin")), **more)
    return Artifact("onnx", (path,), **more)


def test_two_engines_on_real_files(tmp_path: Path, images: CalibrationSet) -> None:
    source = artifact(models.onnx_detector(tmp_path / "a.onnx"))
    made = artifact(models.openvino_detector(tmp_path))
    result = parity(source, made, images, SPEC, limit=3, head=YOLO)
    assert result.images == 3
    assert [row.name for row in result.outputs] == ["y", "y (scores)"]
    assert result.outputs[1].max_abs < 1e-5
    assert result.outputs[1].scale > 0.5
    check_float(result)
    wrong = artifact(models.onnx_detector(tmp_path / "b.onnx", gain=0.9))
    with pytest.raises(ParityError, match=r"y \(scores\) is not the source's"):
        check_float(parity(source, wrong, images, SPEC, head=YOLO))


def test_each_is_fed_in_its_own_way(tmp_path: Path) -> None:
    """The same network with the pixel work inside takes uint8 BGR in another layout."""
    plain = artifact(models.onnx_classifier(tmp_path / "plain.onnx"))
    fused = fused_classifier(tmp_path / "fused.onnx")
    inside = artifact(fused, layout="NHWC", in_graph=("color", "normalize"))
    colors = [(200, 40, 90), (20, 240, 130), (90, 20, 60)]
    pictures = [
        models.write_image(tmp_path / f"{i}.png", color=color) for i, color in enumerate(colors)
    ]
    images = CalibrationSet.of(pictures, "colours")
    spec = Input(size_hw=(32, 32), resize="stretch", mean=(20, 30, 40), std=(50, 60, 70))
    check_float(parity(plain, inside, images, spec))
    with pytest.raises(ParityError, match="output y"):
        check_float(parity(plain, replace(inside, in_graph=("normalize",)), images, spec))


def fused_classifier(path: Path) -> Path:
    """Write the classifier of `models` with colour order and normalisation inside."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "mean": np.array([20, 30, 40], np.float32),
        "std": np.array([50, 60, 70], np.float32),
        "order": np.array([2, 1, 0]),
        "w": np.eye(3, dtype=np.float32) * 4,
    }
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["f", "order"], ["rgb"], axis=3),
        helper.make_node("Sub", ["rgb", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fused",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_results_of_models(tmp_path: Path, images: CalibrationSet) -> None:
    path = models.onnx_detector(tmp_path / "a.onnx")
    weak = models.onnx_detector(tmp_path / "b.onnx", gain=0.9)
    with (
        load(path, head="yolo", trusted=True) as a,
        load(path, head="yolo", backend="openvino", trusted=True) as b,
        load(weak, head="yolo", trusted=True) as c,
    ):
        same = result_agreement(a, b, images.images)
        assert (same.images, same.found, same.unmatched) == (8, 16, 0)
        assert same.score < 1e-5
        assert same.box_px < 1e-3
        other = result_agreement(a, c, images.images)
        assert 0.05 < other.score < 0.1
        assert list(other.to_json()) == ["images", "found", "score", "box_px", "area", "unmatched"]


def test_what_only_one_finds_counts_unless_it_is_at_the_threshold() -> None:
    def model(*scores: float) -> Any:
        boxes = np.array([[50 * i, 0, 50 * i + 40, 40] for i in range(len(scores))], np.float32)
        value = Detections(
            boxes.reshape(-1, 4), np.array(scores, np.float32), np.zeros(len(scores), np.int32)
        )

        def run(image: Path) -> Any:
            return SimpleNamespace(value=value)

        run.options = SimpleNamespace(confidence=0.25)  # type: ignore[attr-defined]
        return run

    found = result_agreement(model(0.9, 0.26, 0.5), model(0.9), IMAGES[:1])
    assert (found.found, found.unmatched) == (3, 1)
    assert result_agreement(model(), model(0.3), IMAGES[:1]).unmatched == 1


def test_the_worst_output_is_worst_in_its_own_scale() -> None:
    a = fixed(lambda i: {"big": 1000 * noise(i, 1, 9), "small": noise(i, 1, 9)})
    b = fixed(lambda i: {"big": 1000 * noise(i, 1, 9) + 1, "small": noise(i, 1, 9) + 0.1})
    result: Parity = compare_outputs(a, b, IMAGES)
    assert result.worst.name == "small"
