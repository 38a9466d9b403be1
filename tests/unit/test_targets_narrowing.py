"""What a conversion leaves out for a board."""

from __future__ import annotations

import pytest

from edgecv import targets
from edgecv.errors import UsageError
from edgecv.targets import narrowing
from edgecv.targets.narrowing import narrow
from edgecv.targets.target import Engine

BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert"}
FORMATS = tuple(BACKENDS)
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-weights")


def test_a_core_without_half_precision() -> None:
    left = narrow(targets.load("rpi4"), BACKENDS, FORMATS, PRECISIONS)
    assert left.formats == FORMATS
    assert set(left.excluded) == {(name, p) for name in FORMATS for p in ("fp16", "bf16")}
    assert len(left.notes) == len(left.excluded)
    assert left.notes[0] == (
        "onnx in fp16 is left out for rpi4: The core has no half-precision arithmetic: "
        "values are widened to fp32 and back."
    )


def test_what_a_better_core_keeps() -> None:
    pi5 = narrow(targets.load("rpi5"), BACKENDS, FORMATS, PRECISIONS)
    assert set(pi5.excluded) == {(name, "bf16") for name in FORMATS}
    server = narrow(targets.load("x86-bf16"), BACKENDS, ("openvino",), PRECISIONS)
    assert server.excluded == (("openvino", "fp16"),)


def test_what_is_risky_is_tried() -> None:
    left = narrow(targets.load("cloud-vm"), BACKENDS, ("onnx",), ("fp32", "int8"))
    assert left.excluded == ()
    assert left.notes == ()


def test_an_engine_that_does_not_run_there() -> None:
    target = targets.load("rpi4")
    engines = {**target.engines, "litert": Engine(runs=False, reason="it hangs")}
    left = narrow(target.replace(engines=engines), BACKENDS, FORMATS, ("fp32",))
    assert left.formats == ("onnx", "openvino")
    assert left.notes == ("tflite is left out for rpi4: it hangs",)
    del engines["openvino"]
    left = narrow(target.replace(engines=engines), BACKENDS, FORMATS, ("fp32",))
    assert left.notes[0] == "openvino is left out for rpi4: nothing is known about openvino there"


def test_an_engine_without_a_wheel_there() -> None:
    target = targets.load("aarch64")
    old = target.replace(systems=target.systems[::-1])  # the oldest first
    left = narrow(old, BACKENDS, FORMATS, ("fp32",))
    assert left.formats == ("onnx", "tflite")
    assert "openvino cannot be installed: needs glibc 2.35" in left.notes[0]


def test_nothing_is_left() -> None:
    with pytest.raises(UsageError, match=r"--target rpi4: nothing that was asked for makes sense"):
        narrow(targets.load("rpi4"), BACKENDS, ("openvino",), ("bf16", "fp16"))
    target = targets.load("rpi4").replace(engines={})
    with pytest.raises(UsageError, match="nothing is known about litert there"):
        narrow(target, BACKENDS, ("tflite",), ("fp32",))


def test_fp32_is_never_left_out() -> None:
    assert narrowing._useless(targets.load("rpi4"), "openvino", "fp32") is None
