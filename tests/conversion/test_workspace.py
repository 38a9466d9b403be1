"""The work folder: what is kept, what is made anew, what is never found half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from edgecv.converters.artifact import Artifact
from edgecv.converters.recipe import Recipe
from edgecv.converters.workspace import Workspace
from edgecv.errors import ConversionError, StepError, UsageError


class Maker:
    """A step that writes one file and counts how often it is asked to."""

    def __init__(self, content: str = "weights") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, folder: Path) -> Artifact:
        self.calls += 1
        path = folder / "model.onnx"
        path.write_text(self.content)
        return Artifact("onnx", (path,), notes=("made",))


def test_a_result_is_made_once(tmp_path: Path) -> None:
    make, lines = Maker(), []
    first = Workspace(tmp_path / "work", lines.append).produce("step", {"a": 1}, make)
    again = Workspace(tmp_path / "work", lines.append).produce("step", {"a": 1}, make)
    assert make.calls == 1
    assert again == first
    assert again.path.read_text() == "weights"
    assert again.notes == ("made",)
    assert lines[-1] == "step: kept from before"
    assert "step: kept from before" in (tmp_path / "work" / "log.txt").read_text()


@pytest.mark.parametrize(
    "change",
    [{"inputs": {"a": 2}}, {"step": "other"}, {"tools": ("numpy",)}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_it_depends_on_makes_it_anew(tmp_path: Path, change: dict) -> None:
    make, work = Maker(), Workspace(tmp_path)
    given = {"step": "step", "inputs": {"a": 1}, "tools": ()}
    for options in (given, {**given, **change}):
        work.produce(options["step"], options["inputs"], make, tools=options["tools"])
    assert make.calls == 2


def test_the_bytes_of_an_artifact_count_not_its_place(tmp_path: Path) -> None:
    work, make = Workspace(tmp_path), Maker()
    for name, content in (("a", "same"), ("b", "same"), ("c", "other")):
        path = tmp_path / f"{name}.onnx"
        path.write_text(content)
        work.produce("next", {"model": Artifact("onnx", (path,))}, make)
    assert make.calls == 2


def test_a_recipe_counts(tmp_path: Path) -> None:
    work, make = Workspace(tmp_path), Maker()
    for calibrator in ("minmax", "mse", "minmax"):
        work.produce("q", {"recipe": Recipe(precision="int8", calibrator=calibrator)}, make)
    assert make.calls == 2


def test_a_path_says_nothing_about_bytes(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="hash the file"):
        Workspace(tmp_path).produce("q", {"model": tmp_path / "x"}, Maker())


def test_a_damaged_result_is_made_anew(tmp_path: Path) -> None:
    work, make = Workspace(tmp_path), Maker()
    made = work.produce("step", {}, make)
    made.path.write_text("damaged")
    assert Workspace(tmp_path).produce("step", {}, make).path.read_text() == "weights"
    facts = made.path.parent / "artifact.json"
    for damage in ("{", json.dumps({"format": "onnx"})):
        facts.write_text(damage)
        Workspace(tmp_path).produce("step", {}, make)
    assert make.calls == 4


def test_an_interrupted_step_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> Artifact:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Workspace(tmp_path).produce("step", {}, interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def full(folder: Path) -> Artifact:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.onnx"))

    with pytest.raises(ConversionError, match="no space left") as caught:
        Workspace(tmp_path).produce("step", {}, full)
    assert "--work" in str(caught.value)
    assert "step step" in str(caught.value)


def test_an_error_of_a_library_names_the_step(tmp_path: Path) -> None:
    def broken(folder: Path) -> Artifact:
        raise RuntimeError("no such\n  operator")

    with pytest.raises(StepError, match=r"step fuse: RuntimeError: no such operator"):
        Workspace(tmp_path).produce("fuse", {}, broken)


def test_an_error_of_ours_goes_through(tmp_path: Path) -> None:
    def refused(folder: Path) -> Artifact:
        raise UsageError("mine")

    with pytest.raises(UsageError, match="mine"):
        Workspace(tmp_path).produce("step", {}, refused)


def test_values_are_remembered(tmp_path: Path) -> None:
    calls = []

    def compute() -> list[float]:
        calls.append(1)
        return [1.5]

    for value in (1, 1, 2):
        assert Workspace(tmp_path).remember("value", {"a": value}, compute) == [1.5]
    assert len(calls) == 2


def test_a_folder_is_emptied_once_a_conversion(tmp_path: Path) -> None:
    first = Workspace(tmp_path)
    (first.folder("bundles") / "old").write_text("x")
    assert (first.folder("bundles") / "old").exists()
    assert not list(Workspace(tmp_path).folder("bundles").iterdir())


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match="work folder cannot be made"):
        Workspace(tmp_path / "file" / "work")
