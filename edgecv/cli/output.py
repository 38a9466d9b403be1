"""How commands print: JSON to a file or to standard output, tables and progress for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgecv.errors import UsageError
from edgecv.manifest import MANIFEST

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ENDLESS = 10_000


def console(*, stderr: bool = False) -> Console:
    """Make a console; plain text where the stream is no terminal.

    File names and labels are printed as they are: no markup, no emoji. Where no terminal sets the
    width, lines are as long as they need to be.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _ENDLESS
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=width, soft_wrap=True
    )


def table(title: str, *columns: str) -> Table:
    """Make a table; columns whose name ends in ``>`` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        name = column.rstrip(">")
        made.add_column(name, justify="right" if column != name else "left", overflow="fold")
    return made


def check_target(target: str | None, inputs: Iterable[Path] = (), option: str = "--json") -> None:
    """Refuse a target that cannot be written, before the work is done for nothing.

    Args:
        target: as given with the option.
        inputs: what the command reads; it is never written over.
        option: how errors name it.

    Raises:
        UsageError: a folder, a place without permission, or something that the command reads.
    """
    if target in (None, "-"):
        return
    path = Path(str(target))
    reason = None
    if path.is_dir():
        reason = "it is a folder"
    elif not path.parent.is_dir():
        reason = "its folder does not exist"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "no permission"
    elif any(_is_part(path, item) for item in inputs):
        reason = "the command reads it"
    if reason:
        raise UsageError(f"cannot be written: {reason}", where=f"{option} {target}")


def _is_part(path: Path, item: Path) -> bool:
    """Tell whether a path is an input, or lies in a folder bundle that is one."""
    here, there = path.resolve(), item.resolve()
    if here == there or (path.exists() and item.exists() and path.samefile(item)):
        return True
    return (there / MANIFEST).is_file() and there in here.parents


@contextmanager
def json_stream(
    target: str | None, inputs: Iterable[Path] = (), option: str = "--json"
) -> Iterator[IO[str] | None]:
    """Open where JSON, or another text, goes: ``-`` is standard output, None is nowhere.

    A file is written beside its place and moved there at the end, so that a run that fails leaves
    what was there.
    """
    check_target(target, inputs, option)
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    elif Path(target).exists() and not Path(target).is_file():
        # A pipe or a device is written as it is.
        with Path(target).open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
    else:
        draft = Path(f"{target}.{os.getpid()}.part")
        try:
            # A file name that is not UTF-8 comes as lone surrogates; escaped, they are JSON.
            with draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
            draft.replace(target)
        except OSError as error:
            raise UsageError(
                f"cannot be written: {error.strerror}", where=f"{option} {target}"
            ) from None
        finally:
            draft.unlink(missing_ok=True)


def write_json(target: str | None, data: Any, inputs: Iterable[Path] = ()) -> None:
    """Write one indented JSON document, if a target was named."""
    with json_stream(target, inputs) as file:
        if file is not None:
            file.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
