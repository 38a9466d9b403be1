"""A target's file is strict: what is wrong with it is said, with the path of the field."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from edgecv import targets
from edgecv.errors import TargetError, UsageError
from edgecv.targets import read_toml
from edgecv.targets.target import validate

Raw = dict[str, Any]


@pytest.fixture
def raw() -> Raw:
    return copy.deepcopy(read_toml("rpi4.toml"))


FAULTS: list[tuple[Callable[[Raw], Any], str]] = [
    (lambda r: r.update(colour="red"), "rpi4.toml: colour: unknown field"),
    (lambda r: r["cpu"].update(cache=1), "cpu.cache: unknown field"),
    (lambda r: r.pop("probe") and r.pop("cpu"), "cpu: missing field"),
    (lambda r: r.update(name="rpi5"), "rpi4.toml: name: expected 'rpi4'; got 'rpi5'"),
    (lambda r: r.update(memory_mib=[]), "memory_mib: expected a length of at least 1"),
    (lambda r: r.update(memory_mib=[2048, 1024]), "memory_mib: expected ascending sizes"),
    (lambda r: r["cpu"].update(architecture="armv7l"), "cpu.architecture: expected one of aarch64"),
    (lambda r: r["systems"][0].update(glibc="2"), r"systems[0].glibc: expected a match of \d+"),
    (lambda r: r["systems"][0].update(python=3.11), "systems[0].python: expected a string"),
    (
        lambda r: r["precisions"][0].update(precision="int4"),
        "precisions[0].precision: expected one",
    ),
    (lambda r: r["precisions"][0].update(why=""), "precisions[0].why: expected a length"),
    (lambda r: r["precisions"][0].update(backends=["nope"]), "entry 0: backends: nothing is said"),
    (lambda r: r["avoid"][0].update(cause="ugly"), "avoid[0].cause: expected one of impossible"),
    (
        lambda r: r["engines"]["litert"].update(runs=False),
        "engines.litert.reason: a reason belongs",
    ),
    (
        lambda r: r["engines"]["litert"].update(reason="x"),
        "engines.litert.reason: a reason belongs",
    ),
    (lambda r: r["power"]["idle"].update(watts=0), "power.idle.watts: expected more than 0"),
    (
        lambda r: r["power"]["idle"].update(sources=[]),
        "power.idle.sources: a figure needs a source",
    ),
    (lambda r: r["power"]["load"].pop("uncertainty"), "power.load.uncertainty: a figure has"),
    (lambda r: r["power"]["load"].pop("basis"), "power.load.basis: how does it follow"),
    (lambda r: r["power"]["load"].update(reason="?"), "power.load.reason: a reason belongs"),
    (lambda r: r["power"].update(idle={}), "power.idle.reason: a reason belongs to a figure"),
    (lambda r: r["power"].update(idle={"reason": "x", "uncertainty": 1}), "power.idle.uncertainty"),
    (lambda r: r["thermal"].pop("sources"), "thermal.sources: a figure needs a source"),
    (lambda r: r["thermal"].pop("throttle_start_c"), "thermal.reason: a reason belongs"),
    (lambda r: r["thermal"].update(limit_c=400), "thermal.limit_c: expected at most 150"),
    (lambda r: r["probe"].update(cpu_parts=["d08"]), "probe.cpu_parts[0]: expected a match"),
    (lambda r: r.update(sources=[]), "sources: expected a length of at least 1"),
]


@pytest.mark.parametrize(("break_it", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_a_fault_is_named(raw: Raw, break_it: Callable[[Raw], Any], words: str) -> None:
    break_it(raw)
    with pytest.raises(TargetError) as caught:
        validate(raw, "rpi4")
    assert words in str(caught.value)


def test_a_sound_file_passes(raw: Raw) -> None:
    assert validate(raw, "rpi4") == targets.load("rpi4")


def test_a_missing_figure_needs_no_more_than_a_reason(raw: Raw) -> None:
    raw["power"]["idle"] = {"reason": "nobody measured it"}
    assert validate(raw, "rpi4").power.idle.watts is None


def test_no_such_target() -> None:
    for name in ("rpi6", "_wheels", "../pyproject", ""):
        with pytest.raises(UsageError, match=r"expected one of aarch64, .*rpi4"):
            targets.load(name)


def test_what_is_no_toml_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: loads("a = = 1"))
    with pytest.raises(TargetError, match=r"rpi4\.toml: not valid TOML"):
        read_toml("rpi4.toml")
