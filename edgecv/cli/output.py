"""How commands print: JSON to a file or to standard output, tables and progress for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgecv.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """Make a console; plain text where the stream is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def table(title: str, *columns: str) -> Table:
    """Make a table; columns whose name ends in ``>`` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title), title_justify="left", header_style="bold")
    for column in columns:
        name = column.rstrip(">")
        made.add_column(name, justify="right" if column != name else "left", overflow="fold")
    return made


@contextmanager
def json_stream(target: str | None) -> Iterator[IO[str] | None]:
    """Open where JSON goes: ``-`` is standard output, None is nowhere."""
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        try:
            file = Path(target).open("w", encoding="utf-8")  # noqa: SIM115  # closed below
        except OSError as error:
            raise UsageError(
                f"cannot be written: {error.strerror}", where=f"--json {target}"
            ) from None
        with file:
            yield file


def write_json(target: str | None, data: Any) -> None:
    """Write one indented JSON document, if a target was named."""
    with json_stream(target) as file:
        if file is not None:
            file.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
