"""Import modules without Python's garbage collector looking through them over and over."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def import_module(name: str) -> ModuleType:
    """Import a module with the collector paused, if it is not there yet."""
    if name in sys.modules:
        return importlib.import_module(name)
    with gc_paused():
        return importlib.import_module(name)


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the collector while modules are imported, and count what is there then as old.

    What an import makes stays until the process ends. Yet a collector that runs looks through it
    some forty times until the first result: 4 of 140 ms (see benchmarks/README.md). For imports
    only, since it is the whole process that collects nothing meanwhile, and collects what other
    threads leave behind now a little later than it would have.

    A collector that is switched off stays off, and objects that a program froze stay frozen.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            # Both ways at once: everything moves to the oldest generation, unlooked at.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
