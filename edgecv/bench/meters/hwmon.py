"""Power meters that Linux shows as hwmon devices, such as the INA219, INA226 and INA260.

Sources: the kernel's "Naming and data format standards for sysfs files" (hwmon): ``powerN_input``
in microwatts, ``inN_input`` in millivolts, ``currN_input`` in milliamperes, ``inN_label`` and the
like for what is measured; its page on the ina3221, whose channels are three, with sums and the
shunts' voltages under higher numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from edgecv.bench.power import Meter, unreadable

TIER = 1
# The shunt's tolerance and the chip's gain error: 1 % is what common boards are sold with.
ACCURACY = 0.01
_CHIPS = ("ina", "ltc2945", "ltc2947", "max34407", "pac19")
_MOST_CHANNELS = 8
_CHANNELS = {"ina3221": 3}
# What boards call the rail that feeds all others; POM_5V_IN is the Jetson Nano's.
_SUPPLIES = {"VDD_IN", "VCC_IN", "VIN", "DC_IN", "POM_5V_IN", "SUPPLY"}
_MOST_LETTERS = 40


class _Channel(NamedTuple):
    """One rail that a chip measures; the product of its files is the power in microwatts."""

    chip: str
    label: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.chip} {self.label}".strip() + " (hwmon)"


def find(root: Path = Path("/")) -> Meter | str:
    """Find the channel that measures the supply: the only one, or the one whose label says so."""
    channels = [
        channel
        for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name"))
        for channel in _channels(name)
    ]
    if not channels:
        return "no power meter among the hwmon devices"
    found = channels
    if len(channels) > 1:  # one of several rails would pass for the whole board
        found = [channel for channel in channels if channel.label.upper() in _SUPPLIES]
    if len(found) != 1:
        labels = ", ".join(f"{one.chip} {one.label or 'without a label'}" for one in channels)
        said = "none is" if not found else "several are"
        return f"of {len(channels)} rails that hwmon measures {said} named as the supply: {labels}"
    (channel,) = found
    try:
        _micro(channel.paths)
    except (OSError, ValueError) as error:
        return f"{channel} is there, but {unreadable(channel.paths[0], error)}"
    return Meter(
        tier=1,
        source=str(channel),
        scope="board",
        quantity="watts",
        accuracy=ACCURACY,
        read=lambda: _watts(channel.paths),
    )


def _channels(name: Path) -> Iterator[_Channel]:
    """List the rails of a chip, by the file that names it."""
    chip = _text(name)
    if not chip.startswith(_CHIPS):
        return
    for n in range(1, _CHANNELS.get(chip, _MOST_CHANNELS) + 1):
        # Volts and amperes are for drivers that do not multiply them; in0 is the shunt's own
        # voltage on these chips.
        for kinds in (("power",), ("in", "curr")):
            paths = tuple(name.with_name(f"{kind}{n}_input") for kind in kinds)
            if all(path.exists() for path in paths) and _text(name, f"in{n}_enable") != "0":
                labels = (_text(name, f"{kind}{n}_label") for kind in ("in", "curr", "power"))
                yield _Channel(chip, next(filter(None, labels), ""), paths)
                break


def _text(name: Path, file: str = "name") -> str:
    try:
        return name.with_name(file).read_text().strip()[:_MOST_LETTERS]
    except (OSError, UnicodeDecodeError):
        return ""


def _watts(paths: Sequence[Path]) -> tuple[float] | None:
    try:
        return (_micro(paths) / 1e6,)
    except (OSError, ValueError):
        return None


def _micro(paths: Sequence[Path]) -> int:
    """Multiply what the files say: microwatts, or millivolts and milliamperes."""
    return prod(int(path.read_text()) for path in paths)
