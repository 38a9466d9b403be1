"""What edgecv costs over a tight hand-written loop, on the same engine, model and threads.

For each model: time from decoded image to result (the two alternate, image by image, on one and the
same engine session), cold start from process start to first result, and peak memory (both in
processes of their own, alternating).

    python benchmarks/overhead.py --real ../shared/real --json benchmarks/results/overhead.json
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from handwritten import LOOPS

import edgecv
from edgecv import codecs
from edgecv.bench.environment import environment
from edgecv.hints import Hints
from edgecv.packing import pack

HERE = Path(__file__).parent
PROGRAM = """
import sys, time
import edgecv
with edgecv.load(sys.argv[1], threads=int(sys.argv[3])) as model:
    model(sys.argv[2])
    first_result_s = time.monotonic()
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    print(first_result_s, peak * 1024)
"""
CASES = {
    "yolox_nano": {
        "loop": "yolox",
        "model": "models/yolox-nano/yolox_nano.onnx",
        "hints": Hints(head="yolox"),
        "backend": "onnxruntime",
        "limit": 1.05,
    },
    "mobilenet_v2": {
        "loop": "mobilenet",
        "model": "models/coral/mobilenet_v2_1.0_224_quant.tflite",
        "hints": Hints(head="softmax", interpolation="area"),  # as the loop resizes
        "backend": "litert",
        "limit": 1.10,
    },
}
COLD_LIMIT, MEMORY_LIMIT_MB = 1.15, 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8, help="passes over the images")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--starts", type=int, default=61, help="cold starts of each program")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    # Libraries are compiled when they are installed; a checkout has to be.
    compileall.compile_dir(str(Path(edgecv.__file__).parent), quiet=1)
    images = sorted((args.real / "data/coco128/images/val2017").glob("*.jpg"))[: args.images]
    report = {"environment": environment(), "threads": args.threads, "cases": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for name, case in CASES.items():
            model = args.real / case["model"]
            bundle = pack(
                [model],
                Path(scratch) / f"{name}.edgecv",
                hints=case["hints"],
                backends=[case["backend"]],
            )
            result = measure(case, model, bundle, images, args)
            report["cases"][name] = result
            print_case(name, case, result)
    missed = [name for name, case in CASES.items() if not holds(case, report["cases"][name])]
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    if missed:
        sys.exit(f"limits missed: {', '.join(missed)}")


def holds(case: dict, result: dict) -> bool:
    """Tell whether a case keeps all of its limits."""
    return (
        result["latency_ratio"] <= case["limit"]
        and result["cold_start_ratio"] <= COLD_LIMIT
        and result["peak_rss_above_mb"] <= MEMORY_LIMIT_MB
    )


def measure(
    case: dict, model: Path, bundle: Path, images: list[Path], args: argparse.Namespace
) -> dict:
    loop = LOOPS[case["loop"]]
    pixels = [codecs.read(path) for path in images]
    with edgecv.load(bundle, threads=args.threads) as ours:
        # The same engine session serves both, so neither disturbs the other's threads or caches.
        theirs = loop(str(model), args.threads, ours._session.engine)
        for image in pixels[:10]:
            ours(image)
            theirs(image)
        mine, hand = [], []
        for turn in range(args.rounds):
            for i, image in enumerate(pixels):
                pair = [(mine, ours), (hand, theirs)]
                for times, run in pair if (i + turn) % 2 else pair[::-1]:
                    start = time.perf_counter()
                    run(image)
                    times.append((time.perf_counter() - start) * 1e3)
    ratios = np.array(mine) / np.array(hand)
    rng = np.random.default_rng(0)
    resampled = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    colds, peaks = {"edgecv": [], "hand": []}, {"edgecv": [], "hand": []}
    image, threads = str(images[0]), str(args.threads)
    programs = {
        "edgecv": ["-c", PROGRAM, str(bundle), image, threads],
        "hand": [str(HERE / "handwritten.py"), case["loop"], str(model), image, threads],
    }
    for turn in range(args.starts):
        for who in sorted(programs, reverse=bool(turn % 2)):
            cold_ms, peak = start_once(programs[who])
            colds[who].append(cold_ms)
            peaks[who].append(peak)
    median = statistics.median
    cold_ratios = [a / b for a, b in zip(colds["edgecv"], colds["hand"], strict=True)]
    return {
        "latency_ms": {"edgecv": median(mine), "hand": median(hand), "pairs": len(ratios)},
        "latency_ratio": float(np.median(ratios)),
        "latency_ratio_ci95": [float(q) for q in np.percentile(resampled, [2.5, 97.5])],
        "cold_start_ms": {who: median(ms) for who, ms in colds.items()},
        "cold_start_ratio": median(cold_ratios),
        "peak_rss_mb": {who: median(b) / 2**20 for who, b in peaks.items()},
        "peak_rss_above_mb": (median(peaks["edgecv"]) - median(peaks["hand"])) / 2**20,
    }


def start_once(program: list[str]) -> tuple[float, int]:
    start = time.monotonic()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, check=True, env=env
    )
    first_result_s, peak = done.stdout.split()
    return (float(first_result_s) - start) * 1e3, int(peak)


def print_case(name: str, case: dict, result: dict) -> None:
    low, high = result["latency_ratio_ci95"]
    latency, cold = result["latency_ms"], result["cold_start_ms"]
    rows = [
        (
            f"{name}: image to result",
            f"{latency['edgecv']:.2f} / {latency['hand']:.2f} ms",
            f"{result['latency_ratio']:.3f} ({low:.3f} to {high:.3f})",
            f"<= {case['limit']}",
            result["latency_ratio"] <= case["limit"],
        ),
        (
            f"{name}: cold start",
            f"{cold['edgecv']:.0f} / {cold['hand']:.0f} ms",
            f"{result['cold_start_ratio']:.3f}",
            f"<= {COLD_LIMIT}",
            result["cold_start_ratio"] <= COLD_LIMIT,
        ),
        (
            f"{name}: peak memory",
            f"{result['peak_rss_mb']['edgecv']:.0f} / {result['peak_rss_mb']['hand']:.0f} MiB",
            f"{result['peak_rss_above_mb']:+.1f} MiB",
            f"<= +{MEMORY_LIMIT_MB:.0f} MiB",
            result["peak_rss_above_mb"] <= MEMORY_LIMIT_MB,
        ),
    ]
    for what, values, ratio, limit, held in rows:
        print(f"{what:32s} {values:22s} {ratio:24s} {limit:12s} {'held' if held else 'MISSED'}")


if __name__ == "__main__":
    main()
