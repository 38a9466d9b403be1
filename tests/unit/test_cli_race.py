"""``edgecv race``: side by side, as ratios with intervals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecv.hints import Hints
from edgecv.packing import pack
from tests import models
from tests.models import Ran, command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("race")
    golden = [models.write_image(made / "a.png", 1)]
    # The second one has forty thousand boxes to go through.
    for name, rows in (("fast", 1), ("slow", 40_000)):
        source = models.null_detector(made / f"{name}.null.json", [[1, 2, 9, 9, 0.9, 0]] * rows)
        pack([source], made / f"{name}.edgecv", hints=Hints(head="end2end"), golden=golden,
             trusted=True)  # fmt: skip
    return made


def race(*args: object) -> Ran:
    return command("race", *args, "--rounds", "6", "--turn", "0.02")


def test_the_slower_one_is_told(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    ran = race(folder / "fast.edgecv", folder / "slow.edgecv", "--threads", "1", "--json", target)
    assert ran.status == 0, ran.err
    first, second = json.loads(target.read_text())["results"]
    assert (first["name"], first["verdict"]) == ("fast.edgecv: null-fp32 x1", "reference")
    assert (first["speed"], first["speed_ci95"]) == (1.0, [1.0, 1.0])
    assert second["verdict"] == "slower"
    low, high = second["speed_ci95"]
    assert low <= second["speed"] <= high < 1
    assert second["p50_ms"] > first["p50_ms"]
    for text in ("slow.edgecv: null-fp32 x1", "verdict", "reference", "slower"):
        assert text in ran.out


def test_threads_and_bare_files(folder: Path) -> None:
    ran = race(
        folder / "fast.null.json", "--head", "end2end", "--trusted", "--threads", "1,2",
        "--data", folder / "a.png", "--json", "-",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert [(r["name"], r["threads"]) for r in json.loads(ran.out)["results"]] == [
        ("fast.null.json: null x1", 1), ("fast.null.json: null x2", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fast.edgecv"], "nobody to race against"),
        (["fast.edgecv", "none.edgecv"], "none.edgecv: no such file"),
        (["fast.null.json", "slow.null.json", "--head", "end2end"], "--data"),
        (["fast.edgecv", "--threads", "0,1"], "--threads"),
    ],
)
def test_bad_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    ran = race(*args)
    assert ran.status == 2
    assert message in ran.err
