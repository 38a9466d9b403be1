"""The virtual environments of `peers.py`: one for each peer with each engine, made on request.

Each gets what its peer needs to run the model, and no more, in the engine versions of the
interpreter that runs this. What such an environment weighs is one of the figures.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = "CHECKOUT"
"""Stands for this checkout among the requirements."""
TORCH = "torch==2.13.0"
ULTRALYTICS = ("ultralytics==8.4.190", "torchvision==0.28.0")
"""Without what they require: it is named in full below, and torchvision would bring another torch
than the one that is there."""
NEEDED = ("polars", "matplotlib", "requests", "psutil", "pillow", "PyYAML", "scipy", "numpy",
          "opencv-python-headless")  # fmt: skip
HAND_WRITTEN = ("numpy", "opencv-python-headless")
# Model API uses what OpenCV 5 no longer has.
MODEL_API = ("openvino-model-api==0.4.7", "opencv-python-headless==4.12.0.88")
PINNED = ("onnxruntime", "openvino")
_NOT_COUNTED = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth", "wheel")


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed for one peer.

    Attributes:
        requirements: of pip, in steps that follow each other; a step that begins with ``--no-deps``
            installs nothing but what it names.
    """

    requirements: tuple[tuple[str, ...], ...]


def _ultralytics(*more: str) -> Environment:
    return Environment(((TORCH,), ("--no-deps", *ULTRALYTICS), (*NEEDED, *more)))


ENVIRONMENTS = {
    "edgecv-onnxruntime": Environment(((CHECKOUT,),)),
    "edgecv-openvino": Environment(((f"{CHECKOUT}[openvino]",),)),
    "hand-written-onnxruntime": Environment(((*HAND_WRITTEN, "onnxruntime"),)),
    "hand-written-openvino": Environment(((*HAND_WRITTEN, "openvino"),)),
    "ultralytics-onnxruntime": _ultralytics("onnxruntime"),
    "ultralytics-openvino": _ultralytics("openvino"),
    "model-api-openvino": Environment((MODEL_API,)),
    # Makes the model; it is not measured.
    "export": _ultralytics("onnx", "onnxscript", "onnxruntime", "openvino"),
}
EXPORT = "export"


def python_of(folder: Path, name: str) -> Path:
    """Return the interpreter of an environment, whether it is there or not."""
    return folder.resolve() / name / "bin" / "python"


def make(folder: Path, names: Sequence[str] = tuple(ENVIRONMENTS)) -> dict[str, str]:
    """Make the environments that are not there yet.

    Returns:
        Name -> why it could not be made, for those that could not.
    """
    failed: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = _copy_of_checkout(Path(scratch))
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in PINNED))
        for name in names:
            if python_of(folder, name).exists():
                continue
            print(f"making {name}", flush=True)
            try:
                _make_one(folder, name, source, constraints)
            except subprocess.CalledProcessError as error:
                said = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
                failed[name] = f"pip failed: {' '.join(said)[:300]}"
                # Half an environment would be taken for a whole one.
                shutil.rmtree(folder / name, ignore_errors=True)
    return failed


def _make_one(folder: Path, name: str, source: Path, constraints: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder / name)])
    pip = [str(python_of(folder, name)), "-m", "pip", "install", "--quiet"]
    for step in ENVIRONMENTS[name].requirements:
        words = [word.replace(CHECKOUT, str(source)) for word in step]
        _run([*pip, "--constraint", str(constraints), *words])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _copy_of_checkout(scratch: Path) -> Path:
    """Copy what a wheel is built of, since building leaves files in the folder."""
    copy = scratch / "edgecv"
    for name in ("edgecv", "converters", "targets"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def missing(folder: Path, name: str, failed: dict[str, str]) -> str | None:
    """Say why there is no such environment; None where it is there."""
    if python_of(folder, name).exists():
        return None
    if name not in ENVIRONMENTS:
        return "this peer does not run this model on this engine"
    return failed.get(name) or f"no environment {name}: run with --make"


def installed_bytes(folder: Path, name: str) -> int:
    """Add up the files in an environment's ``site-packages``.

    pip and its tools, which run nothing here, and compiled copies of sources are left out.
    """
    total = 0
    for place in sorted((folder / name).glob("lib/python3*/site-packages")):
        for path in place.rglob("*"):
            inner = path.relative_to(place)
            # Names of metadata folders go on with a version.
            first = inner.parts[0].partition("-")[0]
            if first in _NOT_COUNTED or inner.parts[0] in _NOT_COUNTED:
                continue
            if "__pycache__" not in inner.parts and path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total


def absent_operators(folder: Path, name: str) -> list[str]:
    """List the operators without which torchvision cannot be imported in an environment.

    Beside a CPU build of torch its usual wheel cannot load its own; see
    `converters/torchvision_operators.py`.
    """
    absent: list[str] = []
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        declared = "; ".join(
            f"torch.library.define('torchvision::{known}', '{schema}')" for known in absent
        )
        code = f"import torch; {declared or 'pass'}; import torchvision"
        command = [str(python_of(folder, name)), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True)
        if f"torchvision::{operator} does not exist" not in done.stderr:
            break
        absent.append(operator)
    return absent
