"""``edgecv bench``: the matrix it lays out, its report and its failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import Ran, command

QUICK = ("--duration", "0.1", "--warmup", "0", "--cold-starts", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    sources = [models.null_detector(made / f"{name}.null.json") for name in ("one", "two")]
    golden = [models.write_image(made / "a.png", 1)]
    hints = Hints(head="end2end")
    pack(sources, made / "two.edgecv", hints=hints, golden=golden, trusted=True)
    pack(sources[:1], made / "bare.edgecv", hints=hints, trusted=True)
    return made


def bench(*args: object) -> Ran:
    return command("bench", *args, *QUICK)


def test_every_variant_with_every_number_of_threads(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    ran = bench(folder / "two.edgecv", "--threads", "1,2", "--json", target)
    assert ran.status == 0
    report = json.loads(target.read_text())
    assert list(report) == ["schema", "model", "environment", "results", "failures"]
    assert (report["schema"], report["model"]) == ("edgecv.bench/1", "two.edgecv")
    assert report["failures"] == []
    assert [(r["variant"], r["threads"]) for r in report["results"]] == [
        ("null-fp32", 1), ("null-fp32", 2), ("null-fp32-2", 1), ("null-fp32-2", 2),
    ]  # fmt: skip
    for text in ("null-fp32-2", "cold start", "peak RSS", "postprocess", "images/s"):
        assert text in ran.out


def test_a_bare_file_and_json_alone_on_standard_output(folder: Path) -> None:
    ran = bench(
        folder / "one.null.json", "--head", "end2end", "--trusted", "--data", folder,
        "--backend", "all", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0
    report = json.loads(ran.out)
    assert [r["backend"] for r in report["results"]] == ["null"]
    assert report["results"][0]["images"] == 1


def test_a_configuration_that_fails_is_reported(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("nothing")
    target = tmp_path / "report.json"
    ran = bench(folder / "bare.edgecv", "--data", tmp_path / "bad.png", "--json", target)
    assert ran.status == 1
    assert ran.err.count("error: null-fp32: ") == 1
    assert ran.out == ""
    report = json.loads(target.read_text())
    assert report["results"] == []
    assert [failure["cell"] for failure in report["failures"]] == ["null-fp32"]
    assert "bad.png" in report["failures"][0]["error"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["bare.edgecv"], "there is nothing to measure with"),
        (["one.null.json"], "--data"),
        (["two.edgecv", "--threads", "0"], "--threads: expected numbers such as 1,2,4; got '0'"),
        (["two.edgecv", "--threads", "1,,2"], "--threads"),
        (["two.edgecv", "--threads", "many"], "--threads"),
        (["two.edgecv", "--variant", "nope"], "no such variant"),
        (["two.edgecv", "--backend", "litert"], "expected one of null"),
        (["two.edgecv", "--mean", "1"], "a bundle says itself"),
        (["one.null.json", "--data", "a.png", "--variant", "x"], "has no variants"),
        (["one.null.json", "--data", "a.png", "--backend", "litert"], "litert does not open"),
        (["one.null.json", "--data", "nope.png"], "no such file"),
    ],
)
def test_bad_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    ran = bench(*args)
    assert ran.status == 2
    assert message in ran.err
    assert ran.out == ""


def test_a_head_that_cannot_be_told_fails_with_its_remedy(folder: Path) -> None:
    model = models.onnx_detector(folder / "d.onnx")
    ran = bench(model, "--data", folder / "a.png", "--trusted")
    assert ran.status == 1
    assert "the head cannot be told" in ran.err
    assert "--head yolo" in ran.err
