"""Read what a USB power meter logged.

A CSV file with a line of headings. One column is the time, ``time`` or ``timestamp``: ISO 8601, or
seconds since 1970. The power is ``watts`` or ``power``, or the product of ``volts`` (``voltage``)
and ``amps`` (``current``); units in brackets, as in ``Power(W)``, are passed over.

What is no reading is left out, and the gap is seen where the energy is summed: a power that is no
finite number, and a last line without an end, which the meter is still writing. Readings of one
time, as logs that tell whole seconds have them, count as their mean.
"""

from __future__ import annotations

import csv
import io
import math
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
        UsageError: the file cannot be read, a column is missing or holds no number, or the time
            goes backwards, so that nobody knows which reading is of when.
    """
    try:
        data = path.read_bytes()
        text = data[: data.rfind(b"\n") + 1].decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline="")))
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
    found: dict[float, list[float]] = {}
    last = -math.inf
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            at = _seconds(row[column["time"]])
            if column["watts"] is not None:
                watts = _number(row[column["watts"]])
            else:
                watts = _number(row[column["volts"] or 0]) * _number(row[column["amps"] or 0])
        except (ValueError, IndexError):
            raise UsageError(
                "a line without time or power", where=f"{path}: line {number}", got=",".join(row)
            ) from None
        if at < last:
            raise UsageError(
                f"the time goes backwards by {last - at:.6g} s",
                where=f"{path}: line {number}",
                remedy="begin a new log after the meter's clock was set",
            )
        last = at
        if math.isfinite(watts):
            found.setdefault(at + offset, []).append(watts)
    return [(at, sum(watts) / len(watts)) for at, watts in found.items()]


def _number(text: str) -> float:
    """Read a number; an empty cell is none, as "nan" is."""
    return float(text) if text.strip() else math.nan


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(seconds):
        raise ValueError
    return seconds
