"""`edgecv tune` against a full search, and against what each engine does by default.

For each of some real models a bundle is made with `edgecv convert` (fp32, and bf16 or int8 where
it is right; ONNX Runtime, OpenVINO, LiteRT), then

- **tuned**: what `edgecv.bench.tuning.tune` chooses for latency, by racing and stopping early;
- **full search**: every candidate, all rounds, in turns with the tuned one;
- **defaults**: each engine's fp32 variant with edgecv's default, all usable CPUs.

All are timed from pixels in memory to the result, in turns in processes of their own; ratios are
taken within rounds. The tuned choice must be at most 3 % slower than the best of the full search,
and faster than every engine's default for at least one model.

    python benchmarks/tuning.py --real ../shared/real --json benchmarks/results/tuning.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from edgecv.bench import space, tuning
from edgecv.bench.environment import environment
from edgecv.bench.interleaved import ratio, take_turns
from edgecv.bench.limits import Limits, allowed
from edgecv.bench.search import competitor
from edgecv.bundle import open_bundle
from edgecv.host import usable_cpus

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.03
ROUNDS, TURN_S, AT_ONCE = 30, 0.2, 5


def subjects(real: Path) -> dict[str, tuple[Path, list[str], Path, Path]]:
    """Name -> source, arguments of `edgecv convert`, data, folder of images."""
    coco = real / "data/coco128"
    images = coco / "images/val2017"
    quick = ["--no-fused", "--limit", "64", "--bootstrap", "0"]
    floats = [*quick, "--precision", "fp32,bf16"]  # their int8 ladders take a quarter of an hour
    return {
        "yolox_nano": (
            real / "models/yolox-nano/yolox_nano.onnx",
            ["--head", "yolox", *floats], coco / "coco128.yaml", images,
        ),
        "nanodet": (
            real / "models/nanodet/nanodet.onnx",
            ["--head", "nanodet", *floats], coco / "coco128.yaml", images,
        ),
        "digits": (
            ROOT / "examples/digits/digits.onnx",
            ["--head", "yolo", *quick], ROOT / "examples/digits/data.yaml",
            ROOT / "examples/digits/val/images",
        ),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared/real")
    parser.add_argument("--bundles", type=Path, default=ROOT / "out/tuning", help="kept for again")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {"environment": environment(), "rounds": ROUNDS, "turn_s": TURN_S, "cases": {}}
    for name, (source, options, data, images) in subjects(args.real).items():
        if args.case and name not in args.case:
            continue
        bundle = convert(name, source, options, data, args.bundles)
        report["cases"][name] = case = measure(bundle, sorted(images.iterdir())[:20])
        show(name, case)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    cases = report["cases"].values()
    slow = [n for n, c in report["cases"].items() if c["slower_than_best"] > LIMIT]
    beaten = any(min(d["speed"] for d in c["over_defaults"].values()) > 1 for c in cases)
    if slow or not beaten:
        sys.exit(f"missed: slower than {LIMIT}: {slow}; beats every default somewhere: {beaten}")


def convert(name: str, source: Path, options: list[str], data: Path, folder: Path) -> Path:
    """Make the bundle, unless it is there from an earlier run."""
    bundle = folder / f"{name}.edgecv"
    if not bundle.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "edgecv", "convert", source, "-o", bundle, "--data", data]
        subprocess.run([*map(str, command), *options], check=True)
    return bundle


def measure(bundle: Path, images: list[Path]) -> dict:
    start = time.monotonic()
    tuned = tuning.tune(bundle, images, seconds=3.0)
    took_s = time.monotonic() - start
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
    # Pinned ones are chosen for processes that somebody pins, and compared among themselves.
    some = [c for c in space.candidates(manifest, allowed(manifest, Limits())[0]) if not c.affinity]
    winner = next(
        c for c in some if (c.variant, c.plan) == (tuned.choice.variant, tuned.choice.plan)
    )
    speeds = {winner.name: 1.0}
    latency = {}
    others = [c for c in some if c is not winner]
    for first in range(0, len(others), AT_ONCE):
        racing = [winner, *others[first : first + AT_ONCE]]
        timings = take_turns(
            [competitor(bundle, c, "latency") for c in racing],
            images, rounds=ROUNDS, turn_s=TURN_S,
        )  # fmt: skip
        for c in racing:
            found = ratio(timings[winner.name], timings[c.name])
            if c is not winner:
                speeds[c.name] = found.value
            latency[c.name] = timings[c.name].p50_ms
    best = max(speeds, key=lambda name: speeds[name])
    precisions = {v.id: v.precision for v in manifest.variants}
    defaults = {
        c.backend: c for c in some if c.threads == usable_cpus() and precisions[c.variant] == "fp32"
    }
    return {
        "candidates": len(some),
        "tuned": winner.name,
        "tuned_s": round(took_s, 1),
        "best": best,
        "slower_than_best": speeds[best],
        "latency_ms": latency,
        "speed": speeds,
        "over_defaults": {
            backend: {"candidate": c.name, "speed": 1 / speeds[c.name]}
            for backend, c in defaults.items()
        },
    }


def show(name: str, case: dict) -> None:
    print(
        f"{name}: {case['candidates']} candidates; tuned {case['tuned']} in {case['tuned_s']} s; "
        f"best {case['best']}, {case['slower_than_best']:.3f} times as fast"
    )
    for backend, default in case["over_defaults"].items():
        print(f"    over the default of {backend} ({default['candidate']}): {default['speed']:.2f}")


if __name__ == "__main__":
    main()
