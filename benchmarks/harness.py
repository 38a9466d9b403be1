"""Is `edgecv bench` itself right? Its own overhead, and its figures beside the engines' own tools.

- **overhead**: the loop of the worker on a stand-in model that keeps the CPU busy for exactly 5 ms
  and returns timings, beside a bare loop over the same calls. What is left over for an image must
  be below 1 % of the 5 ms.
- **agreement**: the median of the stage `infer` beside the median that the engine's own tool tells
  for the same file with one thread: OpenVINO's `benchmark_app`, LiteRT's `litert-benchmark`. They
  take turns; the ratio of each round is taken, and the median of them must be within 3 %. ONNX
  Runtime's wheel has no such tool: a bare loop over `session.run` on real pixels stands for it.

`infer` holds what a user pays: the tensor handed over, the run, the outputs fetched.
`benchmark_app` fills its inputs once, and neither tool fetches what it computed.

    python benchmarks/harness.py --real ../shared/real --json benchmarks/results/harness.json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgecv.bench.cell import Cell, Settings
from edgecv.bench.environment import environment
from edgecv.bench.runner import measure
from edgecv.bench.scenario import Setup
from edgecv.bench.scenarios import single
from edgecv.bench.statistics import bootstrap_median
from edgecv.converters.telemetry import no_telemetry
from edgecv.hints import Hints
from edgecv.result import Timings

BUSY_S = 0.005
OVERHEAD_LIMIT, AGREEMENT_LIMIT = 0.01, 0.03
TOOLS = Path(sys.executable).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {"environment": environment(), "overhead": overhead()}
    print(
        f"overhead: {report['overhead']['share']:.3%} of 5 ms "
        f"({report['overhead']['us_per_image']:.1f} us an image)"
    )
    images = sorted((args.real / "data/coco128/images/val2017").glob("*.jpg"))[:20]
    with tempfile.TemporaryDirectory() as scratch:
        report["agreement"] = {}
        for name, (model, hints, backend, tool) in subjects(args.real, Path(scratch)).items():
            found = agreement(model, hints, backend, tool, images, args)
            report["agreement"][name] = found
            low, high = found["ratio_ci95"]
            print(
                f"{name}: edgecv {found['edgecv_ms']:.3f} ms, {found['tool']} "
                f"{found['tool_ms']:.3f} ms, ratio {found['ratio']:.4f} ({low:.4f} to {high:.4f})"
            )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [
        name
        for name, found in report["agreement"].items()
        if abs(found["ratio"] - 1) > AGREEMENT_LIMIT
    ]
    if missed or report["overhead"]["share"] > OVERHEAD_LIMIT:
        sys.exit(f"missed: {', '.join(missed) or 'overhead'}")


def overhead(repeats: int = 9, images: int = 150) -> dict:
    """Time the worker's loop and a bare one in turns, on a stand-in that is busy for 5 ms."""
    timings = Timings(decode=0.1, preprocess=0.1, infer=4.7, postprocess=0.1, total=5.0)

    class Result:
        timings_ms = timings

    result = Result()

    def model(_: bytes) -> Result:
        end = time.perf_counter() + BUSY_S
        while time.perf_counter() < end:
            pass
        return result

    def ours() -> float:
        setup = Setup(model=model, images=[b""], duration_s=images * BUSY_S)  # type: ignore[arg-type]
        start = time.perf_counter()
        run = single.run(setup)
        return (time.perf_counter() - start) / run.results

    def bare() -> float:
        start = time.perf_counter()
        for _ in range(images):
            model(b"")
        return (time.perf_counter() - start) / images

    pairs = [(ours(), bare()) if i % 2 else (bare(), ours())[::-1] for i in range(repeats)]
    left = np.array([a - b for a, b in pairs])
    low, high = bootstrap_median(left, 0)
    return {
        "share": float(np.median(left)) / BUSY_S,
        "share_ci95": [low / BUSY_S, high / BUSY_S],
        "us_per_image": float(np.median(left)) * 1e6,
        "repeats": repeats,
        "images": images,
    }


def subjects(real: Path, scratch: Path) -> dict:
    """Name -> model, hints, backend, and what times it otherwise."""
    import openvino

    yolox = real / "models/yolox-nano/yolox_nano.onnx"
    mobilenet = real / "models/coral/mobilenet_v2_1.0_224_quant.tflite"
    with no_telemetry():
        network = openvino.convert_model(yolox)
    openvino.save_model(network, scratch / "yolox_nano.xml", compress_to_fp16=False)
    return {
        "yolox_nano, OpenVINO": (
            scratch / "yolox_nano.xml", Hints(head="yolox"), "openvino", benchmark_app,
        ),
        "mobilenet_v2, LiteRT": (mobilenet, Hints(head="softmax"), "litert", litert_benchmark),
        "yolox_nano, ONNX Runtime": (yolox, Hints(head="yolox"), "onnxruntime", bare_onnxruntime),
    }  # fmt: skip


Tool = Callable[[Path, float, Path], float]


def agreement(
    model: Path,
    hints: Hints,
    backend: str,
    tool: Tool,
    images: list[Path],
    args: argparse.Namespace,
) -> dict:
    """Let both take turns; ratios are taken within a round."""
    cell = Cell(model=model, load={"backend": backend, "threads": 1}, hints=hints)
    settings = Settings(
        duration_s=args.seconds, warmup_s=0.5, processes=1, cold_starts=1, memory=False
    )
    mine, theirs = [], []
    for turn in range(args.rounds):
        for who in ("edgecv", "tool") if turn % 2 else ("tool", "edgecv"):
            if who == "tool":
                theirs.append(tool(model, args.seconds, images[0]))
            else:
                mine.append(measure(cell, images, settings).latency_ms["infer"].p50)
    ratios = np.array(mine) / np.array(theirs)
    return {
        "tool": tool.__name__,
        "edgecv_ms": statistics.median(mine),
        "tool_ms": statistics.median(theirs),
        "ratio": float(np.median(ratios)),
        "ratio_ci95": list(bootstrap_median(ratios, 0)),
        "ratios": [round(float(r), 4) for r in ratios],
    }


def benchmark_app(model: Path, seconds: float, image: Path) -> float:
    """Ask OpenVINO's tool for its median, ms: one stream, one thread, synchronous, fp32."""
    del image
    options = ["-hint", "none", "-nstreams", "1", "-nthreads", "1", "-infer_precision", "f32",
               "-api", "sync", "-t", str(max(1, round(seconds)))]  # fmt: skip
    said = output([TOOLS / "benchmark_app", "-m", model, *options])
    return parsed(r"Median:\s*([\d.]+) ms", said)


def litert_benchmark(model: Path, seconds: float, image: Path) -> float:
    """Ask LiteRT's tool for its median, ms: one thread."""
    del image
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "r.json"
        runs = str(max(50, round(seconds * 100)))
        output([TOOLS / "litert-benchmark", "--model", model, "--num_threads", "1",
                "--num_runs", runs, "--warmup_runs", "20", "--result_json", place])  # fmt: skip
        return float(json.loads(place.read_text())["latency"]["median_ms"])


def bare_onnxruntime(model: Path, seconds: float, image: Path) -> float:
    """Time a bare loop over ``session.run`` on the pixels of an image, in a process of its own."""
    code = (
        "import sys, time, cv2, numpy as np, onnxruntime as ort\n"
        "o = ort.SessionOptions(); o.intra_op_num_threads = 1; o.inter_op_num_threads = 1\n"
        "s = ort.InferenceSession(sys.argv[1], o, ['CPUExecutionProvider'])\n"
        "i = s.get_inputs()[0]; h, w = i.shape[2:]\n"
        "x = cv2.resize(cv2.imread(sys.argv[3]), (w, h)).transpose(2, 0, 1)[None]\n"
        "x = np.ascontiguousarray(x, np.float32); t = []\n"
        "end = time.monotonic() + float(sys.argv[2])\n"
        "while time.monotonic() < end or len(t) < 30:\n"
        "    a = time.perf_counter(); s.run(None, {i.name: x}); t.append(time.perf_counter() - a)\n"
        "print(sorted(t[5:])[len(t[5:]) // 2] * 1e3)\n"
    )
    return float(output([sys.executable, "-c", code, model, seconds, image]).split()[-1])


def output(command: list) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def parsed(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        sys.exit(f"no {pattern} in:\n{text[-2000:]}")
    return float(found[1])


if __name__ == "__main__":
    main()
