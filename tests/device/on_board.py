"""What runs on the board: say what it is, replay bundles there, and write down what came out.

It needs what a board has: edgecv and its engines. The same file runs on both sides, so whatever
differs is the machine's doing; `test_arm64` compares.

Arguments: output folder, then a bundle and a folder of tensors as `prepared` makes them, for each
bundle.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import edgecv
from edgecv.bench.environment import environment


def replay(bundle: Path, inputs: Path, out: Path) -> dict[str, Any]:
    """Verify a bundle as a user does, then run each variant on given tensors.

    Writes the raw outputs for ``inputs/VARIANT.npz`` as ``out/VARIANT.npz``: tensor ``N`` of the
    one gives arrays ``N/OUTPUT`` of the other.
    """
    report = out / "verify.json"
    status = command("verify", str(bundle), "--json", str(report))
    variants = {}
    with edgecv.open_bundle(bundle) as opened:
        names = [variant.id for variant in opened.manifest.variants]
    for name in names:
        with edgecv.load(bundle, variant=name, threads=1) as model:
            info = model.info
            variants[name] = {
                "backend": info.backend,
                "engine": info.engine,
                "precision": info.precision,
            }
            raw: dict[str, Any] = {}
            with np.load(inputs / f"{name}.npz") as tensors:
                for key, tensor in tensors.items():
                    found = model.infer(tensor)
                    raw |= {f"{key}/{output}": array.copy() for output, array in found.items()}
            np.savez(out / f"{name}.npz", **raw)
    return {"status": status, "verify": json.loads(report.read_text()), "variants": variants}


def prepared(bundle: Path, inputs: Path, count: int = 1) -> None:
    """Write what each variant is fed with for the first golden images, as arrays by number."""
    inputs.mkdir(parents=True)
    with edgecv.open_bundle(bundle) as opened:
        images = [bytes(opened.read(golden.image)) for golden in opened.manifest.golden[:count]]
        names = [variant.id for variant in opened.manifest.variants]
    for name in names:
        with edgecv.load(bundle, variant=name, threads=1) as model:
            tensors = {str(number): model.prepare(image) for number, image in enumerate(images)}
        np.savez(inputs / f"{name}.npz", **tensors)


def command(*words: str) -> int:
    """Run ``edgecv WORDS`` in this process and return its exit status."""
    from edgecv.cli.main import main

    argv, sys.argv = sys.argv, ["edgecv", *words]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0


def main(out: Path, jobs: list[Path]) -> None:
    """Write ``out/facts.json``, and what `replay` gives of each bundle to a folder of its name."""
    out.mkdir(parents=True)
    doctor = out / "doctor.json"
    facts: dict[str, Any] = {"status": command("doctor", "--json", str(doctor))}
    facts["doctor"] = json.loads(doctor.read_text())
    facts["environment"] = environment()
    facts["bundles"] = {}
    for bundle, inputs in zip(jobs[::2], jobs[1::2], strict=True):
        folder = out / bundle.stem
        folder.mkdir()
        facts["bundles"][bundle.stem] = replay(bundle, inputs, folder)
    (out / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
