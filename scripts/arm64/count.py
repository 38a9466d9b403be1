"""Instructions of one inference on the emulated core, and the gate on their growth.

They are a cost that is the same on each run and each machine; they are neither time nor energy.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scripts.arm64 import root

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
PROGRAM = root.REPOSITORY / "tests" / "device" / "inferences.py"
LIMIT = 0.02
"""Growth that is let through, as a share."""

_TIMES = 7
_API_2 = 9  # first major version of qemu whose interface has another number


class Counts(NamedTuple):
    """Instructions of one thread, medians over some inferences.

    Attributes:
        network: of the engine's run on a prepared tensor.
        around: of everything else from pixels in memory to the result.
        spread: of the network's counts in this run, largest less smallest, as a share.
        versions: of what the counts depend on.
    """

    network: int
    around: int
    spread: float
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Make the object that the baseline holds."""
        return {"network": self.network, "around": self.around, "versions": dict(self.versions)}


VARIANT = "onnxruntime-fp32"


def digits(folder: Path) -> Path:
    """Pack the committed digits model for ONNX Runtime, with two golden samples."""
    from edgecv.hints import Hints
    from edgecv.packing import pack

    home = root.REPOSITORY / "examples" / "digits"
    return pack(
        [home / "digits.onnx"],
        folder / "digits.edgecv",
        hints=Hints(head="yolo", labels=tuple((home / "labels.txt").read_text().split())),
        backends=["onnxruntime"],
        golden=sorted((home / "val" / "images").glob("*.jpg"))[:2],
        trusted=True,
    )


def build_plugin(folder: Path) -> Path:
    """Compile the plug-in for the qemu of this machine.

    Raises:
        SetupError: there is no C compiler, or it refuses.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise root.SetupError("counting needs a C compiler. As root: apt-get install gcc libc6-dev")
    api = 1 if int(root.need_qemu().split(".")[0]) < _API_2 else 2
    plugin = folder / "count.so"
    options = ["-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-DEDGECV_PLUGIN_API={api}"]
    done = subprocess.run(
        [compiler, *options, str(HERE / "count.c"), "-o", str(plugin)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise root.SetupError(f"the plug-in does not compile:\n{done.stderr}")
    return plugin


def count(folder: Path, bundle: Path, variant: str, board: str = "rpi4") -> Counts:
    """Count the instructions of a bundle's variant.

    Args:
        folder: made by `root.build`.
        bundle: with at least one golden sample.
        variant: its id.
        board: a key of `boards.BOARDS`.

    Raises:
        SetupError: the plug-in cannot be built, or the run failed.
    """
    with tempfile.TemporaryDirectory() as made:
        plugin, marks = build_plugin(Path(made)), Path(made) / "marks"
        words = [str(PROGRAM), str(bundle), variant, str(_TIMES)]
        options = ["-plugin", f"{plugin},out={marks}"]
        args, environment = root.command(folder, board, words, options)
        done = subprocess.run(args, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise root.SetupError(f"the counted run ended with {done.returncode}:\n{done.stderr}")
        totals = [int(line.split()[2]) for line in marks.read_text().splitlines()]
    if len(totals) != 4 * _TIMES:
        raise root.SetupError(f"{len(totals)} marks; expected {4 * _TIMES}")
    network = [totals[i + 1] - totals[i] for i in range(0, len(totals), 4)]
    whole = [totals[i + 3] - totals[i + 2] for i in range(0, len(totals), 4)]
    middle = int(statistics.median(network))
    return Counts(
        middle,
        int(statistics.median(whole)) - middle,
        (max(network) - min(network)) / middle,
        json.loads(done.stdout.splitlines()[-1]),
    )


def grown(found: Counts, baseline: Mapping[str, Any]) -> list[str]:
    """List what grew by more than LIMIT, as sentences; [] where nothing did."""
    said = []
    for name in ("network", "around"):
        before, now = baseline[name], getattr(found, name)
        if now > before * (1 + LIMIT):
            said.append(f"{name}: {now:,} instructions, {before:,} before: {now / before - 1:+.1%}")
    return said


def changed_versions(found: Counts, baseline: Mapping[str, Any]) -> list[str]:
    """List the versions that differ from the baseline's: its counts do not bind then."""
    return [
        f"{name} {found.versions.get(name)}, {version} in the baseline"
        for name, version in baseline["versions"].items()
        if found.versions.get(name) != version
    ]
