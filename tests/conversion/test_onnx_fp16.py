"""Half precision: float32 at the ends, float16 within, close results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgecv import onnx_file
from edgecv.converters.steps.onnx_fp16 import to_fp16
from edgecv.converters.steps.onnx_fuse_input import fuse_input
from edgecv.errors import ParityError, StepError
from edgecv.manifest import Input
from tests.conversion.onnx_nets import Net, image, outputs, save


def net(gain: float = 1.0) -> Net:
    made = Net()
    made.conv("x", "a", (3, 8))
    made.add("Relu", ["a"], "b")
    made.conv("b", "c", (8, 4))
    made.add("Mul", ["c", made.hold("gain", np.float32(gain))], "y")
    return made


def test_results_are_close_and_the_file_is_half(tmp_path: Path) -> None:
    before = net().model(["y"], metadata={"names": "a b"})
    source = save(before, tmp_path)
    made = to_fp16(source, tmp_path)
    assert made.precision == "fp16"
    graph = onnx.load(made.path).graph
    kinds = [v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)]
    assert kinds == [TensorProto.FLOAT] * 2
    assert onnx_file.read(made.path).layers == {"fp16": 2}
    assert onnx.load(made.path).metadata_props[0].value == "a b"
    feed = {"x": image()}
    want = outputs(before, feed)["y"]
    np.testing.assert_allclose(outputs(made, feed)["y"], want, atol=5e-3 * np.abs(want).max())


def test_resizes_that_share_their_scales(tmp_path: Path) -> None:
    made = net()
    scales = made.hold("scales", np.array([1, 1, 2, 2], np.float32))
    made.add("Resize", ["y", "", scales], "up", name="up", mode="nearest")
    made.add("Resize", ["c", "", scales], "up2", name="up2", mode="nearest")
    made.add("Add", ["up", "up2"], "z")
    before = made.model(["z"])
    half = to_fp16(save(before, tmp_path), tmp_path)
    feed = {"x": image()}
    want = outputs(before, feed)["z"]
    np.testing.assert_allclose(outputs(half, feed)["z"], want, atol=5e-3 * np.abs(want).max())


def test_a_fused_graph(tmp_path: Path) -> None:
    how = Input(size_hw=(12, 16), resize="stretch", mean=(99, 99, 99), std=(60, 60, 60))
    fused = fuse_input(save(net().model(["y"]), tmp_path), tmp_path, spec=how)
    (tmp_path / "half").mkdir()
    made = to_fp16(fused, tmp_path / "half")
    assert (made.layout, made.in_graph) == (fused.layout, fused.in_graph)
    feed = {"image": np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)}
    want = outputs(fused, feed)["y"]
    np.testing.assert_allclose(outputs(made, feed)["y"], want, atol=1e-2 * np.abs(want).max())
    assert set(onnx_file.read(made.path).layers) == {"fp16"}


def test_an_output_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="output y") as caught:
        to_fp16(save(net(gain=6e4).model(["y"]), tmp_path), tmp_path)
    assert "bf16" in str(caught.value.remedy)


def test_a_weight_that_overflows_is_named(tmp_path: Path) -> None:
    made = net()
    made.weights["a_w"][0, 0, 0, 0] = 1e6
    with pytest.raises(StepError, match="too large for half precision") as caught:
        to_fp16(save(made.model(["y"]), tmp_path), tmp_path)
    assert caught.value.where == "node a"


def test_the_quantizer_can_be_imported_afterwards() -> None:
    code = (
        "from edgecv.converters.steps import onnx_fp16\n"
        "onnx_fp16._tool()\n"
        "import onnxruntime.quantization.qdq_quantizer\n"
        "import sys; assert not any('transformers' in path for path in sys.path)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
