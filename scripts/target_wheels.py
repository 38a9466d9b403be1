"""Write targets/_wheels.toml anew from folders of wheels that ``pip download`` filled.

For each architecture and Python that a target has::

    pip download --only-binary=:all: -d FOLDER --python-version 3.11 \\
        --platform manylinux_2_35_aarch64 --platform manylinux_2_28_aarch64 ... \\
        numpy opencv-python-headless click rich onnxruntime openvino ai-edge-litert PyYAML
    python scripts/target_wheels.py FOLDER...
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "targets" / "_wheels.toml"
SOURCE = "PyPI, asked with pip download --only-binary=:all: for each Python and platform"
# What each brings along, from the Requires-Dist of the wheels themselves.
RICH = ("rich", "markdown-it-py", "mdurl", "pygments")
ONNXRUNTIME = ("onnxruntime", "flatbuffers", "packaging", "protobuf")
BASE = ("numpy", "opencv-python-headless", "click", *RICH, *ONNXRUNTIME)
EXTRAS = {
    "openvino": ("openvino", "openvino-telemetry", "pyyaml"),
    "litert": ("ai-edge-litert", "backports-strenum", "ml-dtypes", "tqdm", "typing-extensions"),
}


def main(folders: list[str]) -> None:
    """Write the table."""
    sizes = {
        path.name: path.stat().st_size for folder in folders for path in Path(folder).glob("*.whl")
    }
    lines = [
        "# Written by scripts/target_wheels.py; do not edit by hand.",
        f'checked = "{datetime.datetime.now(datetime.UTC).date().isoformat()}"',
        f'source = "{SOURCE}"',
        f"base = {_list(BASE)}",
        "",
        "[extras]",
        *(f"{name} = {_list(projects)}" for name, projects in EXTRAS.items()),
    ]
    for name, size in sorted(sizes.items()):
        lines += ["", "[[wheels]]", f'file = "{name}"', f"bytes = {size}"]
    TABLE.write_text("\n".join(lines) + "\n")


def _list(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


if __name__ == "__main__":
    main(sys.argv[1:])
