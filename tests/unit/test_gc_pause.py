"""The collector rests while modules are imported, and is then as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecv.gc_pause import gc_paused, import_module


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


class Knot:
    """Garbage that reference counting alone does not free."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_meanwhile() -> None:
    before = [generation["collections"] for generation in gc.get_stats()]
    with gc_paused():
        assert not gc.isenabled()
        kept = [[] for _ in range(20_000)]
        assert [generation["collections"] for generation in gc.get_stats()] == before
    assert gc.isenabled()
    assert len(kept) == 20_000


def test_what_is_there_counts_as_old() -> None:
    with gc_paused():
        kept = [[] for _ in range(20_000)]
    assert not any(item is kept for item in gc.get_objects(0))
    assert any(item is kept for item in gc.get_objects(2))
    assert gc.get_freeze_count() == 0


def test_garbage_is_collected_later() -> None:
    with gc_paused():
        gone = weakref.ref(Knot())
        assert gone() is not None
    gc.collect()
    assert gone() is None


def test_after_an_error_it_runs_again() -> None:
    with pytest.raises(ImportError), gc_paused():
        raise ImportError
    assert gc.isenabled()


def test_pauses_may_hold_others() -> None:
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with gc_paused():
        pass
    assert not gc.isenabled()


def test_what_a_program_froze_stays_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with gc_paused():
        pass
    # Some of them may be freed by reference counting meanwhile.
    assert frozen - 100 < gc.get_freeze_count() <= frozen
    assert gc.isenabled()


def test_only_an_import_pauses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resting.py").write_text("import gc\nRUNS = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module("resting")
    assert module.RUNS is False
    monkeypatch.setattr("edgecv.gc_pause.gc_paused", lambda: pytest.fail("nothing to import"))
    assert import_module("resting") is module
    del sys.modules["resting"]


def test_a_start_collects_nothing_before_the_first_result() -> None:
    code = (
        "import gc, sys\n"
        "found = []\n"
        "gc.callbacks.append(lambda phase, info: found.append(info['generation']))\n"
        "import edgecv\n"
        "before = len(found)\n"
        "edgecv.load\n"
        "print(len(found) - before, gc.isenabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]
