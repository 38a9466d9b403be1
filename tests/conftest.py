"""What every test may use, and the rule for tests on real models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
