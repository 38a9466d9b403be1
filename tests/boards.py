"""Boards made of planted files: meters, counters, names; and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv.bench.calibration import Calibration
from edgecv.bench.energy import BoardPower

PI = BoardPower(
    name="board", cores=4, idle_w=3.0, idle_uncertainty_w=1.0, load_w=11.0, load_uncertainty_w=2.0
)
MODEL = "proc/device-tree/model"
CHIP = "sys/class/hwmon/hwmon0"
RAPL = "sys/class/powercap/intel-rapl"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder; returns the folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def packages(root: Path, *values: int, span: int = 1_000_000) -> Path:
    """Plant a RAPL package for each value, microjoules."""
    for i, value in enumerate(values):
        tree(root, {
            f"{RAPL}:{i}/name": f"package-{i}\n", f"{RAPL}:{i}/energy_uj": f"{value}\n",
            f"{RAPL}:{i}/max_energy_range_uj": f"{span}\n",
        })  # fmt: skip
    return root


def calibration(**changes: Any) -> Calibration:
    """Make one of "board", 2 W + 1.5 W for each of up to four busy CPUs."""
    facts = {
        "schema": "edgecv.calibration/1", "board": "board", "cores": 4, "created": "2026-01-01",
        "meter": "meter", "scope": "board", "idle_w": 2.0, "watts_per_cpu": 1.5, "idle_ci_w": 0.1,
        "watts_per_cpu_ci": 0.1, "residual_w": 0.05, "left_out_w": 0.05,
        "steps": ((0.0, 2.0), (4.0, 8.0)),
    }  # fmt: skip
    return Calibration(**{**facts, **changes})
