"""Plug-ins by file name: a module in a plural folder is registered by being there."""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

from edgecv.errors import UsageError
from edgecv.gc_pause import import_module

FOLDERS = (
    "backends",
    "heads",
    "foreign",
    "datasets",
    "metrics",
    "results",
    "sinks",
    "sources",
    "trackers",
)


@cache
def names(folder: str) -> tuple[str, ...]:
    """List the plug-ins of a plural folder, sorted, without importing any of them.

    Args:
        folder: package below ``edgecv``, such as ``heads``, ``cli.commands`` or
            ``converters.steps``.
    """
    path = os.path.join(os.path.dirname(__file__), *folder.split("."))  # noqa: PTH118, PTH120
    try:
        files = os.listdir(path)  # noqa: PTH208  # pathlib and pkgutil cost more than the listing
    except OSError:
        # Not below this folder: the package lies in an archive, or in a checkout beside it.
        import pkgutil

        package = importlib.import_module(f"edgecv.{folder}")
        files = [f"{module.name}.py" for module in pkgutil.iter_modules(package.__path__)]
    found = {name.partition(".")[0] for name in files if name.endswith((".py", ".pyc"))}
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(folder: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises:
        UsageError: no such plug-in; the error lists those that exist.
    """
    if name not in names(folder):
        raise UsageError(
            f"no such plug-in in {folder}",
            expected=f"one of {', '.join(names(folder))}",
            got=repr(name),
        )
    return import_module(f"edgecv.{folder}.{name}")
