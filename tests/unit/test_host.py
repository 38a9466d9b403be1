"""Usable CPUs and memory from affinity and control groups, on made-up file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecv import host
from tests.boards import tree


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


V2 = "sys/fs/cgroup/"
GROUP = "proc/self/cgroup"
CASES = {
    "nothing readable": ({}, 8),
    "no limit": ({GROUP: "0::/\n", V2 + "cpu.max": "max 100000\n"}, 8),
    "two CPUs": ({GROUP: "0::/\n", V2 + "cpu.max": "200000 100000\n"}, 2),
    "rounded up": ({GROUP: "0::/\n", V2 + "cpu.max": "150000 100000\n"}, 2),
    "half a CPU": ({GROUP: "0::/\n", V2 + "cpu.max": "50000 100000\n"}, 1),
    "more than there are": ({GROUP: "0::/\n", V2 + "cpu.max": "6400000 100000\n"}, 8),
    "limit on the group": (
        {
            GROUP: "0::/user/job\n",
            V2 + "user/job/cpu.max": "300000 100000\n",
            V2 + "user/cpu.max": "max 100000\n",
        },
        3,
    ),
    "limit on an ancestor": (
        {
            GROUP: "0::/user/job\n",
            V2 + "user/job/cpu.max": "max 100000\n",
            V2 + "user/cpu.max": "400000 100000\n",
        },
        4,
    ),
    "the tightest binds": (
        {
            GROUP: "0::/user/job\n",
            V2 + "user/job/cpu.max": "500000 100000\n",
            V2 + "user/cpu.max": "200000 100000\n",
        },
        2,
    ),
    "path of the host": ({GROUP: "0::/docker/1\n", V2 + "cpu.max": "100000 100000\n"}, 1),
    "path outside of the namespace": ({GROUP: "0::/../x\n", V2 + "cpu.max": "100000 100000\n"}, 1),
    "version 2 beside version 1": (
        {GROUP: "1:cpu:/\n0::/job\n", V2 + "unified/job/cpu.max": "200000 100000\n"},
        2,
    ),
    "version 1": (
        {
            GROUP: "4:cpu,cpuacct:/job\n",
            V2 + "cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n",
            V2 + "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        },
        3,
    ),
    "version 1 under its short name": (
        {
            GROUP: "4:cpu,cpuacct:/\n",
            V2 + "cpu/cpu.cfs_quota_us": "100000\n",
            V2 + "cpu/cpu.cfs_period_us": "50000\n",
        },
        2,
    ),
    "version 1 without limit": (
        {
            GROUP: "4:cpu:/\n",
            V2 + "cpu/cpu.cfs_quota_us": "-1\n",
            V2 + "cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "another controller": (
        {GROUP: "4:cpuset:/\n", V2 + "cpuset/cpu.cfs_quota_us": "100000\n"},
        8,
    ),
    "nonsense": ({GROUP: "0::/\nhm\n::\n", V2 + "cpu.max": "soon never\n"}, 8),
    "zero period": ({GROUP: "0::/\n", V2 + "cpu.max": "100 0\n"}, 8),
    "empty": ({GROUP: "", V2 + "cpu.max": ""}, 8),
}


@pytest.mark.parametrize("case", CASES)
def test_usable_cpus(tmp_path: Path, case: str) -> None:
    files, expected = CASES[case]
    assert host.usable_cpus(tree(tmp_path, files)) == expected


def test_affinity_binds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    root = tree(tmp_path, {GROUP: "0::/\n", V2 + "cpu.max": "400000 100000\n"})
    assert host.usable_cpus(root) == 1


def test_a_system_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert host.usable_cpus(tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert host.usable_cpus(tmp_path) == 1


def test_this_machine() -> None:
    assert host.usable_cpus() >= 1


def test_cpu_of_a_server(tmp_path: Path) -> None:
    text = (
        "processor\t: 0\nmodel name\t: Some Xeon @ 2.00GHz\n"
        "flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8 hypervisor\n\nprocessor\t: 1\n"
    )
    root = tree(tmp_path, {"proc/cpuinfo": text})
    assert host.cpu_model(root) == "Some Xeon @ 2.00GHz"
    assert host.cpu_features(root) == ("avx2", "avx512f", "avx512_vnni", "amx_int8")


def test_cpu_of_a_board(tmp_path: Path) -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd crc32 asimdhp asimddp\nCPU part\t: 0xd0b\n"
    root = tree(tmp_path, {"proc/cpuinfo": text})
    assert (host.cpu_model(root) or "").endswith("part 0xd0b")
    assert host.cpu_features(root) == ("asimd", "asimdhp", "asimddp")


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert host.cpu_model(tmp_path) is None
    assert host.cpu_features(tmp_path) is None
    assert host.memory_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1024 * 2**20),
        ({GROUP: "0::/job\n", V2 + "job/memory.max": "1000000\n"}, 1_000_000),
        ({GROUP: "0::/job\n", V2 + "job/memory.max": "max\n"}, 1024 * 2**20),
        ({GROUP: "0::/a/b\n", V2 + "a/memory.max": "3000\n", V2 + "a/b/memory.max": "max\n"}, 3000),
        (
            {
                GROUP: "4:memory:/job\n0::/\n",
                V2 + "memory/job/memory.limit_in_bytes": "5000\n",
                V2 + "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            5000,
        ),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    root = tree(tmp_path, {"proc/meminfo": "MemTotal:        1048576 kB\n", **files})
    assert host.memory_bytes(root) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 512 * 2**20),
        (
            {GROUP: "0::/j\n", V2 + "j/memory.max": "9000\n", V2 + "j/memory.current": "2000\n"},
            7000,
        ),
        (
            {
                GROUP: "0::/j\n",
                V2 + "j/memory.max": "9000\n",
                V2 + "j/memory.current": "8000\n",
                # Of it, what the kernel would let go of.
                V2 + "j/memory.stat": "anon 3000\ninactive_file 5000\n",
            },
            6000,
        ),
        ({GROUP: "0::/j\n", V2 + "j/memory.max": "max\n"}, 512 * 2**20),
    ],
)
def test_free_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    root = tree(tmp_path, {"proc/meminfo": "MemAvailable:     524288 kB\n", **files})
    assert host.free_memory_bytes(root) == expected


def test_free_memory_that_nobody_tells(tmp_path: Path) -> None:
    assert host.free_memory_bytes(tmp_path) is None


def test_fast_cpus(tmp_path: Path) -> None:
    assert host.fast_cpus(tmp_path) == ()
    place = "sys/devices/system/cpu/"
    for cpu, value in enumerate((446, 446, 1024, 1000)):
        tree(
            tmp_path,
            {
                f"{place}cpu{cpu}/cpu_capacity": f"{value}\n",
                f"{place}cpu{cpu}/cpufreq/cpuinfo_max_freq": "2000000\n",
            },
        )
    assert host.fast_cpus(tmp_path) == (2, 3)
    for path in tmp_path.rglob("cpu_capacity"):
        path.unlink()
    assert host.fast_cpus(tmp_path) == ()
    tree(tmp_path, {f"{place}cpu1/cpufreq/cpuinfo_max_freq": "2500000\n"})
    assert host.fast_cpus(tmp_path) == (1,)


def test_physical_cores(tmp_path: Path) -> None:
    assert host.physical_cores(tmp_path) is None
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3", "4")):
        place = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        tree(tmp_path, {place: f"{siblings}\n"})
    assert host.physical_cores(tmp_path, among=range(5)) == 3
    assert host.physical_cores(tmp_path, among=(0, 2)) == 1
    assert host.physical_cores(tmp_path) is None  # three of the eight say nothing


def test_sizes_of_this_process(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/self/status": "Name:\tx y\nVmHWM:\t  2048 kB\nVmRSS:\n"})
    assert host.status_bytes("VmHWM", root) == 2 * 2**20
    assert host.status_bytes("VmRSS", root) is None
    assert host.status_bytes("VmHWM", tmp_path / "gone") is None


def test_cpus_among_others(tmp_path: Path) -> None:
    root = tree(tmp_path, {GROUP: "0::/\n", V2 + "cpu.max": "200000 100000\n"})
    assert host.usable_cpus(root, among=(5,)) == 1
    assert host.usable_cpus(root, among=(1, 2, 3)) == 2
