"""What every test may use, and the rule for tests on real models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from edgecv.converters.telemetry import no_telemetry

# A change must not fail on a case that another one happens to find: CI draws the same ones always.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent
REAL_TESTS = ROOT / "tests" / "real"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whatever lies in ``tests/real`` or asks for `real_dir`, lest one runs by accident."""
    for item in items:
        needs_folder = "real_dir" in getattr(item, "fixturenames", ())
        if needs_folder or REAL_TESTS in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session", autouse=True)
def no_choices_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what somebody tuned on this machine out of the tests, and theirs out of his home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("xdg")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_reports() -> Iterator[None]:
    """Keep OpenVINO's converter from reporting what tests call it with, here and in children.

    Its reports are sent by forked processes. Without a network they hang, and hold the pipes of
    other tests open for as long.
    """
    with no_telemetry():
        yield


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Find the folder with real models and images: EDGECV_REAL, else ``../shared/real``.

    Where it is asked for by name and is not there, the test fails; else it is skipped.
    """
    named = os.environ.get("EDGECV_REAL")
    folder = Path(named) if named else ROOT.parent / "shared" / "real"
    if (folder / "models").is_dir() and (folder / "data").is_dir():
        return folder.resolve()
    if named:
        pytest.fail(f"EDGECV_REAL={named}: no folder with models/ and data/")
    pytest.skip("no real models here: set EDGECV_REAL")
