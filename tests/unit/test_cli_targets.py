"""``edgecv targets`` and ``edgecv plan``: what they print, write and refuse."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edgecv import targets
from edgecv.hints import Hints
from edgecv.manifest import parse
from edgecv.packing import pack
from tests import machines, models
from tests.models import command


def test_the_list() -> None:
    ran = command("targets")
    assert (ran.status, ran.err) == (0, "")
    for name in targets.names():
        assert name in ran.out
    assert "2.7 ± 0.5" in ran.out
    ran = command("targets", "--json", "-")
    assert [each["name"] for each in json.loads(ran.out)] == list(targets.names())


def test_one_in_full(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    ran = command("targets", "rpi3b-plus", "--json", file)
    assert ran.status == 0
    for text in (
        "Raspberry Pi 3 Model B+", "4 cores, 1400 MHz", "glibc 2.41", "bf16, impossible",
        "1.9 ± 0.4 W: 350 mA", "https://www.pidramble.com", "from 60 degrees Celsius",
    ):  # fmt: skip
        assert text in ran.out
    assert json.loads(file.read_text())["power"]["load"]["watts"] == 5.1


def test_what_is_not_known_is_told_with_the_reason() -> None:
    ran = command("targets", "n100")
    assert "unknown: no measurement of a whole machine" in ran.out
    assert "unknown: the maker's firmware decides" in ran.out


def test_what_this_board_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machines.write(tmp_path, machines.MACHINES["rpi5"])
    real = targets.detect
    monkeypatch.setattr(targets, "detect", lambda: real(root))
    ran = command("targets", "--detect")
    assert ran.status == 0
    assert ran.out.startswith("rpi5: Raspberry Pi 5\n")
    assert "compatible with raspberrypi,5-model-b" in ran.out
    assert "rpi5 says more" in ran.out
    found = json.loads(command("targets", "--detect", "--json", "-").out)
    assert found["target"] == "rpi5"
    assert found["facts"]["cpu_parts"] == ["0xd0b"]


def test_a_machine_that_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = targets.detect
    monkeypatch.setattr(targets, "detect", lambda: real(str(tmp_path)))
    ran = command("targets", "--detect")
    assert ran.status == 1
    assert "none of the targets" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rpi6"], "no such target: expected one of aarch64"),
        (["rpi4", "--detect"], "NAME and --detect exclude each other"),
        (["--json", "no/such/folder/x.json"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_meant(words: list[str], message: str) -> None:
    ran = command("targets", *words)
    assert ran.status == 2
    assert message in ran.err


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    source = models.onnx_detector(folder / "d.onnx")
    hints = Hints(head="yolo", labels=models.LABELS)
    return pack([source], folder / "b.edgecv", hints=hints, trusted=True)


def test_a_plan(bundle: Path) -> None:
    ran = command("plan", bundle, "--target", "rpi4")
    assert (ran.status, ran.err) == (0, "")
    for text in (
        "on Raspberry Pi 4 Model B, Raspberry Pi OS 12 (bookworm), 64-bit, Python 3.11, glibc 2.36",
        "* what edgecv takes there", "wheels, looked up on", "opencv-python-headless", "39.65",
        "trap: A weak supply", "note: speeds are not predicted", "peak: engine + 3 x model bytes",
    ):  # fmt: skip
        assert text in ran.out
    chosen = next(line for line in ran.out.splitlines() if line.strip().startswith("* "))
    assert "onnxruntime-fp32" in chosen


def test_a_plan_as_json_for_another_system(bundle: Path) -> None:
    ran = command("plan", bundle, "--target", "aarch64", "--os", "bullseye", "--json", "-")
    made = json.loads(ran.out)
    assert made["system"]["glibc"] == "2.31"
    variants = {each["id"]: each for each in made["variants"]}
    assert variants["onnxruntime-fp32"]["runs"]
    assert not variants["openvino-fp32"]["runs"]
    assert "needs glibc 2.35" in variants["openvino-fp32"]["reasons"][0]
    assert made["chosen"] == "onnxruntime-fp32"
    assert variants["onnxruntime-fp32"]["memory"]["peak_mib"] > 80


def test_a_bundle_that_runs_nowhere_there(tmp_path: Path, bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    manifest = parse((tmp_path / "manifest.json").read_bytes())
    only = tuple(
        variant.replace(precision="bf16")
        for variant in manifest.variants
        if variant.backend == "openvino"
    )
    (tmp_path / "manifest.json").write_bytes(manifest.replace(variants=only).to_json())
    ran = command("plan", tmp_path, "--target", "rpi4")
    assert ran.status == 1, ran.err
    assert "no variant will run there" in ran.out
    assert "The core has no bf16 arithmetic" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope.edgecv", "--target", "rpi4"], "nope.edgecv: no such file or folder"),
        (["{model}", "--target", "rpi4"], "not a bundle"),
        (["{bundle}", "--target", "rpi6"], "no such target"),
        (["{bundle}", "--target", "rpi4", "--os", "dos"], "no such system"),
        (["{bundle}"], "--target"),
        (["{bundle}", "--target", "rpi4", "--json", "{bundle}"], "the command reads it"),
    ],
)
def test_plans_that_cannot_be_meant(bundle: Path, words: list[str], message: str) -> None:
    model = bundle.parent / "d.onnx"
    ran = command("plan", *(word.format(bundle=bundle, model=model) for word in words))
    assert ran.status == 2
    assert message in ran.err
