"""The energy counters of x86 CPUs: RAPL, as Linux shows it below powercap.

Source: the kernel's "Power Capping Framework": ``energy_uj`` in microjoules, which starts at 0
again after ``max_energy_range_uj``. Package domains hold cores, caches and memory controller; they
are summed over the sockets, and their parts (``core``, ``dram``) are left out, for they are inside.
"""

from __future__ import annotations

from pathlib import Path

from edgecv.bench.power import Meter

TIER = 2


def find(root: Path = Path("/")) -> Meter | str:
    """Find the package domains, one for each socket."""
    domains = []
    refused = False
    for name in sorted((root / "sys/class/powercap").glob("*rapl:*/name")):
        if not _text(name).startswith("package"):
            continue
        folder = name.parent
        span = _number(folder / "max_energy_range_uj")
        if _number(folder / "energy_uj") is None:
            refused = True
        elif span:
            domains.append(_Domain(folder / "energy_uj", span))
    if domains:
        return Meter(
            tier=2,
            source=f"RAPL, {len(domains)} package(s)",
            scope="package",
            quantity="joules",
            read=lambda: _sum(domains),
        )
    if refused:
        return "RAPL is there, but energy_uj may be read by root only"
    return "no RAPL counters, as on boards and in most virtual machines"


class _Domain:
    """One counter, its wraps undone."""

    def __init__(self, path: Path, span: int) -> None:
        self._path, self._span = path, span
        self._last: int | None = None
        self._turns = 0

    def read(self) -> float | None:
        now = _number(self._path)
        if now is None:
            return None
        if self._last is not None and now < self._last:
            self._turns += 1
        self._last = now
        return (now + self._turns * self._span) / 1e6


def _sum(domains: list[_Domain]) -> float | None:
    readings = [domain.read() for domain in domains]
    known = [reading for reading in readings if reading is not None]
    return sum(known) if len(known) == len(readings) else None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
