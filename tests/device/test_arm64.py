"""Bundles made here, on the arm64 Python of ``scripts/arm64``: cores of a Raspberry Pi 4 and 5.

``make arm64`` runs this. What runs there is `on_board`; everything is compared here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.hints import Hints
from edgecv.packing import pack
from scripts.arm64 import boards, count, root
from tests.device import on_board

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
PROGRAM = ROOT / "tests" / "device" / "on_board.py"
FEATURES = {"rpi4": ["asimd"], "rpi5": ["asimd", "asimdhp", "asimddp"]}
ENGINES = {"onnxruntime", "openvino", "litert"}
# Shares of an output's largest value; about five times what was measured: see docs/arm.md.
# In int8 a value at a rounding edge moves by a step, of 255, and a bf16 rest is rounded elsewhere.
LIMITS = {"onnxruntime": 2e-4, "litert": 2e-4, "openvino": 1e-3}
INT8_LIMIT = 3e-2

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(1200)]


@pytest.fixture(scope="session")
def arm() -> Path:
    """The folder of ``scripts/arm64``, EDGECV_ARM64: naming it means that it can be made."""
    named = os.environ.get("EDGECV_ARM64")
    if not named:
        pytest.skip("the arm64 run takes minutes and installs qemu-user: make arm64")
    try:
        root.build(Path(named))
    except root.SetupError as error:
        pytest.fail(str(error), pytrace=False)
    return Path(named).resolve()


@pytest.fixture(scope="session")
def bundles(arm: Path, tmp_path_factory: pytest.TempPathFactory, request: Any) -> list[Path]:
    """Digits for every engine, and a real detector where real models are."""
    folder = tmp_path_factory.mktemp("bundles")
    made = [_digits(folder)]
    try:
        real = request.getfixturevalue("real_dir")
    except pytest.skip.Exception:
        return made
    model = real / "models" / "yolox-nano" / "yolox_nano.onnx"
    images = sorted((real / "data" / "coco128" / "images" / "val2017").glob("*.jpg"))[:1]
    said = Hints(head="yolox", resize="letterbox-topleft", color="bgr")
    return [*made, pack([model], folder / "yolox_nano.edgecv", hints=said, golden=images)]


def _digits(folder: Path) -> Path:
    """EDGECV_DIGITS, such as the bundle of ``make demo``; else the floats, converted here."""
    named = os.environ.get("EDGECV_DIGITS")
    if named:
        return Path(named).resolve()
    output = folder / "digits.edgecv"
    words = ["convert", DIGITS / "digits.pt", "-o", output, "--input", "192", "--head", "yolo"]
    words += ["--arch", f"{DIGITS / 'model.py'}:DigitDetector", "--labels", DIGITS / "labels.txt"]
    words += ["--data", DIGITS / "data.yaml", "--limit", "4", "--bootstrap", "0"]
    words += ["--precision", "fp32", "--no-fused"]
    subprocess.run([sys.executable, "-m", "edgecv", *map(str, words)], check=True)
    return output


@pytest.fixture(scope="session")
def ran(arm: Path, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what `on_board` wrote here (``here``) and on each board, side by side."""
    folder = tmp_path_factory.mktemp("ran")
    jobs = []
    for bundle in bundles:
        inputs = folder / "inputs" / bundle.stem
        on_board.prepared(bundle, inputs)
        jobs += [str(bundle), str(inputs)]
    words = {name: [str(PROGRAM), str(folder / name), *jobs] for name in ("here", *boards.BOARDS)}
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = {"here": _start([sys.executable, *words["here"]], here, folder / "here.txt")}
    assert started["here"].wait() == 0, (folder / "here.txt").read_text()
    for name in boards.BOARDS:
        args, environment = root.command(arm, name, words[name])
        started[name] = _start(args, environment, folder / f"{name}.txt")
    for name, process in started.items():
        assert process.wait() == 0, (folder / f"{name}.txt").read_text()
    return folder


def _start(args: list[str], environment: dict[str, str], said: Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as file:
        return subprocess.Popen(args, env=environment, stdout=file, stderr=subprocess.STDOUT)


def facts(ran: Path, name: str) -> Any:
    return json.loads((ran / name / "facts.json").read_text())


def backends(ran: Path, name: str) -> list[str]:
    found = facts(ran, name)["bundles"].values()
    return [variant["backend"] for bundle in found for variant in bundle["variants"].values()]


@pytest.mark.parametrize("board", boards.BOARDS)
def test_doctor_knows_the_board(ran: Path, board: str) -> None:
    found = facts(ran, board)
    assert found["status"] == 0
    for said in (found["doctor"], found["environment"]):
        assert said["machine"] == "aarch64"
        assert said["board"] == boards.BOARDS[board].model
        assert said["cpu"].endswith(f"part {boards.BOARDS[board].part:#x}")
        assert said["cpu_features"] == FEATURES[board]
        assert said["memory_bytes"] <= boards.BOARDS[board].memory_kib * 1024
        assert {name for name, version in said["engines"].items() if version} >= ENGINES


@pytest.mark.parametrize("board", boards.BOARDS)
def test_golden_samples_made_here_hold_there(ran: Path, bundles: list[Path], board: str) -> None:
    for bundle in bundles:
        here = facts(ran, "here")["bundles"][bundle.stem]
        there = facts(ran, board)["bundles"][bundle.stem]
        checks = there["verify"]["checks"]
        assert {check["status"] for check in checks} == {"ok"}, checks
        assert there["status"] == 0
        compared = [(check["variant"], check["image"]) for check in checks]
        assert compared == [(c["variant"], c["image"]) for c in here["verify"]["checks"]]
    assert set(backends(ran, board)) >= ENGINES


def differences(ran: Path, board: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Of raw outputs for the same tensors, as shares of the largest value here."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for bundle, there in facts(ran, board)["bundles"].items():
        here = facts(ran, "here")["bundles"][bundle]
        for variant, said in there["variants"].items():
            name = f"{bundle}/{variant}.npz"
            with np.load(ran / "here" / name) as a, np.load(ran / board / name) as b:
                assert a.files == b.files
                shares = [share(a[key], b[key]) for key in a.files]
            precisions = (here["variants"][variant]["precision"], said["precision"])
            found[bundle, variant] = {"share": max(shares), "precision": precisions}
    return found


def share(here: Any, there: Any) -> float:
    assert here.shape == there.shape
    assert here.dtype == there.dtype
    a, b = here.astype(np.float64), there.astype(np.float64)
    assert np.ptp(a) > 0
    return float(np.abs(a - b).max() / np.abs(a).max())


@pytest.mark.parametrize("board", boards.BOARDS)
def test_networks_compute_the_same(ran: Path, board: str) -> None:
    found = differences(ran, board)
    print(*(f"{board} {' '.join(key)} {said}" for key, said in found.items()), sep="\n")
    variants = {
        (bundle, name): said
        for bundle, there in facts(ran, board)["bundles"].items()
        for name, said in there["variants"].items()
    }
    assert found.keys() == variants.keys()
    for key, said in found.items():
        floats = all(precision == "fp32" for precision in said["precision"])
        limit = LIMITS[variants[key]["backend"]] if floats else INT8_LIMIT
        assert said["share"] <= limit, (key, said)


def test_an_inference_costs_no_more_instructions(arm: Path, tmp_path: Path) -> None:
    found = count.count(arm, count.digits(tmp_path), count.VARIANT)
    print(found)
    assert found.spread < 0.0005
    baseline = json.loads(count.BASELINE.read_text())
    changed = count.changed_versions(found, baseline)
    if changed:
        pytest.skip(f"take a new baseline, scripts/arm64 count --write: {'; '.join(changed)}")
    assert not count.grown(found, baseline)
