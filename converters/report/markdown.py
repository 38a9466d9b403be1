"""The ladder as a Markdown table."""

from __future__ import annotations

from edgecv.converters.report.columns import by_backend, columns
from edgecv.converters.report.document import Conversion
from edgecv.page import escape_markdown


def to_markdown(conversion: Conversion) -> str:
    """Write the ladder as a table of GitHub's Markdown, one row a rung, with a final newline."""
    made = columns(conversion)
    head = ["backend", *(column.title for column in made[:-1]), "shipped", made[-1].title]
    marks = ["---", *("---:" if column.numeric else "---" for column in made[:-1]), "---", "---"]
    rows = [
        [
            backend,
            *(column.cell(rung) for column in made[:-1]),
            "yes" if rung.shipped else "no",
            made[-1].cell(rung),
        ]
        for backend, rungs in by_backend(conversion).items()
        for rung in rungs
    ]
    lines = [[*map(escape_markdown, head)], marks, *([*map(escape_markdown, row)] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
