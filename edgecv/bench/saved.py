"""Reports as files."""

from __future__ import annotations

from pathlib import Path

from edgecv import schema
from edgecv.bench.report import SCHEMA, Report
from edgecv.errors import UsageError


def read(path: Path) -> Report:
    """Read a report that ``edgecv bench --json`` wrote.

    Raises:
        UsageError: it cannot be read, is of another schema, or breaks it; the field is named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return parse(data, str(path))


def parse(data: bytes, where: str) -> Report:
    """Read a report from its JSON; see `read`."""
    raw = schema.parse_object(data, where, UsageError)
    if raw.get("schema") != SCHEMA:
        raise UsageError(
            "not a report of this version",
            where=f"{where}: schema",
            expected=SCHEMA,
            got=repr(raw.get("schema")),
            remedy="measure again with `edgecv bench --json`",
        )
    return schema.validate(Report, raw, where, UsageError)
