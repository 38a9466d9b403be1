"""Meters: what is read from planted files and programs, and what is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgecv import plugins
from edgecv.bench.meters import hwmon, pmic, rapl
from edgecv.bench.power import Meter
from edgecv.bench.recorder import Recorder
from tests.boards import CHIP, MODEL, RAPL, packages, tree

RAILS = (
    "       3V7_WL_SW_A current(0)=0.10000000A\n       VDD_CORE_A current(7)=2.00000000A\n"
    "       3V7_WL_SW_V volt(8)=3.70000000V\n       VDD_CORE_V volt(15)=0.80000000V\n"
    "           EXT5V_V volt(24)=5.10000000V\n"
)


def meter(found: Meter | str) -> Meter:
    assert isinstance(found, Meter), found
    return found


@pytest.fixture
def no_entry(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that this user may not read; the tests may run as root, who may read everything."""
    closed: list[Path] = []
    read = Path.read_text

    def read_text(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        if path in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_text)
    return closed


@pytest.mark.parametrize("name", plugins.names("bench.meters"))
def test_every_meter_says_why_it_is_not_there(name: str, tmp_path: Path) -> None:
    module = plugins.load("bench.meters", name)
    assert module.TIER in (1, 2)
    assert isinstance(module.find(tmp_path), str)


def test_hwmon(tmp_path: Path) -> None:
    assert "no power meter" in str(hwmon.find(tmp_path))
    chip = "sys/class/hwmon/hwmon3"
    tree(tmp_path, {
        f"{CHIP}/name": "cpu_thermal\n", f"{CHIP}/power1_input": "9\n",
        f"{chip}/name": "ina219\n", f"{chip}/power1_input": "5250000\n",
    })  # fmt: skip
    found = meter(hwmon.find(tmp_path))
    assert (found.tier, found.scope, found.quantity) == (1, "board", "watts")
    assert found.read() == (5.25,)
    (tmp_path / chip / "power1_input").unlink()
    assert found.read() is None
    # Volts and amperes, where the driver does not multiply them.
    tree(tmp_path, {f"{chip}/in1_input": "5100\n", f"{chip}/curr1_input": "600\n"})
    assert meter(hwmon.find(tmp_path)).read() == pytest.approx((3.06,))


def rails(root: Path, *labels: str) -> Path:
    """Plant an ina3221 whose channels draw 1 V times 1, 2 ... A; above them are sums."""
    chip = "sys/class/hwmon/hwmon2"
    files = {f"{chip}/name": "ina3221\n", f"{chip}/in4_input": "9\n", f"{chip}/curr4_input": "9\n"}
    for n, label in enumerate(labels, 1):
        files[f"{chip}/in{n}_input"] = "1000\n"
        files[f"{chip}/curr{n}_input"] = f"{n}000\n"
        if label:
            files[f"{chip}/in{n}_label"] = f"{label}\n"
    return tree(root, files)


def test_of_several_rails_the_supply_is_read(tmp_path: Path) -> None:
    found = meter(hwmon.find(rails(tmp_path, "VDD_CPU", "VDD_IN", "VDD_SOC")))
    assert (found.source, found.read()) == ("ina3221 VDD_IN (hwmon)", (2.0,))
    # ... on whichever chip it is.
    tree(tmp_path, {f"{CHIP}/name": "ina226\n", f"{CHIP}/power1_input": "5000000\n"})
    assert meter(hwmon.find(tmp_path)).source == "ina3221 VDD_IN (hwmon)"
    tree(tmp_path, {f"{CHIP}/power1_label": "VIN\n"})
    assert "of 4 rails that hwmon measures several are named" in str(hwmon.find(tmp_path))


def test_one_of_several_rails_does_not_pass_for_the_board(tmp_path: Path) -> None:
    rails(tmp_path, "VDD_CPU", "", "VDD_SOC")
    assert hwmon.find(tmp_path) == (
        "of 3 rails that hwmon measures none is named as the supply: ina3221 VDD_CPU, ina3221 "
        "without a label, ina3221 VDD_SOC"
    )
    # Those that are switched off measure nothing.
    tree(tmp_path, {f"sys/class/hwmon/hwmon2/in{n}_enable": "0\n" for n in (2, 3)})
    assert meter(hwmon.find(tmp_path)).source == "ina3221 VDD_CPU (hwmon)"
    tree(tmp_path, {f"{CHIP}/name": "ina219\n", f"{CHIP}/power1_input": "5000000\n"})
    assert "ina219 without a label, ina3221 VDD_CPU" in str(hwmon.find(tmp_path))


def test_a_chip_that_may_not_be_read_is_named(tmp_path: Path, no_entry: list[Path]) -> None:
    tree(tmp_path, {f"{CHIP}/name": "ina226\n", f"{CHIP}/power1_input": "5250000\n"})
    path = tmp_path / CHIP / "power1_input"
    no_entry.append(path)
    assert hwmon.find(tmp_path) == (
        f"ina226 (hwmon) is there, but {path} cannot be read (Permission denied); run as root, or "
        f"let everybody read it: sudo chmod a+r {path}"
    )
    no_entry.clear()
    path.write_text("busy\n")
    assert "holds no number" in str(hwmon.find(tmp_path))


def test_rapl_tells_of_each_package(tmp_path: Path) -> None:
    assert "no RAPL" in str(rapl.find(tmp_path))
    # A part of a package is inside of it.
    tree(tmp_path, {f"{RAPL}:0:0/name": "core\n", f"{RAPL}:0:0/energy_uj": "5\n"})
    assert "no RAPL" in str(rapl.find(tmp_path))
    found = meter(rapl.find(packages(tmp_path, 990_000, 400_000)))
    assert (found.tier, found.scope, found.quantity) == (2, "package", "joules")
    assert (found.source, found.parts) == ("RAPL, 2 package(s)", ("package-0", "package-1"))
    assert found.read() == pytest.approx([0.99, 0.4])
    # It went around, and around again.
    for value, joules in ((10_000, 1.01), (600_000, 1.6), (99_999, 2.099999)):
        packages(tmp_path, value)
        assert found.read() == pytest.approx([joules, 0.4])
    # It was reset: that is no turn, and it is seen to fall.
    packages(tmp_path, 50_000)
    assert found.read() == pytest.approx([2.05, 0.4])
    (tmp_path / f"{RAPL}:0/energy_uj").unlink()
    assert found.read() is None


def test_a_package_that_may_not_be_read_leaves_no_sum(tmp_path: Path, no_entry: list[Path]) -> None:
    path = packages(tmp_path, 1, 2) / f"{RAPL}:1/energy_uj"
    no_entry.append(path)
    with Recorder(root=tmp_path) as recorder:
        pass
    found = recorder.energy([(0.0, 2.0)], [5], cpu_s=1.0)
    assert (found.tier, found.gross_j) == (5, None)
    assert f"{path} cannot be read (Permission denied)" in found.missing["gross_j"]
    assert f"sudo chmod a+r {path}" in found.missing["gross_j"]
    no_entry.clear()
    assert meter(rapl.find(tmp_path)).parts == ("package-0", "package-1")
    # Nor does one whose range is not known.
    (tmp_path / f"{RAPL}:0/max_energy_range_uj").unlink()
    assert "max_energy_range_uj cannot be read (No such file" in str(rapl.find(tmp_path))


def test_the_power_chip_of_a_pi(tmp_path: Path) -> None:
    assert pmic.rails(RAILS) == pytest.approx({"3V7_WL_SW": 0.37, "VDD_CORE": 1.6})
    assert pmic.rails("error=1") == pmic.rails(None) == {}
    assert pmic.rails("VDD_CORE_A current(7)=2.0.0A\nVDD_CORE_V volt(15)=0.8V") == {}
    assert pmic.find(tmp_path) == "not a Raspberry Pi 5"
    tree(tmp_path, {MODEL: "Raspberry Pi 5 Model B Rev 1.0\0"})
    assert "does not answer" in str(pmic.find(tmp_path, ask=lambda: None))
    said = [RAILS, RAILS, RAILS[:150], ""]
    found = meter(pmic.find(tmp_path, ask=lambda: said.pop(0)))
    assert found.read() == pytest.approx((1.97,))
    # An answer that was cut short names fewer rails; their sum is not the chip's.
    assert found.read() is None
    assert found.read() is None


def test_the_power_chip_is_asked_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {MODEL: "Raspberry Pi 5 Model B Rev 1.0\0", "rails": RAILS, "calls": ""})
    program = tmp_path / "bin/vcgencmd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\ncat {tmp_path}/rails\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with Recorder(root=tmp_path) as recorder:
        time.sleep(0.5)
    assert recorder.watts() == pytest.approx(1.97)
    # To find it, at the beginning and at the end; not ten times a second.
    assert (tmp_path / "calls").read_text().count("x") <= 4
    with Recorder(root=tmp_path, interval_s=0.05) as recorder:
        began = (tmp_path / "calls").read_text().count("x")
        start = time.monotonic()
        recorder.idle(0.0)
    # However short idling was asked to be: a slow meter is read a few times meanwhile.
    assert time.monotonic() - start >= 0.25
    assert (tmp_path / "calls").read_text().count("x") > began + 1
