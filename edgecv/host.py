"""What this process may use of the machine it runs on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_X86_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_fp16",
    "amx_int8",
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
    quota = cpu_quota(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the tightest CPU quota over this process's control groups, in CPUs; None is none."""
    quotas = map(_quota, control_groups(root, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups that can bind, ancestors included.

    See cgroups(7). Version 2 has one hierarchy, mounted at ``/sys/fs/cgroup`` or beside version 1
    at ``unified``; version 1 has one per controller or set of controllers. A limit on any ancestor
    binds too. In a container the path may be the host's and the folders below the root absent.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            bases = [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            bases = [mounts / controllers, mounts / controller]
        else:
            continue
        for base in dict.fromkeys(bases):
            steps = [step for step in path.split("/") if step not in ("", ".", "..")]
            for depth in range(len(steps), -1, -1):
                yield base.joinpath(*steps[:depth])


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
    """Return the CPU's name, on Arm the architecture and the core's part number, or None."""
    facts: dict[str, str] = {}
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    if "model name" in facts:
        return facts["model name"]
    if "CPU part" in facts:
        import platform

        return f"{platform.machine()}, part {facts['CPU part']}"
    return facts.get("Hardware")


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory that this process may use: the machine's, or its control groups' limit.

    None where neither can be read.
    """
    found = [
        int(line.split()[1]) * 1024
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemTotal:")
    ]
    for folder in control_groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += [int(line) for line in _lines(folder / name)[:1] if line.isdigit()]
    return min(found, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
