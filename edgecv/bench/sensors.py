"""Read what Linux tells of a machine: CPU time, clocks, heat, swapping, quotas, a board's firmware.

Every reader takes the root of the file system and returns None for what it does not find.

Sources: proc(5) for ``/proc/stat``, ``/proc/vmstat`` and ``statm``; the kernel's documentation of
cpufreq, thermal zones, hwmon and control groups; Raspberry Pi documentation, "vcgencmd
get_throttled", for the bits of the firmware.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edgecv import host

_CPU_ZONES = ("cpu", "soc", "x86_pkg", "k10temp", "coretemp", "package")
# Some firmware's own idea of it, often of the main board or of nothing; better than no zone.
_OTHER_ZONES = ("acpitz",)


def cpu_times(root: Path = Path("/")) -> tuple[float | None, dict[int, float]]:
    """Return the CPU time of everything since boot, seconds: of all CPUs, and of each.

    What a hypervisor stole counts.
    """
    total, each = None, {}
    for line in _lines(root / "proc/stat"):
        words = line.split()
        if len(words) > 8 and words[0].startswith("cpu"):
            user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
            busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
            if words[0] == "cpu":
                total = busy
            elif words[0][3:].isdigit():
                each[int(words[0][3:])] = busy
    return total, each


def busy_s(root: Path = Path("/")) -> float | None:
    """Return the CPU time of everything on all CPUs since boot, seconds."""
    return cpu_times(root)[0]


def governor(root: Path = Path("/")) -> str | None:
    """Return the governor of the first CPU's clock."""
    return next(iter(_lines(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")), None)


def throttle_bits(
    root: Path = Path("/"), ask: Callable[[], str | None] | None = None
) -> int | None:
    """Return the Raspberry Pi firmware's bits: 0-3 of now, 16-19 since boot.

    None where there is no such firmware. Where the kernel does not show the bits, ``vcgencmd`` is
    asked; where that does not answer, the undervoltage alarm of ``rpi_volt`` stands for bit 0.

    Args:
        root: of the file system; the command is only asked on a Raspberry Pi.
        ask: returns the output of ``vcgencmd get_throttled``; None where it fails.
    """
    for path in _bit_files(root):
        with suppress(ValueError, IndexError):
            return int(_lines(path)[0], 16)
    if "Raspberry Pi" in " ".join(_lines(root / "proc/device-tree/model")):
        # It answers "throttled=0x50000".
        with suppress(ValueError):
            return int(((ask or _ask)() or "").strip().rpartition("=")[2], 16)
    return _voltage_alarm(root)


def throttle_bits_at_once(root: Path = Path("/")) -> int | None:
    """Return what of `throttle_bits` can be read while something is measured: from files only."""
    if _bit_files(root):
        return throttle_bits(root, lambda: None)
    return _voltage_alarm(root)


def _bit_files(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/platform").glob("soc*/*firmware/get_throttled"))


def _voltage_alarm(root: Path) -> int | None:
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if _lines(name)[:1] == ["rpi_volt"]:
            alarm = _lines(name.parent / "in0_lcrit_alarm")[:1]
            return None if not alarm else int(alarm == ["1"])
    return None


def _ask() -> str | None:
    try:
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def clock_files(root: Path) -> dict[int, Path]:
    """Return the file of each CPU's clock, where cpufreq tells it."""
    found = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    return {int(path.parts[-3][3:]): path for path in found if path.parts[-3][3:].isdigit()}


def clocks_mhz(root: Path, files: Mapping[int, Path]) -> dict[int, float]:
    """Return the clock of each CPU: cpufreq's, which is in kHz, else that of /proc/cpuinfo."""
    clocks = {}
    for cpu, path in files.items():
        for text in _lines(path)[:1]:
            if text.isdigit():
                clocks[cpu] = int(text) / 1000
    if files:
        return clocks
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() == "cpu MHz":
            with suppress(ValueError):
                clocks[len(clocks)] = float(value)
    return clocks


def in_use_mhz(clocks: Mapping[int, float], busy: Mapping[int, float] | None) -> float | None:
    """Return the mean clock, each CPU counted by how long it computed.

    The clocks of idle CPUs go up and down, and nobody waits for them.

    Args:
        clocks: of each CPU, MHz.
        busy: for how long each computed, seconds; None where that cannot be read, and then all
            count the same.

    Returns:
        None where no CPU computed, or no clock is known.
    """
    weights = {cpu: 1.0 if busy is None else max(0.0, busy.get(cpu, 0.0)) for cpu in clocks}
    total = sum(weights.values())
    if not total:
        return None
    return round(sum(weight * clocks[cpu] for cpu, weight in weights.items()) / total, 1)


def zones(root: Path) -> list[Path]:
    """List the temperature files of CPUs, in millidegrees Celsius."""
    return _zones(root, _CPU_ZONES) or _zones(root, _OTHER_ZONES)


def _zones(root: Path, words: tuple[str, ...]) -> list[Path]:
    found = []
    for kind in sorted((root / "sys/class/thermal").glob("thermal_zone*/type")):
        if any(word in " ".join(_lines(kind)).lower() for word in words):
            found.append(kind.parent / "temp")
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if any(word in " ".join(_lines(name)).lower() for word in words):
            found += sorted(name.parent.glob("temp*_input"))
    return found


def temperature_c(zones: list[Path]) -> float | None:
    """Return the temperature of the hottest zone."""
    values = []
    for zone in zones:
        with suppress(ValueError, IndexError):
            values.append(int(_lines(zone)[0]) / 1000)
    return max(values, default=None)


def swapped(root: Path) -> int | None:
    """Return how many pages went to or came from swap space since boot."""
    pages = [
        int(line.split()[1])
        for line in _lines(root / "proc/vmstat")
        if line.startswith(("pswpin ", "pswpout "))
    ]
    return sum(pages) if pages else None


def quota_files(root: Path = Path("/")) -> list[Path]:
    """List the files that tell for how long quotas held this process back.

    A quota of any ancestor binds, and only that ancestor counts it.
    """
    found = (folder / "cpu.stat" for folder in host.control_groups(root, "cpu"))
    # In version 1 one folder often has two names.
    return list(dict.fromkeys(path.resolve() for path in found if path.is_file()))


def quota_s(files: Sequence[Path]) -> float | None:
    """Return for how long quotas held this process back since its control groups exist."""
    held = [
        int(value) / (1e6 if key == "throttled_usec" else 1e9)
        for path in files
        for key, _, value in (line.partition(" ") for line in _lines(path))
        if key in ("throttled_usec", "throttled_time") and value.isdigit()
    ]
    return sum(held) if held else None


def rss_bytes(root: Path, pid: int) -> int | None:
    """Return the resident set of a process."""
    words = " ".join(_lines(root / f"proc/{pid}/statm")).split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
