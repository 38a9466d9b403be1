"""What the kernels of machines say, in the words of their own files, as made-up file systems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

A53 = ("fp asimd evtstrm crc32 cpuid", "0xd03")
A72 = ("fp asimd evtstrm crc32 cpuid", "0xd08")
A76 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp",
    "0xd0b",
)
X86 = "fpu vme de pse tsc msr sse sse2 ht syscall nx lm ssse3 fma sse4_1 sse4_2 avx f16c avx2"
VNNI = f"{X86} avx512f avx512dq avx512bw avx512vl avx512_vnni"
BF16 = f"{VNNI} avx512_bf16"
AMX = f"{BF16} amx_bf16 amx_tile amx_int8"


def arm(core: tuple[str, str], model: str | None = None, cores: int = 4) -> str:
    """Write /proc/cpuinfo of a 64-bit Arm kernel; a Raspberry Pi's repeats the model at its end."""
    features, part = core
    blocks = [
        f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
        for i in range(cores)
    ]
    end = f"\nRevision\t: c03114\nModel\t\t: {model}\n" if model else ""
    return "\n".join(blocks) + end


def x86(name: str, flags: str, cores: int = 4) -> str:
    """Write /proc/cpuinfo of an x86-64 kernel."""
    return "\n".join(
        f"processor\t: {i}\nvendor_id\t: GenuineIntel\nmodel name\t: {name}\nflags\t\t: {flags}\n"
        for i in range(cores)
    )


def board(core: tuple[str, str], model: str, compatible: str, kilobytes: int) -> dict[str, str]:
    """Describe a Raspberry Pi."""
    return {
        "proc/device-tree/model": f"{model}\0",
        "proc/device-tree/compatible": "\0".join(compatible.split()) + "\0",
        "proc/cpuinfo": arm(core, model),
        "proc/meminfo": memory(kilobytes),
    }


def memory(kilobytes: int) -> str:
    """Write /proc/meminfo."""
    return f"MemTotal:       {kilobytes} kB\nMemFree:         12345 kB\n"


PC = {"proc/meminfo": memory(7_900_000)}
ROCK = {
    "proc/device-tree/model": "Radxa ROCK 5B\0",
    "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
    "proc/cpuinfo": arm(A76),
    "proc/meminfo": memory(8_000_000),
}
MACHINES: dict[str, dict[str, str]] = {
    "rpi-zero-2w": board(
        A53, "Raspberry Pi Zero 2 W Rev 1.0", "raspberrypi,model-zero-2-w brcm,bcm2837", 426_000
    ),
    "rpi3b-plus": board(
        A53, "Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus brcm,bcm2837",
        930_000,
    ),
    "rpi4": board(
        A72, "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b brcm,bcm2711", 3_885_000
    ),
    "rpi5": board(
        A76, "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b brcm,bcm2712", 8_250_000
    ),
    "aarch64": ROCK,
    "n100": {**PC, "proc/cpuinfo": x86("Intel(R) N100", f"{X86} avx_vnni")},
    "x86-vnni": {**PC, "proc/cpuinfo": x86("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", VNNI)},
    "x86-bf16": {**PC, "proc/cpuinfo": x86("Intel(R) Xeon(R) Platinum 8480+", AMX)},
    "cloud-vm": {**PC, "proc/cpuinfo": x86("Intel(R) Xeon(R) CPU E5-2686 v4", f"{X86} hypervisor")},
}  # fmt: skip
"""Target -> a machine that is one."""


def write(root: Path, files: Mapping[str, str]) -> str:
    """Write such a file system; returns its root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)
