"""What is known about boards, installed as ``edgecv.targets``.

Each ``NAME.toml`` beside this file is a target; it is registered by being there.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from edgecv.errors import TargetError, UsageError
from edgecv.targets.detection import Detection
from edgecv.targets.target import Target, validate

__all__ = ["Detection", "Target", "detect", "load", "names"]


@cache
def names() -> tuple[str, ...]:
    """List the targets, sorted, without reading any of them."""
    files = (item.name for item in resources.files(__name__).iterdir())
    found = (name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return tuple(sorted(name for name in found if not name.startswith("_")))


@cache
def load(name: str) -> Target:
    """Read one target.

    Raises:
        UsageError: there is none of this name; the error lists those that exist.
        TargetError: its file breaks the schema.
    """
    if name not in names():
        raise UsageError(
            "no such target",
            where="targets",
            expected=f"one of {', '.join(names())}",
            got=repr(name),
        )
    return validate(read_toml(f"{name}.toml"), name)


def detect(root: str = "/") -> Detection:
    """Say which target this machine is, and why.

    Args:
        root: of the file system with ``proc``; another one in tests.
    """
    from edgecv.targets.detection import choose, read_facts

    return choose(read_facts(root), [load(name) for name in names()])


def read_toml(file: str) -> dict[str, Any]:
    """Read a TOML file that lies beside this module.

    Raises:
        TargetError: it is not valid TOML.
    """
    try:
        return tomllib.loads(resources.files(__name__).joinpath(file).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"not valid TOML: {error}", where=file) from None
