"""Pixel work inside the graph: the same results from raw BGR pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecv.converters.artifact import Artifact
from edgecv.converters.steps.onnx_fuse_input import fuse_input
from edgecv.engines import load_backend
from edgecv.errors import StepError
from edgecv.manifest import Input
from edgecv.preprocess import Preprocessor
from edgecv.types import SessionOptions
from tests.conversion.onnx_nets import Net, ops, outputs, save

HW = (12, 16)
IMAGENET: dict[str, Any] = {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}


def spec(**options: Any) -> Input:
    return Input(size_hw=HW, resize="stretch", **options)


def net(pads: int = 1, bias: bool = True, name: str = "x") -> onnx.ModelProto:
    made = Net(4)
    made.conv(name, "a", (3, 6), bias=bias, pads=[pads] * 4)
    made.add("Relu", ["a"], "y")
    return made.model(["y"], name=name)


def focus() -> onnx.ModelProto:
    """Two consumers of the input, as where a stem slices it."""
    made = Net(4)
    for at in range(2):
        values = {"begin": at, "end": 99, "axis": 3, "step": 2}
        limits = [made.hold(f"{n}{at}", np.array([value])) for n, value in values.items()]
        made.add("Slice", ["x", *limits], f"part{at}")
    made.add("Concat", ["part0", "part1"], "both", axis=1)
    made.conv("both", "y", (6, 4))
    return made.model(["y"])


def runs_alike(plain: Artifact, fused: Artifact, how: Input) -> None:
    """Feed both as the runtime does, with one picture."""
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    results = []
    for artifact in (plain, fused):
        session = load_backend("onnxruntime").open_session(artifact.source(), SessionOptions())
        first = session.inputs[0]
        prepared, _ = Preprocessor(how, first, artifact.layout, artifact.in_graph).prepare(picture)
        results.append(session.run({first.name: prepared})["y"])
        session.close()
    np.testing.assert_allclose(results[1], results[0], atol=1e-4 * np.abs(results[0]).max())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    color=st.sampled_from(["rgb", "bgr"]),
    mean=st.sampled_from([(0.0, 0.0, 0.0), (10.0, 120.0, 250.0)]),
    std=st.sampled_from([(1.0, 1.0, 1.0), (255.0, 255.0, 255.0), (50.0, 60.0, 70.0)]),
    pads=st.integers(0, 1),
    bias=st.booleans(),
    stem=st.sampled_from(["conv", "focus"]),
)
def test_any_preparation_gives_the_same(
    tmp_path: Path, color: Any, mean: Any, std: Any, pads: int, bias: bool, stem: str
) -> None:
    plain = save(net(pads, bias) if stem == "conv" else focus(), tmp_path)
    how = spec(color=color, mean=mean, std=std)
    fused = fuse_input(plain, tmp_path, spec=how)
    assert (fused.layout, fused.in_graph) == ("NHWC", ("color", "normalize"))
    value = onnx.load(fused.path).graph.input[0]
    assert value.name == "image"
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, *HW, 3]
    runs_alike(plain, fused, how)


def test_scale_and_colour_go_into_the_weights(tmp_path: Path) -> None:
    fused = fuse_input(save(net(), tmp_path), tmp_path, spec=spec(std=(255.0, 255.0, 255.0)))
    assert ops(fused) == ["Cast", "Transpose", "Conv", "Relu"]


def test_a_mean_before_padding_becomes_a_node(tmp_path: Path) -> None:
    fused = fuse_input(save(net(pads=1), tmp_path), tmp_path, spec=spec(**IMAGENET))
    assert ops(fused) == ["Cast", "Transpose", "Sub", "Conv", "Relu"]
    assert "the mean" in fused.notes[-1]


@pytest.mark.parametrize("bias", [True, False])
def test_a_mean_goes_into_the_bias_where_nothing_is_padded(tmp_path: Path, bias: bool) -> None:
    plain = save(net(pads=0, bias=bias), tmp_path)
    fused = fuse_input(plain, tmp_path, spec=spec(**IMAGENET))
    assert ops(fused) == ["Cast", "Transpose", "Conv", "Relu"]
    runs_alike(plain, fused, spec(**IMAGENET))


def test_auto_pad_pads(tmp_path: Path) -> None:
    made = Net(4)
    weights = made.hold("w", made.rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    made.add("Conv", ["x", weights], "y", auto_pad="SAME_UPPER")
    plain = save(made.model(["y"]), tmp_path)
    fused = fuse_input(plain, tmp_path, spec=spec(**IMAGENET))
    assert "Sub" in ops(fused)
    runs_alike(plain, fused, spec(**IMAGENET))


def test_a_sliced_input_gets_nodes_for_everything(tmp_path: Path) -> None:
    fused = fuse_input(save(focus(), tmp_path), tmp_path, spec=spec(**IMAGENET))
    assert ops(fused)[:5] == ["Cast", "Transpose", "Gather", "Sub", "Mul"]


def test_shared_weights_stay_as_they_are_for_others(tmp_path: Path) -> None:
    made = Net(4)
    made.conv("x", "a", (3, 3))
    made.add("Conv", ["a", "a_w", "a_b"], "y", pads=[1] * 4)
    plain = save(made.model(["y"]), tmp_path)
    runs_alike(plain, fuse_input(plain, tmp_path, spec=spec(**IMAGENET)), spec(**IMAGENET))


@pytest.mark.parametrize("name", ["image", "x"])
def test_names_that_are_taken(tmp_path: Path, name: str) -> None:
    made = Net(4)
    made.conv(name, "image" if name == "x" else "a", (3, 4))
    made.add("Relu", ["image" if name == "x" else "a"], "y")
    plain = save(made.model(["y"], name=name), tmp_path)
    runs_alike(plain, fuse_input(plain, tmp_path, spec=spec(**IMAGENET)), spec(**IMAGENET))


def test_other_inputs_stay(tmp_path: Path) -> None:
    model = net()
    model.graph.node.add(op_type="Mul", input=["y", "gain"], output=["z"])
    model.graph.output.add().CopyFrom(
        onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    )
    model.graph.input.add().CopyFrom(
        onnx.helper.make_tensor_value_info("gain", onnx.TensorProto.FLOAT, [1])
    )
    fused = fuse_input(save(model, tmp_path), tmp_path, spec=spec(**IMAGENET))
    feed = {"image": np.full((1, *HW, 3), 9, np.uint8), "gain": np.array([2], np.float32)}
    found = outputs(fused, feed)
    np.testing.assert_array_equal(found["z"], found["y"] * 2)


def test_what_cannot_be_fused(tmp_path: Path) -> None:
    plain = save(net(), tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(StepError, match="grey"):
        fuse_input(plain, tmp_path / "out", spec=spec(color="grey"))
    wrong = Input(size_hw=(32, 32), resize="stretch")
    with pytest.raises(StepError, match="expected float32") as caught:
        fuse_input(plain, tmp_path / "out", spec=wrong)
    assert caught.value.got == "float32 [1, 3, 12, 16]"
    fused = fuse_input(plain, tmp_path / "out", spec=spec())
    with pytest.raises(StepError, match="a plain NCHW graph"):
        fuse_input(fused, tmp_path / "out", spec=spec())
    flat = Net()
    flat.add("Relu", ["x"], "y")
    with pytest.raises(StepError, match="no image input"):
        fuse_input(save(flat.model(["y"], shape=(1, 5)), tmp_path), tmp_path, spec=spec())
