"""What ``scripts/arm64`` says of boards, and when it calls a cost grown; without qemu."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv import host
from scripts.arm64 import boards, count, root

VERSIONS = {"engine": "onnxruntime 1.0.0", "numpy": "2.0.0"}
BASELINE = {"network": 1_000_000, "around": 10_000, "versions": VERSIONS}


def counts(network: int = 1_000_000, around: int = 10_000, **versions: str) -> count.Counts:
    return count.Counts(network, around, 0.0, {**VERSIONS, **versions})


@pytest.mark.parametrize(
    ("board", "part", "features"),
    [("rpi4", "0xd08", ("asimd",)), ("rpi5", "0xd0b", ("asimd", "asimdhp", "asimddp"))],
)
def test_a_board_shows_its_own_core(
    tmp_path: Path, board: str, part: str, features: tuple[str, ...]
) -> None:
    for path, content in boards.files(boards.BOARDS[board]).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert (host.cpu_model(tmp_path) or "").endswith(f"part {part}")
    assert host.cpu_features(tmp_path) == features
    assert host.memory_bytes(tmp_path) == boards.BOARDS[board].memory_kib * 1024


def test_main_id_registers() -> None:
    # Arm's manuals of the cores: MIDR_EL1 is 0x410FD083 at r0p3 of A72, 0x414FD0B1 at r4p1 of A76.
    path = "sys/devices/system/cpu/cpu0/regs/identification/midr_el1"
    read = {name: int(boards.files(board)[path], 16) for name, board in boards.BOARDS.items()}
    assert read == {"rpi4": 0x410FD083, "rpi5": 0x414FD0B1}


def test_growth_up_to_the_limit_is_let_through() -> None:
    assert count.grown(counts(1_020_000, 10_200), BASELINE) == []
    assert count.grown(counts(500_000, 0), BASELINE) == []


def test_growth_is_named() -> None:
    (line,) = count.grown(counts(network=1_020_001), BASELINE)
    assert line.startswith("network: 1,020,001 instructions, 1,000,000 before")
    (line,) = count.grown(counts(around=11_000), BASELINE)
    assert line.startswith("around:")
    assert line.endswith("+10.0%")


def test_a_baseline_of_other_versions_is_told() -> None:
    assert count.changed_versions(counts(), BASELINE) == []
    (line,) = count.changed_versions(counts(numpy="2.1.0"), BASELINE)
    assert line == "numpy 2.1.0, 2.0.0 in the baseline"


def test_a_board_installs_the_base_and_the_engines() -> None:
    names = " ".join(root.requirements())
    for name in ("numpy", "opencv-python-headless", "onnxruntime", "openvino", "ai-edge-litert"):
        assert name in names
    assert "torch" not in names


def test_without_root_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root.shutil, "which", lambda name: {"apt-get": "/bin/true"}.get(name))
    monkeypatch.setattr(root.os, "geteuid", lambda: 1000)
    with pytest.raises(root.SetupError, match="As root: apt-get install qemu-user"):
        root.need_qemu()
    monkeypatch.setattr(root.shutil, "which", lambda name: None)
    with pytest.raises(root.SetupError, match="no Debian"):
        root.need_qemu()
