"""Power meters that Linux shows as hwmon devices, such as the INA219, INA226 and INA260.

Source: the kernel's "Naming and data format standards for sysfs files" (hwmon): ``power1_input`` in
microwatts, ``in1_input`` in millivolts, ``curr1_input`` in milliamperes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

from edgecv.bench.power import Meter, unreadable

TIER = 1
# The shunt's tolerance and the chip's gain error: 1 % is what common boards are sold with.
ACCURACY = 0.01
# The files whose product is the power in microwatts; volts and amperes are for drivers that do not
# multiply them, and in0 is the shunt's own voltage on these chips.
_POWERS = (("power1_input",), ("in1_input", "curr1_input"))
_CHIPS = ("ina", "ltc2945", "ltc2947", "max34407", "pac19")


def find(root: Path = Path("/")) -> Meter | str:
    """Find the first chip that measures power."""
    refused = []
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        try:
            chip = name.read_text().strip()
        except (OSError, UnicodeDecodeError):
            continue
        if not chip.startswith(_CHIPS):
            continue
        for files in _POWERS:
            paths = [name.parent / file for file in files]
            try:
                _micro(paths)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                refused.append(f"{chip} (hwmon) is there, but {unreadable(paths[0], error)}")
                continue
            return Meter(
                tier=1,
                source=f"{chip} (hwmon)",
                scope="board",
                quantity="watts",
                accuracy=ACCURACY,
                read=lambda paths=paths: _watts(paths),  # type: ignore[misc]
            )
    return refused[0] if refused else "no power meter among the hwmon devices"


def _watts(paths: Sequence[Path]) -> tuple[float] | None:
    try:
        return (_micro(paths) / 1e6,)
    except (OSError, ValueError):
        return None


def _micro(paths: Sequence[Path]) -> int:
    """Multiply what the files say: microwatts, or millivolts and milliamperes."""
    return prod(int(path.read_text()) for path in paths)
