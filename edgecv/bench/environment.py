"""What a number was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import edgecv
from edgecv import host, plugins
from edgecv.engines import load_backend

LIBRARIES = ("numpy", "opencv-python-headless", "opencv-python")


def environment() -> dict[str, Any]:
    """Describe machine, system and versions; what cannot be read is None."""
    return {
        "edgecv": edgecv.__version__,
        "board": board(),
        "cpu": host.cpu_model(),
        "cpu_features": host.cpu_features(),
        "usable_cpus": host.usable_cpus(),
        "memory_bytes": host.memory_bytes(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in LIBRARIES if library_version(name)},
        "engines": engines(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def engines() -> dict[str, str | None]:
    """Return the version of every backend's engine; None where it is not installed."""
    return {name: load_backend(name).version() for name in plugins.names("backends")}


def library_version(name: str) -> str | None:
    """Return an installed distribution's version."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def board() -> str | None:
    """Return the board's name from the device tree, or the machine's from its firmware."""
    model = _read("/proc/device-tree/model") or _read("/sys/class/dmi/id/product_name")
    return model.strip("\0") if model else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
