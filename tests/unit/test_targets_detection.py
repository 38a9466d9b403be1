"""Which target a machine is, from made-up file systems, and what is said where it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv import targets
from edgecv.targets.detection import choose, read_facts
from tests import machines
from tests.machines import A53, A72, A76, AMX, BF16, MACHINES, VNNI, X86, write

PI4 = MACHINES["rpi4"]


def without(files: dict[str, str], *parts: str) -> dict[str, str]:
    return {name: text for name, text in files.items() if not any(part in name for part in parts)}


def test_facts_of_a_board(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path, PI4))
    assert facts.architecture == "aarch64"
    assert facts.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts.compatible == ("raspberrypi,4-model-b", "brcm,bcm2711")
    assert facts.cpu_parts == ("0xd08",)
    assert facts.flags == ("fp", "asimd", "evtstrm", "crc32", "cpuid")
    assert facts.memory_mib == 3794  # 3,885,000 KiB, rounded up
    assert facts.cpu_model is None


def test_facts_of_nothing(tmp_path: Path) -> None:
    facts = read_facts(str(tmp_path))
    assert not any(facts.to_fields().values())
    found = targets.detect(str(tmp_path))
    assert found.target is None
    assert found.why == ("/proc/cpuinfo does not tell the architecture",)
    assert set(found.others) == set(targets.names())


def test_why_it_is_a_board(tmp_path: Path) -> None:
    found = targets.detect(write(tmp_path, PI4))
    assert found.why == (
        "the device tree is compatible with raspberrypi,4-model-b",
        "CPU part 0xd08",
        "3794 MiB of memory",
        "the architecture is aarch64",
    )
    assert found.others["aarch64"] == "rpi4 says more"
    assert found.others["rpi5"] == "the board is Raspberry Pi 4 Model B Rev 1.4"
    assert found.others["n100"] == "it is x86_64, this is aarch64"


def test_a_container_hides_the_device_tree_but_not_cpuinfo(tmp_path: Path) -> None:
    found = targets.detect(write(tmp_path, without(PI4, "device-tree")))
    assert found.target == "rpi4"
    assert found.why[0] == "the board says Raspberry Pi 4 Model B Rev 1.4"


def test_a_kernel_without_the_model_line_leaves_a_board_without_a_name(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": machines.arm(A72), "proc/meminfo": machines.memory(4_000_000)}
    found = targets.detect(write(tmp_path, files))
    assert found.target == "aarch64"
    assert found.others["rpi4"] == "the board is not named"


@pytest.mark.parametrize(
    ("model", "compatible", "core"),
    [
        ("Raspberry Pi 400 Rev 1.0", "raspberrypi,400 brcm,bcm2711", A72),
        ("Raspberry Pi 3 Model B Rev 1.2", "raspberrypi,3-model-b brcm,bcm2837", A53),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "raspberrypi,5-compute-module brcm,bcm2712", A76),
    ],
)
def test_a_sister_is_not_the_board(
    tmp_path: Path, model: str, compatible: str, core: tuple[str, str]
) -> None:
    files = machines.board(core, model, compatible, 900_000)
    assert targets.detect(write(tmp_path, files)).target == "aarch64"
    hidden = tmp_path / "hidden"
    assert targets.detect(write(hidden, without(files, "device-tree"))).target == "aarch64"


def test_a_name_that_the_cpu_contradicts_is_not_believed(tmp_path: Path) -> None:
    files = {**MACHINES["rpi5"], "proc/cpuinfo": machines.arm(A72)}
    found = targets.detect(write(tmp_path, files))
    assert found.target == "aarch64"
    assert found.others["rpi5"] == "CPU part 0xd08 instead of 0xd0b"


def test_more_memory_than_such_a_board_has(tmp_path: Path) -> None:
    """As in an emulator, which shows its host's."""
    files = {**MACHINES["rpi-zero-2w"], "proc/meminfo": machines.memory(1_000_000)}
    found = targets.detect(write(tmp_path, files))
    assert found.target == "rpi-zero-2w"
    assert "977 MiB of memory, though none with more than 512 is known" in found.why


def test_memory_tells_machines_without_a_name_apart(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path, MACHINES["cloud-vm"]))
    target = targets.load("cloud-vm")
    small = target.replace(probe=target.probe.replace(memory_max_mib=4096))
    found = choose(facts, [small])
    assert found.target is None
    assert found.others == {"cloud-vm": "7715 MiB of memory, and it has at most 4096"}


def test_a_32_bit_system_on_a_64_bit_board(tmp_path: Path) -> None:
    old = (
        "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae crc32",
        "0xd08",
    )
    files = {**PI4, "proc/cpuinfo": machines.arm(old, "Raspberry Pi 4 Model B Rev 1.4")}
    found = targets.detect(write(tmp_path, files))
    assert found.target is None
    assert found.why == ("a 32-bit system: the engines have wheels for 64-bit Arm only",)
    assert found.others["rpi4"] == "it is aarch64, this is arm"


@pytest.mark.parametrize(
    ("name", "flags", "target"),
    [
        ("AMD EPYC 9654 96-Core Processor", BF16, "x86-bf16"),
        ("AMD EPYC", f"{BF16} hypervisor", "x86-bf16"),
        ("Intel(R) Xeon(R) Processor", f"{AMX} hypervisor", "x86-bf16"),
        ("Intel(R) Xeon(R) Processor", f"{VNNI} hypervisor", "x86-vnni"),
        ("Intel(R) Xeon(R) CPU", f"{X86} avx512f hypervisor", "cloud-vm"),
        ("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", X86, None),
        ("Intel(R) N1000", f"{X86} avx_vnni", None),
        ("Intel(R) N100", f"{X86} avx_vnni hypervisor", "n100"),
    ],
)
def test_x86_is_told_by_name_or_flags(
    tmp_path: Path, name: str, flags: str, target: str | None
) -> None:
    files = {**machines.PC, "proc/cpuinfo": machines.x86(name, flags)}
    found = targets.detect(write(tmp_path, files))
    assert found.target == target
    if target is None:
        assert found.why == ("no target's probe fits this machine",)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write(tmp_path, PI4)
    (tmp_path / "proc/device-tree/model").write_bytes(b"\xff\xfe\0")
    (tmp_path / "proc/meminfo").write_bytes(b"MemTotal:\nMemTotal: many kB\n")
    assert targets.detect(str(tmp_path)).target == "rpi4"


def test_this_machine_is_read_by_default() -> None:
    assert targets.detect().facts.architecture


def test_compatible_decides_where_the_names_differ(tmp_path: Path) -> None:
    files = {**PI4, "proc/device-tree/compatible": "vendor,clone\0brcm,bcm2711\0"}
    assert targets.detect(write(tmp_path, files)).target == "aarch64"
