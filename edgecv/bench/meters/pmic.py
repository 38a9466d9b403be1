"""The power management chip of the Raspberry Pi 5, through ``vcgencmd pmic_read_adc``.

It tells current and voltage of each rail that the chip makes: the SoC, memory and their helpers.
What is fed from 5 V directly (USB, fans, the chip's own loss) is not among them, so the sum is
below what a meter at the supply shows.

Source: the command's output as the Raspberry Pi documentation shows it: lines such as
``VDD_CORE_A current(7)=2.63A`` and ``VDD_CORE_V volt(15)=0.87V``.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgecv.bench.power import Meter

TIER = 2
_LINE = re.compile(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]")


def find(root: Path = Path("/"), ask: Callable[[], str | None] | None = None) -> Meter | str:
    """Find the chip: the command exists, and its answer names rails.

    Args:
        root: of the file system; the command is only asked on a Raspberry Pi 5.
        ask: returns the command's output; None where it fails.
    """
    try:
        model = (root / "proc/device-tree/model").read_text(errors="replace")
    except OSError:
        model = ""
    if "Raspberry Pi 5" not in model:
        return "not a Raspberry Pi 5"
    ask = ask or _ask
    if watts(ask()) is None:
        return "vcgencmd pmic_read_adc does not answer"
    return Meter(
        tier=2,
        source="PMIC of the Raspberry Pi 5, all rails",
        scope="package",
        quantity="watts",
        read=lambda: watts(ask()),
    )


def watts(output: str | None) -> float | None:
    """Sum voltage times current over the rails that have both; None where none has."""
    rails: dict[str, dict[str, float]] = {}
    for rail, kind, value in _LINE.findall(output or ""):
        rails.setdefault(rail, {})[kind] = float(value)
    powers = [found["A"] * found["V"] for found in rails.values() if len(found) == 2]
    return sum(powers) if powers else None


def _ask() -> str | None:
    try:
        done = subprocess.run(
            ["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
