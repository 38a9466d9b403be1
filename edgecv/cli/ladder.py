"""The ladder for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgecv.cli import output
from edgecv.converters.report import columns
from edgecv.converters.report.document import Conversion, validate
from edgecv.page import printable

if TYPE_CHECKING:
    from rich.console import Console


def print_ladder(conversion: Conversion | Mapping[str, Any], screen: Console) -> None:
    """Print what was found, on which images, and a table of the rungs of each engine.

    Args:
        conversion: a record, or its plain data.
        screen: where to.

    Raises:
        BundleError: the plain data are not those of a record.
    """
    if not isinstance(conversion, Conversion):
        conversion = validate(dict(conversion))
    for line in columns.summary(conversion):
        screen.print(line)
    for use, images in columns.images(conversion):
        screen.print(f"{use}: {images}")
    made = [column for column in columns.columns(conversion) if column.title != columns.AGREEMENT]
    titles = [f"{column.title}>" if column.numeric else column.title for column in made]
    for backend, rungs in columns.by_backend(conversion).items():
        table = output.table(printable(backend), "", *titles)
        for column in table.columns[:2]:
            column.no_wrap = True
        for rung in rungs:
            mark, style = ("*", "bold") if rung.shipped else ("", None)
            table.add_row(mark, *(column.cell(rung) for column in made), style=style)
        screen.print(table)
    screen.print("* shipped")
    for note in conversion.notes:
        screen.print(f"note: {printable(note)}")
