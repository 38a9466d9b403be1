"""The power management chip of the Raspberry Pi 5, through ``vcgencmd pmic_read_adc``.

It tells current and voltage of each rail that the chip makes: the SoC, memory and their helpers.
What is fed from 5 V directly (USB, fans, the chip's own loss) is not among them, so the sum is
below what a meter at the supply shows.

Source: the command's output as the Raspberry Pi documentation shows it: lines such as
``VDD_CORE_A current(7)=2.63A`` and ``VDD_CORE_V volt(15)=0.87V``.

It is read once a second only. A reading starts a program and asks the firmware, milliseconds of CPU
time on the very board that is measured, where an inference takes no longer; ten a second would be
seen in the timings and in the power. The price is fewer readings: idling is watched for longer, a
run must last for some, and the interval says what they leave open.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgecv.bench.power import Meter

TIER = 2
INTERVAL_S = 1.0
_LINE = re.compile(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(\d+(?:\.\d+)?)[AV]")


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
    found = rails(ask())
    if not found:
        return "vcgencmd pmic_read_adc does not answer"
    return Meter(
        tier=2,
        source="PMIC of the Raspberry Pi 5, all rails",
        scope="package",
        quantity="watts",
        interval_s=INTERVAL_S,
        read=lambda: _sum(rails(ask()), found),
    )


def rails(output: str | None) -> dict[str, float]:
    """Return the watts of each rail whose voltage and current are both told."""
    told: dict[str, dict[str, float]] = {}
    for rail, kind, value in _LINE.findall(output or ""):
        told.setdefault(rail, {})[kind] = float(value)
    return {rail: both["A"] * both["V"] for rail, both in told.items() if len(both) == 2}


def _sum(watts: Mapping[str, float], rails: Iterable[str]) -> tuple[float] | None:
    """Sum the rails; an answer that is cut short is none, for a part would pass for the whole."""
    return (sum(watts.values()),) if watts.keys() == set(rails) else None


def _ask() -> str | None:
    try:
        done = subprocess.run(
            ["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
