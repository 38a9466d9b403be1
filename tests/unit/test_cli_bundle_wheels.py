"""``edgecv bundle-wheels``: the real pip, on made-up wheels in a folder, without a network."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgecv.cli import wheelhouse
from edgecv.errors import DependencyMissingError
from edgecv.targets import load
from tests.models import Ran, command

ARM = "cp311-cp311-manylinux_2_28_aarch64"
INTEL = "cp311-cp311-manylinux_2_28_x86_64"
BASE = ("numpy-2.4.6", "opencv_python_headless-5.0.0", "click-8.5.1", "rich-15.0.0")


def wheel(folder: Path, name: str, tag: str, needs: tuple[str, ...] = ()) -> Path:
    """Write a wheel that holds nothing but its metadata."""
    path = folder / f"{name}-{tag}.whl"
    project, version = name.split("-")
    info = f"{project}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in BASE:
        wheel(folder, name, "py3-none-any")
    for tag in (ARM, INTEL):
        wheel(folder, "onnxruntime-1.32.0", tag, ("flatbuffers",))
    wheel(folder, "flatbuffers-25.1", "py2.py3-none-any")
    wheel(folder, "ai_edge_litert-2.3.0", "cp311-cp311-manylinux_2_37_aarch64")
    wheel(folder, "edgecv-9.9", "py3-none-any")
    return folder


def collect(source: Path, *words: object) -> Ran:
    return command("bundle-wheels", "--from", source, *words)


def test_a_wheelhouse(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    own = source / "edgecv-9.9-py3-none-any.whl"
    ran = collect(source, "--target", "rpi4", "-o", out, "--wheel", own)
    assert ran.status == 0, ran.err
    assert "on the board: sh install.sh" in ran.out
    found = {path.name for path in (out / "wheels").iterdir()}
    assert f"onnxruntime-1.32.0-{ARM}.whl" in found
    assert f"onnxruntime-1.32.0-{INTEL}.whl" not in found
    assert "flatbuffers-25.1-py2.py3-none-any.whl" in found  # what onnxruntime needs
    assert own.name in found
    listing = json.loads((out / "wheels.json").read_text())
    assert listing["target"] == "rpi4"
    assert listing["system"]["python"] == "3.11"
    assert {item["file"] for item in listing["wheels"]} == found
    for item in listing["wheels"]:
        data = (out / "wheels" / item["file"]).read_bytes()
        assert item["sha256"] == hashlib.sha256(data).hexdigest()
        assert item["bytes"] == len(data)
    assert listing["bytes"] == sum(item["bytes"] for item in listing["wheels"])
    lines = (out / "requirements.txt").read_text().splitlines()
    assert len(lines) == len(found)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", x) for x in lines)


def test_the_script_refuses_another_machine(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = "rpi4" if platform.machine() == "x86_64" else "n100"
    assert collect(source, "--target", other, "-o", out).status == 0
    done = subprocess.run(
        ["sh", out / "install.sh", tmp_path / "venv"],
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "these wheels are for Python 3.11 on" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_without_its_own_wheel_it_says_so(source: Path, tmp_path: Path) -> None:
    ran = collect(source, "--target", "n100", "-o", tmp_path / "out", "--json", "-")
    assert all(item["project"] != "edgecv" for item in json.loads(ran.out)["wheels"])
    ran = collect(source, "--target", "n100", "-o", tmp_path / "other")
    assert "edgecv itself is not in it" in ran.out


def test_a_wheel_that_the_system_cannot_take(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = collect(source, "--target", "rpi4", "-o", out, "--extra", "litert")
    assert ran.status == 1
    assert "pip cannot collect the wheels" in ran.err
    assert "ai-edge-litert" in ran.err
    assert not (out / "wheels").exists()
    # Once it can be had, the same command goes through.
    wheel(source, "ai_edge_litert-2.3.1", ARM)
    assert collect(source, "--target", "rpi4", "-o", out, "--extra", "litert").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "rpi6", "-o", "{out}"], "no such target"),
        (["--target", "rpi4", "--os", "dos", "-o", "{out}"], "no such system"),
        (["--target", "rpi4", "-o", "{out}", "--extra", "magic"], "edgecv has no such extra"),
        (["--target", "rpi4", "-o", "{source}"], "is not an empty folder"),
        (["--target", "rpi4", "-o", "{out}", "--wheel", "{source}/nope.whl"], "expected edgecv-"),
    ],
)
def test_what_cannot_be_meant(source: Path, tmp_path: Path, words: list[str], message: str) -> None:
    out = tmp_path / "out"
    ran = collect(source, *(word.format(out=out, source=source) for word in words))
    assert ran.status == 2
    assert message in ran.err
    assert not out.exists()


def test_an_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]}: No module named pip\n")

    monkeypatch.setattr(wheelhouse.subprocess, "run", run)
    target = load("rpi4")
    with pytest.raises(DependencyMissingError, match="ensurepip"):
        wheelhouse.download(tmp_path, target, target.systems[0], ["numpy"], None)


def test_requirements_are_those_of_the_metadata() -> None:
    base = wheelhouse.requirements(())
    assert any(line.startswith("onnxruntime") for line in base)
    assert not any(line.startswith(("openvino", "torch")) for line in base)
    more = wheelhouse.requirements(("openvino",))
    assert set(base) < set(more)
    assert any(line.startswith("openvino>=") for line in more)
