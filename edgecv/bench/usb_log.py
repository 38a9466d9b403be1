"""Read what a USB power meter logged.

A CSV file with a line of headings. One column is the time, ``time`` or ``timestamp``: ISO 8601, or
seconds since 1970. The power is ``watts`` or ``power``, or the product of ``volts`` (``voltage``)
and ``amps`` (``current``); units in brackets, as in ``Power(W)``, are passed over.
"""

from __future__ import annotations

import csv
import re
import time
from datetime import datetime
from pathlib import Path

from edgecv.errors import UsageError

_NAMES = {
    "time": ("time", "timestamp", "date"),
    "watts": ("watts", "power", "watt"),
    "volts": ("volts", "voltage", "volt"),
    "amps": ("amps", "current", "ampere", "amperes"),
}


def read(path: Path) -> list[tuple[float, float]]:
    """Return (time, watts), the time on `time.monotonic`'s clock of this machine.

    Raises:
        UsageError: the file cannot be read, or a column is missing or holds no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path)) from None
    headings = [re.sub(r"[(\[].*", "", name).strip().lower() for name in (rows or [[]])[0]]
    column = {
        kind: next((headings.index(name) for name in names if name in headings), None)
        for kind, names in _NAMES.items()
    }
    if column["time"] is None or (
        column["watts"] is None and None in (column["volts"], column["amps"])
    ):
        raise UsageError(
            "not the log of a power meter",
            where=f"{path}: line 1",
            expected="columns time, and watts or volts and amps",
            got=", ".join(headings) or "nothing",
        )
    offset = time.monotonic() - time.time()
    found = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            at = _seconds(row[column["time"]])
            if column["watts"] is not None:
                watts = float(row[column["watts"]])
            else:
                watts = float(row[column["volts"] or 0]) * float(row[column["amps"] or 0])
        except (ValueError, IndexError):
            raise UsageError(
                "a line without time or power", where=f"{path}: line {number}", got=",".join(row)
            ) from None
        found.append((at + offset, watts))
    return sorted(found)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()).timestamp()
