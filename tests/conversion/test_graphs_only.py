"""Files with a proof, for models whose results nothing here decodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.converters.graphs_only import convert_graphs
from edgecv.converters.order import Order
from edgecv.converters.proof import made_up
from edgecv.converters.source import Request
from edgecv.errors import UsageError
from edgecv.hints import Hints
from tests.models import command

torch = pytest.importorskip("torch")


class Keypoints(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two outputs that belong to no head."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Conv2d(channels, 8, 3, 2, 1)
        self.maps = torch.nn.Conv2d(8, 17, 1)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.body(x))
        return self.maps(y), y.mean((2, 3))


def order(tmp_path: Path, module: Any, **more: Any) -> Order:
    return Order(
        request=Request(module, input_hw=(32, 48)),
        output=tmp_path / "out",
        hints=Hints(origin="option"),
        **more,
    )


def test_all_formats_are_written_with_their_proof(tmp_path: Path) -> None:
    made = convert_graphs(order(tmp_path, Keypoints()))
    assert set(made.files) == {"onnx", "openvino", "tflite"}
    assert all(path.is_file() for path in made.files.values())
    assert (made.path / "model.bin").is_file()
    proof = json.loads((made.path / "proof.json").read_text())
    assert proof == made.document
    rows = {(row["step"], row["name"]) for row in proof["parity"]}
    assert {step for step, _ in rows} == {"openvino, plain", "tflite, plain"}
    assert len(rows) == 4
    assert max(row["max_abs"] for row in proof["parity"]) < 1e-3
    assert proof["images"] == "made-up images"
    assert proof["files"]["tflite"]["layout"] == "NHWC"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_grey_input(tmp_path: Path) -> None:
    request = Request(Keypoints(1), input_hw=(32, 32))
    made = convert_graphs(
        Order(request=request, output=tmp_path / "grey", formats=("onnx", "openvino"))
    )
    assert set(made.files) == {"onnx", "openvino"}


def test_an_output_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert_graphs(order(tmp_path, Keypoints()))
    given = Order(request=Request("x.onnx"), output=tmp_path / "x.edgecv")
    with pytest.raises(UsageError, match="go into a folder"):
        convert_graphs(given)


def test_the_command(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "import torch\n\ndef make():\n    return torch.nn.Conv2d(3, 4, 3, padding=1)\n"
    )
    ran = command(
        "convert", f"{source}:make", "-o", tmp_path / "out", "--graphs-only", "--to",
        "onnx,openvino", "--input", "32",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert "openvino, plain" in ran.out
    assert "model.onnx, model.xml" in ran.out


def test_made_up_pictures_differ_and_have_colours(tmp_path: Path) -> None:
    import cv2

    pictures = [cv2.imread(str(path)) for path in made_up(tmp_path, (40, 30)).images]
    assert {picture.shape for picture in pictures} == {(40, 30, 3)}
    for i, picture in enumerate(pictures):
        assert np.abs(picture[..., 0].astype(int) - picture[..., 2]).mean() > 5
        assert all(np.abs(picture.astype(int) - other).mean() > 5 for other in pictures[:i])
