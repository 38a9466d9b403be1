"""Tiny models and images for tests of the upper layers, and the command line in this process."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgecv.types import Array

SIZE_HW = (64, 96)
ANCHORS = 8 * 12 + 4 * 6 + 2 * 3
"""Cells of strides 8, 16 and 32 in an input of SIZE_HW."""

LABELS = ("red", "green", "blue")
BOXES = ((48, 32, 20, 16, 1, 0.9), (16, 16, 12, 20, 0, 0.8))
"""Of the detector: centre x, centre y, width, height in input pixels; class; score on white."""


def image(seed: int = 0, hw: tuple[int, int] = (40, 60), color: Any = None) -> Array:
    """(H, W, 3) uint8 BGR: bright noise, or one colour."""
    if color is not None:
        return np.full((*hw, 3), color, np.uint8)
    return np.random.default_rng(seed).integers(150, 256, (*hw, 3), np.uint8)


def write_image(
    path: Path, seed: int = 0, hw: tuple[int, int] = (40, 60), color: Any = None
) -> Path:
    """Write such an image in the format of the path's suffix."""
    good, data = cv2.imencode(path.suffix, image(seed, hw, color))
    assert good
    path.write_bytes(data.tobytes())
    return path


def tensor(name: str, shape: Sequence[int | None], dtype: str = "float32", **more: Any) -> Any:
    """Describe a tensor of a null model."""
    return {"name": name, "shape": list(shape), "dtype": dtype, **more}


def null_model(
    path: Path,
    outputs: Sequence[Any],
    *,
    inputs: Sequence[Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model of the null backend; `path` ends in ``.null.json``."""
    data = {
        "inputs": inputs or [tensor("x", [1, 3, *SIZE_HW])],
        "outputs": list(outputs),
        "metadata": dict(metadata or {}),
    }
    path.write_text(json.dumps(data))
    return path


def null_classifier(path: Path, scores: Sequence[float] = (0.1, 0.7, 0.2), **more: Any) -> Path:
    """Write a null model that always says `scores`."""
    return null_model(path, [tensor("y", [1, len(scores)], values=list(scores))], **more)


def null_detector(path: Path, rows: Sequence[Sequence[float]] | None = None, **more: Any) -> Path:
    """Write a null model of layout [1, N, 6]: x1, y1, x2, y2, score, class, in input pixels."""
    rows = [[10, 10, 50, 40, 0.9, 1], [60, 20, 90, 60, 0.6, 0]] if rows is None else rows
    values = [v for row in rows for v in row]
    return null_model(path, [tensor("y", [1, len(rows), 6], values=values)], **more)


def ultralytics(task: str = "detect", names: Any = None, **more: Any) -> dict[str, Any]:
    """Return what Ultralytics' exporter says about a model, as Python values."""
    return {
        "description": "Ultralytics YOLO11n model trained on nothing",
        "author": "Ultralytics",
        "version": "8.3.0",
        "license": "AGPL-3.0",
        "stride": 32,
        "task": task,
        "batch": 1,
        "imgsz": list(SIZE_HW),
        "names": dict(enumerate(LABELS)) if names is None else names,
        "args": {"batch": 1, "half": False, "nms": False},
        **more,
    }


def as_properties(said: Mapping[str, Any]) -> dict[str, str]:
    """Write metadata as ONNX properties hold it."""
    return {key: str(value) for key, value in said.items()}


def zipped(members: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return some bytes of a model with a zip behind them."""
    buffer = io.BytesIO(b"\x1c\0\0\0TFL3" + bytes(range(256)))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", compression) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def onnx_detector(
    path: Path,
    *,
    batch: int | str = 1,
    boxes: Sequence[Sequence[float]] = BOXES,
    metadata: Mapping[str, str] | None = None,
    gain: float = 1.0,
) -> Path:
    """Write a detector [N, 4 + 3, A] whose scores are those of `boxes` times the mean pixel.

    Args:
        path: where to.
        batch: size of the batch axis; a name makes it free.
        boxes: as BOXES.
        metadata: metadata_props.
        gain: factor of all scores.
    """
    from onnx import TensorProto, helper, numpy_helper

    geometry = np.zeros((1, 4, ANCHORS), np.float32)
    scores = np.zeros((1, len(LABELS), ANCHORS), np.float32)
    for i, (*cxcywh, class_id, score) in enumerate(boxes):
        geometry[0, :, i] = cxcywh
        scores[0, int(class_id), i] = score * gain
    constants = {
        "axes": np.array([1, 2, 3]),
        "last": np.array([3]),
        "geometry": geometry,
        "scores": scores,
        "zero": np.float32(0),
        "same": np.eye(3, dtype=np.float32)[:, :, None, None],
    }
    nodes = [
        # A convolution that changes nothing: by it engines tell their precision.
        helper.make_node("Conv", ["x", "same"], ["pixels"]),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean4"]),
        helper.make_node("Squeeze", ["mean4", "last"], ["mean"]),
        helper.make_node("Mul", ["mean", "scores"], ["scored"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "geometry"], ["placed"]),
        helper.make_node("Concat", ["placed", "scored"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, *SIZE_HW])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4 + len(LABELS), ANCHORS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return _save(graph, path, metadata)


def onnx_classifier(
    path: Path,
    *,
    batch: int | str = 1,
    metadata: Mapping[str, str] | None = None,
    narrow: bool = False,
) -> Path:
    """Write a classifier: its logits are 4 times the mean of each channel, R, G, B.

    Args:
        path: where to.
        batch: size of the batch axis; a name makes it free.
        metadata: metadata_props.
        narrow: pick the logits by a GatherElements whose indices are narrower than its data: ONNX
            allows it, OpenVINO does not.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["logits" if narrow else "y"]),
    ]
    constants = {"w": np.eye(3, dtype=np.float32) * 4}
    if narrow:
        constants |= {"last": np.array([2]), "which": np.array([[[0, 0], [1, 1], [2, 2]]])}
        nodes += [
            helper.make_node("Unsqueeze", ["logits", "last"], ["column"]),
            helper.make_node("Concat", ["column"] * 3, ["wide"], axis=2),
            helper.make_node("GatherElements", ["wide", "which"], ["picked"], axis=1),
            helper.make_node("ReduceMean", ["picked", "last"], ["y"], keepdims=0),
        ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return _save(graph, path, metadata)


def _save(graph: Any, path: Path, metadata: Mapping[str, str] | None) -> Path:
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    path.write_bytes(model.SerializeToString())
    return path


def openvino_detector(folder: Path, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write the detector as OpenVINO IR, with metadata.yaml beside it; return the ``.xml``."""
    import openvino
    import yaml

    source = onnx_detector(folder / "source.onnx")
    openvino.save_model(
        openvino.convert_model(str(source)), str(folder / "model.xml"), compress_to_fp16=False
    )
    source.unlink()
    if metadata is not None:
        (folder / "metadata.yaml").write_text(yaml.safe_dump(dict(metadata)))
    return folder / "model.xml"


@dataclass(frozen=True)
class Ran:
    """What a command did: exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*args: object) -> Ran:
    """Run ``edgecv ARGS`` in this process, up to and including its exit status."""
    from edgecv.cli.main import main

    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    argv, sys.argv = sys.argv, ["edgecv", *map(str, args)]
    status: Any = 0
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            try:
                main()
            except SystemExit as end:
                status = end.code
    finally:
        sys.argv = argv
    out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]  # a BytesIO
    return Ran(status, out, err)
