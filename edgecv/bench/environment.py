"""What a number was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import edgecv
from edgecv import host, plugins
from edgecv.bench.sensors import governor
from edgecv.engines import load_backend

LIBRARIES = ("numpy", "opencv-python-headless", "opencv-python")


def environment(root: Path = Path("/")) -> dict[str, Any]:
    """Describe machine, system and versions.

    Args:
        root: of the file system with ``proc`` and ``sys``.

    Returns:
        What cannot be read is None, and ``missing`` says why.
    """
    found: dict[str, Any] = {
        "edgecv": edgecv.__version__,
        "board": board(root),
        "cpu": host.cpu_model(root),
        "cpu_features": host.cpu_features(root),
        "cpus": os.cpu_count(),
        "usable_cpus": host.usable_cpus(root),
        "cpu_quota": host.cpu_quota(root),
        "memory_bytes": host.memory_bytes(root),
        "governor": governor(root),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in LIBRARIES if library_version(name)},
        "engines": engines(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    reasons = {
        "board": "neither a device tree nor firmware names the machine",
        "cpu": "/proc/cpuinfo names no CPU",
        "cpu_features": "/proc/cpuinfo lists none",
        "cpu_quota": "no control group sets one",
        "memory_bytes": "/proc/meminfo cannot be read",
        "governor": "the system has no cpufreq governor, as in most virtual machines",
        "libc": "the C library does not tell its version",
        "load_average": "this system has none",
    }
    missing = {name: why for name, why in reasons.items() if found[name] is None}
    for name, version in found["engines"].items():
        if version is None:
            missing[f"engines.{name}"] = "not installed"
    return {**found, "missing": missing}


def engines() -> dict[str, str | None]:
    """Return the version of every backend's engine; None where it is not installed."""
    return {name: load_backend(name).version() for name in plugins.names("backends")}


def library_version(name: str) -> str | None:
    """Return an installed distribution's version."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def board(root: Path = Path("/")) -> str | None:
    """Return the board's name from the device tree, or the machine's from its firmware."""
    for path in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        try:
            name = (root / path).read_text().strip("\0\n ")
        except (OSError, UnicodeDecodeError):
            continue
        if name:
            return name
    return None
