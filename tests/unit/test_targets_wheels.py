"""Which wheels a system can install: the tags of PEP 425 and 600, by hand."""

from __future__ import annotations

import pytest

from edgecv.errors import TargetError
from edgecv.targets import wheels
from edgecv.targets.target import System
from edgecv.targets.wheels import Table, Wheel, platform_tags, table

BOOKWORM = System(os="bookworm", python="3.11", glibc="2.36")
TRIXIE = System(os="trixie", python="3.13", glibc="2.41")
OLD = System(os="old", python="3.11", glibc="2.27")


@pytest.mark.parametrize(
    ("file", "architecture", "system", "reason"),
    [
        ("a-1-py3-none-any.whl", "aarch64", OLD, None),
        ("a-1-py2.py3-none-any.whl", "x86_64", TRIXIE, None),
        ("a-1-py2-none-any.whl", "x86_64", TRIXIE, "not for Python 3.13"),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", "aarch64", BOOKWORM, None),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", "aarch64", TRIXIE, "not for Python 3.13"),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", "x86_64", BOOKWORM, "not for x86_64"),
        ("a-1-cp311-cp311-manylinux_2_28_aarch64.whl", "aarch64", OLD,
         "needs glibc 2.28, and there is 2.27"),
        ("a-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", "x86_64", OLD, None),
        ("a-1-cp311-cp311-manylinux_2_36_x86_64.whl", "x86_64", BOOKWORM, None),
        ("a-1-cp311-cp311-manylinux_2_37_x86_64.whl", "x86_64", BOOKWORM,
         "needs glibc 2.37, and there is 2.36"),
        ("a-1-cp37-abi3-manylinux2014_x86_64.whl", "x86_64", TRIXIE, None),
        ("a-1-cp312-abi3-manylinux2014_x86_64.whl", "x86_64", BOOKWORM, "not for Python 3.11"),
        ("a-1-cp313-cp313t-manylinux2014_x86_64.whl", "x86_64", TRIXIE, "not for Python 3.13"),
        ("a-1-1-cp313-cp313-manylinux2014_x86_64.whl", "x86_64", TRIXIE, None),
        ("a-1-cp313-cp313-win_amd64.whl", "x86_64", TRIXIE, "not for x86_64"),
        ("a-1-cp313-cp313-musllinux_1_2_x86_64.whl", "x86_64", TRIXIE, "not for x86_64"),
    ],
)  # fmt: skip
def test_whether_a_wheel_fits(
    file: str, architecture: str, system: System, reason: str | None
) -> None:
    assert Wheel(file=file, bytes=1).misfit(architecture, system) == reason


def test_names_as_an_index_writes_them() -> None:
    wheel = Wheel(file="Backports.Str_Enum-1.2-py3-none-any.whl", bytes=1)
    assert (wheel.project, wheel.version) == ("backports-str-enum", "1.2")


def test_why_a_project_is_not_found() -> None:
    files = [
        "a-1-cp311-cp311-manylinux_2_37_x86_64.whl",
        "a-1-cp313-cp313-manylinux_2_28_x86_64.whl",
        "b-1-cp313-cp313-manylinux_2_28_x86_64.whl",
    ]
    made = Table(
        checked="2026-01-01",
        source="a test",
        base=(),
        extras={},
        wheels=tuple(Wheel(file=file, bytes=1) for file in files),
    )
    assert made.find("a", "x86_64", BOOKWORM) == (None, "needs glibc 2.37, and there is 2.36")
    assert made.find("b", "x86_64", BOOKWORM) == (None, "not for Python 3.11")
    assert made.find("c", "x86_64", BOOKWORM) == (None, "the table has no wheel of it")
    assert made.find("a", "x86_64", TRIXIE) == (made.wheels[1], "")


def test_platform_tags_go_down_from_the_systems_glibc() -> None:
    system = System(os="x", python="3.11", glibc="2.18")
    assert platform_tags("aarch64", system) == (
        "manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64",
        "linux_aarch64",
    )  # fmt: skip
    intel = platform_tags("x86_64", System(os="x", python="3.11", glibc="2.12"))
    assert intel[:3] == ("manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_11_x86_64")
    assert intel[-3:] == ("manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64")


def test_the_table_holds_what_was_found() -> None:
    # Read from the index on the day that the table names.
    wheel, _ = table().find("openvino", "aarch64", BOOKWORM)
    assert wheel is not None
    assert "manylinux_2_35" in wheel.file
    older = System(os="x", python="3.11", glibc="2.34")
    assert table().find("openvino", "aarch64", older)[1] == "needs glibc 2.35, and there is 2.34"
    assert table().find("openvino", "x86_64", older)[0] is not None


def test_a_broken_table_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecv import targets

    monkeypatch.setattr(targets, "read_toml", lambda file: {"checked": "today"})
    table.cache_clear()
    try:
        with pytest.raises(TargetError, match=r"_wheels\.toml: checked"):
            wheels.table()
    finally:
        table.cache_clear()
