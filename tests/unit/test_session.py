"""What the backends share: finding an engine, naming tensors, wording errors, telling precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecv import session
from edgecv.types import ModelSource, Quantization, as_bytes


def test_versions_agree_with_importlib() -> None:
    from importlib.metadata import version

    for name in ("numpy", "ai-edge-litert", "opencv-python-headless", "onnxruntime"):
        assert session.installed(name) == (name, version(name))
    assert session.installed("no-such-engine") is None
    assert session.installed("no-such-engine", "numpy") == ("numpy", version("numpy"))


def test_the_first_name_wins_wherever_it_lies(tmp_path: Path, monkeypatch) -> None:
    for folder in ("a/second_engine-2.0.dist-info", "b/First.Engine-1.0+cpu.dist-info", "b/x.txt"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(
        sys, "path", [str(tmp_path / "gone"), str(tmp_path / "a"), str(tmp_path / "b"), *sys.path]
    )
    assert session.installed("first.engine", "second-engine") == ("first.engine", "1.0+cpu")
    assert session.installed("second-engine") == ("second-engine", "2.0")


def test_finding_a_version_does_not_load_importlib_metadata() -> None:
    code = (
        "import sys\nfrom edgecv import session\nassert session.installed('numpy')\n"
        "assert 'importlib.metadata' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_become_unique() -> None:
    assert session.unique(["a", "b"]) == ["a", "b"]
    assert session.unique(["a", "a", "a:1", ""]) == ["a", "a:1", "a:1:2", ":3"]
    assert session.unique([]) == []


@pytest.mark.parametrize(
    ("scales", "points", "expected"),
    [
        ([0.5], [3], Quantization(0.5, 3)),
        ([], [], None),
        ([0.0], [0], None),
        ([float("nan")], [0], None),
        ([0.5, 0.25], [0, 0], None),
    ],
)
def test_quantization(scales, points, expected) -> None:
    assert session.quantization(scales, points) == expected


@pytest.mark.parametrize(
    ("layers", "asked", "precision", "notes"),
    [
        ({}, "fp32", None, "no convolution"),
        ({"fp32": 3}, "fp32", "fp32", ""),
        ({"fp32": 1, "bf16": 9}, "bf16", "bf16", "of 10 heavy layers 9 in bf16, 1 in fp32"),
        ({"fp32": 9, "int8": 1}, "int8", "int8", "9 in fp32, 1 in int8"),
        ({"fp32": 1, "int8-weights": 1}, "auto", "int8-weights", "mixed"),
        ({"fp32": 4, "int8": 0}, "int8", "fp32", "called int8, but computes in fp32"),
        ({"int8-weights": 4}, "int8", "int8-weights", "called int8"),
    ],
)
def test_precision_of_layers(layers, asked, precision, notes) -> None:
    found, said = session.tell_precision(layers, asked)
    assert found == precision
    assert notes in "; ".join(said)
    assert bool(said) == bool(notes)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a\n  b\n"), "does not open it: a b"),
        (ValueError(""), "does not open it: ValueError"),
        (KeyError("inputs"), "does not open it: KeyError 'inputs'"),
        (RuntimeError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : broken"), "it: broken"),
        (
            RuntimeError("Exception from src/a.cpp:1:\nCheck 'a == b' failed at src/b.cpp:2:\nwhy"),
            "does not open it: why",
        ),
    ],
)
def test_reasons_are_one_line(error: Exception, text: str) -> None:
    made = session.refused(ModelSource({"m": memoryview(b"")}), "X", error)
    assert str(made).endswith(text)


def test_long_reasons_are_cut() -> None:
    made = session.failed("m", ValueError("long " * 1000))
    assert len(str(made)) < 500
    assert str(made).endswith("...")


def test_bytes_of_a_view_are_copied_only_where_they_must_be() -> None:
    whole = bytes(range(64))
    assert as_bytes(memoryview(whole)) is whole
    for view in (
        memoryview(whole)[1:],
        memoryview(whole)[::-1],
        memoryview(bytearray(whole)),
        memoryview(whole)[::2],
    ):
        made = as_bytes(view)
        assert type(made) is bytes
        assert made == view.tobytes()
