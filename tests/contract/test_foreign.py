"""Every foreign format: it keeps its hands off files that are not its own."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from edgecv import plugins
from edgecv.errors import EdgecvError
from edgecv.hints import Hints

NAMES = plugins.names("foreign")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".null.json"])
def test_files_of_others(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"nothing that anybody wrote")
    read = plugins.load("foreign", name).read
    assert read(path, {}) is None
    assert read(path, {"producer": "somebody", "names": "['a']"}) is None


@pytest.mark.parametrize("name", NAMES)
def test_mutated_metadata_is_hints_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    read = plugins.load("foreign", name).read
    rng = random.Random(5)
    text = str({"task": "detect", "names": {0: "a", 1: "b"}, "stride": 32, "imgsz": [64, 64]})
    good = {"task": "detect", "names": "{0: 'a', 1: 'b'}", "stride": "32", "imgsz": "[64, 64]"}
    path = tmp_path / "model.tflite"
    for _ in range(200):
        key = rng.choice([*good])
        value = bytearray(good[key].encode())
        value[rng.randrange(len(value))] = rng.randrange(32, 127)
        behind = bytearray(text.encode())
        behind[rng.randrange(len(behind))] = rng.randrange(32, 127)
        path.write_bytes(b"TFL3")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("metadata.txt", bytes(behind))
        onnx = tmp_path / "model.onnx"
        for given in ((onnx, {**good, key: value.decode()}), (path, {})):
            try:
                said = read(*given)
            except EdgecvError:
                continue
            assert said is None or isinstance(said, Hints)
