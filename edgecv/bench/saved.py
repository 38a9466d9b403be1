"""Reports of a benchmark as files: read strictly, as manifests are."""

from __future__ import annotations

import re
from pathlib import Path

from edgecv.bench.report import SCHEMA, Report
from edgecv.errors import BenchReportError
from edgecv.schema import parse_object, validate

MAX_BYTES = 256 * 2**20
"""Larger files are refused before they are read."""


def read(path: Path) -> Report:
    """Read what ``edgecv bench --json`` wrote.

    Raises:
        BenchReportError: it cannot be read, is no such report, is one of another schema, or breaks
            its schema; the error names the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BenchReportError(f"larger than {MAX_BYTES >> 20} MiB", where=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise BenchReportError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return parse(data, str(path))


def parse(data: bytes, where: str = "report") -> Report:
    """Read a report from its JSON.

    Args:
        data: UTF-8.
        where: how errors name the file.

    Raises:
        BenchReportError: as `read` does.
    """
    raw = parse_object(data, where, BenchReportError)
    _check_schema(raw.get("schema"), where)
    return validate(Report, raw, where, BenchReportError)


def _check_schema(found: object, where: str) -> None:
    if found == SCHEMA:
        return
    name, _, newest = SCHEMA.partition("/")
    match = re.fullmatch(rf"{re.escape(name)}/([0-9]{{1,9}})", found if type(found) is str else "")
    place = f"{where}: schema"
    if match is None:
        got = None if found is None else repr(found)[:80]
        raise BenchReportError(
            "not the report of a benchmark", where=place, expected=SCHEMA, got=got
        )
    older = int(match[1]) < int(newest)
    raise BenchReportError(
        "written by an older edgecv" if older else "written by a newer edgecv",
        where=place,
        expected=SCHEMA,
        got=str(found),
        remedy="measure again with this edgecv" if older else "upgrade edgecv",
    )
