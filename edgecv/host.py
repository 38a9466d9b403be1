"""What this process may use of the machine it runs on."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_CPUS = "sys/devices/system/cpu"

_X86_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_fp16",
    "amx_int8",
)  # fmt: skip
_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2")


def data_folder() -> str:
    """Return where edgecv keeps what it found out: ``$XDG_DATA_HOME/edgecv``; it need not exist."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return os.path.join(base, "edgecv")  # noqa: PTH118


def usable_cpus(root: Path = Path("/"), among: Collection[int] | None = None) -> int:
    """Count the CPUs this process may really use: affinity, and the quota of its control groups.

    A container limited to half a CPU has 1; one limited to 1.5 has 2.

    Args:
        root: of the file system with ``proc`` and ``sys``; another one in tests.
        among: the CPUs that it may run on; None asks the system.
    """
    affinity = len(allowed_cpus() if among is None else among)
    quota = cpu_quota(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def allowed_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this process may run on."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return frozenset(range(os.cpu_count() or 1))


def fast_cpus(root: Path = Path("/")) -> tuple[int, ...]:
    """Return the machine's CPUs of the fast kind where there are several kinds; () where not.

    Sources: ``cpu_capacity`` of Arm kernels; else the highest clock of cpufreq, which tells two
    kinds where it differs by more than a tenth.
    """
    for file in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        found: dict[int, int] = {}
        for path in (root / _CPUS).glob(f"cpu[0-9]*/{file}"):
            number = path.relative_to(root / _CPUS).parts[0][3:]
            with suppress(OSError, ValueError):
                found[int(number)] = int(path.read_text())
        if found:
            top = max(found.values())
            fast = tuple(sorted(cpu for cpu, value in found.items() if value > 0.9 * top))
            return fast if len(fast) < len(found) else ()
    return ()


def physical_cores(root: Path = Path("/"), among: Collection[int] | None = None) -> int | None:
    """Count the cores behind some CPUs, of which one core may have several.

    Args:
        root: of the file system with ``sys``.
        among: numbers of CPUs; None takes those that this process may run on.

    Returns:
        None where the kernel does not tell ``topology/thread_siblings_list`` of each of them.
    """
    cores = set()
    for cpu in allowed_cpus() if among is None else among:
        lines = _lines(root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list")
        if not lines:
            return None
        cores.add(lines[0])
    return len(cores)


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


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory that this process can still take without pushing anything out.

    The kernel's MemAvailable, or what the control groups leave of their limits where that is less:
    see proc(5) and cgroups(7). None where neither can be read.
    """
    found = [
        int(line.split()[1]) * 1024
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemAvailable:")
    ]
    for folder in control_groups(root, "memory"):
        for most, used in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, now = (next(iter(_lines(folder / name)), "") for name in (most, used))
            if limit.isdigit() and now.isdigit():
                found.append(max(0, int(limit) - int(now) + _reclaimable(folder)))
    return min(found, default=None)


def _reclaimable(folder: Path) -> int:
    """Return the bytes of a control group that hold files nobody used of late."""
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0


def status_bytes(field: str, root: Path = Path("/")) -> int | None:
    """Return a size of this process from proc(5)'s ``status``; None where it is not told.

    ``VmRSS`` is the resident set, ``VmHWM`` its peak since exec, unlike getrusage's.
    """
    for line in _lines(root / "proc/self/status"):
        words = line.split()
        if words[:1] == [f"{field}:"] and len(words) > 1 and words[1].isdigit():
            return int(words[1]) * 1024
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
