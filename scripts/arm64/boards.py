"""The boards that are played: the CPU that qemu emulates, and what programs read about it.

qemu-user before version 8 shows programs this machine's own ``/proc/cpuinfo``; engines that look
there for the features of an Arm core then crash. The features must be those of the emulated core:
an engine that is told of more runs into instructions that the core does not have.
"""

from __future__ import annotations

from typing import NamedTuple

_CORES = 4


class Board(NamedTuple):
    """A board.

    Attributes:
        cpu: qemu's name of the core.
        features: as its kernel lists them in ``/proc/cpuinfo``.
        part: the core's number in MIDR_EL1.
        variant: of the core, the r in r0p3.
        revision: of the core, the p in r0p3.
        model: what the device tree says, without the zero byte behind it.
        compatible: of the device tree.
        code: Raspberry Pi's revision code of the board.
        memory_kib: of the whole board.
    """

    cpu: str
    features: str
    part: int
    variant: int
    revision: int
    model: str
    compatible: tuple[str, ...]
    code: str
    memory_kib: int


BOARDS = {
    "rpi4": Board(
        "cortex-a72",
        "fp asimd evtstrm crc32 cpuid",
        0xD08,
        0,
        3,
        "Raspberry Pi 4 Model B Rev 1.4",
        ("raspberrypi,4-model-b", "brcm,bcm2711"),
        "c03114",
        3_884_360,
    ),
    "rpi5": Board(
        "cortex-a76",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
        0xD0B,
        4,
        1,
        "Raspberry Pi 5 Model B Rev 1.0",
        ("raspberrypi,5-model-b", "brcm,bcm2712"),
        "c04170",
        4_146_032,
    ),
}


def files(board: Board) -> dict[str, bytes]:
    """Write what a board's kernel shows of it, by path without the first slash."""
    core = (
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {board.features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: {board.variant:#x}\nCPU part\t: {board.part:#x}\n"
        f"CPU revision\t: {board.revision}\n\n"
    )
    cpuinfo = "".join(f"processor\t: {number}\n{core}" for number in range(_CORES))
    cpuinfo += f"Revision\t: {board.code}\nModel\t\t: {board.model}\n"
    memory = f"MemTotal:       {board.memory_kib} kB\nMemAvailable:   {board.memory_kib} kB\n"
    model = board.model.encode() + b"\0"
    compatible = b"".join(name.encode() + b"\0" for name in board.compatible)
    midr = 0x41 << 24 | board.variant << 20 | 0xF << 16 | board.part << 4 | board.revision
    registers = {
        f"sys/devices/system/cpu/cpu{number}/regs/identification/midr_el1": f"{midr:#018x}\n"
        for number in range(_CORES)
    }
    return {
        **{path: text.encode() for path, text in registers.items()},
        "proc/cpuinfo": cpuinfo.encode(),
        "proc/meminfo": memory.encode(),
        "proc/device-tree/model": model,
        "proc/device-tree/compatible": compatible,
        "sys/firmware/devicetree/base/model": model,
        "sys/firmware/devicetree/base/compatible": compatible,
        "sys/class/thermal/thermal_zone0/type": b"cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": b"48312\n",
    }
