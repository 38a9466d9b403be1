"""What this process may use of the machine it runs on."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_X86_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
)  # fmt: skip
_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2")


def usable_cpus(root: Path = Path("/")) -> int:
    """Count the CPUs this process may really use: affinity, and the quota of its control groups.

    A container limited to half a CPU has 1; one limited to 1.5 has 2.

    Args:
        root: of the file system with ``proc`` and ``sys``; another one in tests.
    """
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        affinity = os.cpu_count() or 1
    quota = _cgroup_cpus(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _cgroup_cpus(root: Path) -> float | None:
    """Return the tightest CPU quota over this process's control groups, in CPUs."""
    found: list[float] = []
    for line in _lines(root / "proc/self/cgroup"):
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if controllers == "":
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
            base = base if base.exists() else root / "sys/fs/cgroup/cpu"
        else:
            continue
        group = base / path.lstrip("/")
        # A limit on any ancestor binds too; in a container the path may be the host's, so the root
        # of the hierarchy is looked at in any case.
        for folder in [group, *group.parents]:
            quota = _quota(folder)
            if quota is not None:
                found.append(quota)
            if folder == base:
                break
    return min(found, default=None)


def _quota(folder: Path) -> float | None:
    limit = _lines(folder / "cpu.max")
    if limit:
        quota, _, period = limit[0].partition(" ")
        if quota == "max":
            return None
    else:
        quota = next(iter(_lines(folder / "cpu.cfs_quota_us")), "")
        period = next(iter(_lines(folder / "cpu.cfs_period_us")), "")
    try:
        value = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def cpu_features(root: Path = Path("/")) -> tuple[str, ...] | None:
    """List the instruction sets that matter for inference; None where they cannot be read."""
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            return tuple(name for name in _X86_FEATURES + _ARM_FEATURES if name in flags)
    return None


def cpu_model(root: Path = Path("/")) -> str | None:
    """Return the CPU's name, or on Arm the architecture with the core's part number."""
    facts: dict[str, str] = {}
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    if "model name" in facts:
        return facts["model name"]
    if "CPU part" in facts:
        return f"{platform.machine()}, part {facts['CPU part']}"
    return facts.get("Hardware")


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory that this process may use: the machine's, or its control group's limit."""
    total = None
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        for line in _lines(root / "sys/fs/cgroup" / name)[:1]:
            if line.isdigit():
                total = int(line) if total is None else min(total, int(line))
    return total


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
