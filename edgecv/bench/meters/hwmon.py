"""Power meters that Linux shows as hwmon devices, such as the INA219, INA226 and INA260.

Source: the kernel's "Naming and data format standards for sysfs files" (hwmon): ``power1_input`` in
microwatts, ``in1_input`` in millivolts, ``curr1_input`` in milliamperes.
"""

from __future__ import annotations

from pathlib import Path

from edgecv.bench.power import Meter

TIER = 1
# The shunt's tolerance and the chip's gain error: 1 % is what common boards are sold with.
ACCURACY = 0.01
_CHIPS = ("ina", "ltc2945", "ltc2947", "max34407", "pac19")


def find(root: Path = Path("/")) -> Meter | str:
    """Find the first chip that measures power."""
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        chip = _text(name)
        folder = name.parent
        if chip is None or not chip.startswith(_CHIPS):
            continue
        for reader in (_power, _product):
            if reader(folder) is not None:
                return Meter(
                    tier=1,
                    source=f"{chip} (hwmon)",
                    scope="board",
                    quantity="watts",
                    accuracy=ACCURACY,
                    read=lambda reader=reader, folder=folder: reader(folder),  # type: ignore[misc]
                )
    return "no power meter among the hwmon devices"


def _power(folder: Path) -> float | None:
    value = _number(folder / "power1_input")
    return None if value is None else value / 1e6


def _product(folder: Path) -> float | None:
    """Multiply bus voltage and current; in0 is the shunt's own voltage on these chips."""
    volts, amperes = _number(folder / "in1_input"), _number(folder / "curr1_input")
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _number(path: Path) -> int | None:
    text = _text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
