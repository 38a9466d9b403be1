"""The backend without an engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecv.backends import null as backend
from edgecv.errors import ModelLoadError
from edgecv.types import ModelSource, Quantization, SessionOptions
from tests.contract import tiny_models


def open_changed(folder: Path, **changes: object) -> backend.NullSession:
    path = tiny_models.null_file(folder / "m.null.json", **changes)
    return backend.open_session(ModelSource.from_paths(path), SessionOptions())


def test_mean_of_each_image(tmp_path: Path) -> None:
    session = open_changed(
        tmp_path,
        inputs=[{"name": "x", "shape": [None, 3, 2, 2], "dtype": "uint8"}],
        outputs=[{"name": "y", "shape": [None, 2], "dtype": "float32", "values": "mean"}],
    )
    x = np.stack([np.full((3, 2, 2), 10, np.uint8), np.full((3, 2, 2), 250, np.uint8)])
    np.testing.assert_array_equal(session.run({"x": x})["y"], [[10, 10], [250, 250]])
    assert session.run({"x": x[:1]})["y"].shape == (1, 2)


def test_values_are_repeated_and_zero_is_the_default(tmp_path: Path) -> None:
    session = open_changed(
        tmp_path,
        outputs=[
            {"name": "a", "shape": [1, 5], "dtype": "int64", "values": [1, 2]},
            {"name": "b", "shape": [1, 2], "dtype": "float32"},
            {"name": "none", "shape": [1, 0, 6], "dtype": "float32"},
        ],
    )
    outputs = session.run({"x": tiny_models.image()})
    assert outputs["a"].tolist() == [[1, 2, 1, 2, 1]]
    assert outputs["b"].tolist() == [[0, 0]]
    assert outputs["none"].shape == (1, 0, 6)


def test_metadata_and_quantization(tmp_path: Path) -> None:
    quantized = {"scale": 0.5, "zero_point": 3}
    session = open_changed(
        tmp_path,
        outputs=[{"name": "y", "shape": [1], "dtype": "int8", "quantization": quantized}],
        metadata={"a": 1},
    )
    assert session.outputs[0].quantization == Quantization(0.5, 3)
    assert session.metadata == {"a": "1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"inputs": [{"name": "x", "shape": [], "dtype": "float32"}]},
        {"inputs": [{"name": "x", "dtype": "float32"}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": "float99"}]},
        {"inputs": None},
        {"outputs": [{"name": "y", "shape": [1], "dtype": "float32", "values": "median"}]},
        {"outputs": [{"name": "y", "shape": [1], "dtype": "float32", "values": []}]},
        {"outputs": [{"name": "y", "shape": [1], "dtype": "float32", "values": ["a"]}]},
        {"metadata": []},
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ModelLoadError, match=r"does not open it: .+"):
        open_changed(tmp_path, **changes)
