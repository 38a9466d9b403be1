"""The energy counters of x86 CPUs: RAPL, as Linux shows it below powercap.

Source: the kernel's "Power Capping Framework": ``energy_uj`` in microjoules, which starts at 0
again after ``max_energy_range_uj``. Package domains hold cores, caches and memory controller; they
are summed over the sockets, and their parts (``core``, ``dram``) are left out, for they are inside.
"""

from __future__ import annotations

from pathlib import Path

from edgecv.bench.power import Meter, unreadable

TIER = 2


def find(root: Path = Path("/")) -> Meter | str:
    """Find the package domains, one for each socket; all of them can be read, or none counts."""
    domains: dict[str, _Domain] = {}
    for name in sorted((root / "sys/class/powercap").glob("*rapl:*/name")):
        folder = name.parent
        path = name
        try:
            label = name.read_text().strip()
            if not label.startswith("package"):
                continue
            path = folder / "max_energy_range_uj"
            span = _number(path)
            path = folder / "energy_uj"
            _number(path)
        except (OSError, ValueError) as error:
            return f"RAPL does not tell of every package: {unreadable(path, error)}"
        domains[label] = _Domain(path, span)
    if not domains:
        return "no RAPL counters, as on boards and in most virtual machines"
    return Meter(
        tier=2,
        source=f"RAPL, {len(domains)} package(s)",
        scope="package",
        quantity="joules",
        parts=tuple(domains),
        read=lambda: _all(list(domains.values())),
    )


class _Domain:
    """One counter, its wraps undone."""

    def __init__(self, path: Path, span: int) -> None:
        self._path, self._span = path, span
        self._last: int | None = None
        self._turns = 0

    def read(self) -> float:
        now = _number(self._path)
        # By half its range and more it has not grown since: it was reset, and is seen to fall.
        if self._last is not None and now < self._last and self._last - now > self._span / 2:
            self._turns += 1
        self._last = now
        return (now + self._turns * self._span) / 1e6


def _all(domains: list[_Domain]) -> list[float] | None:
    try:
        return [domain.read() for domain in domains]
    except (OSError, ValueError):
        return None


def _number(path: Path) -> int:
    return int(path.read_text())
