"""edgecv beside a hand-written loop, OpenVINO Model API and Ultralytics' predict.

The same network, images, engine, precision and CPUs for all; each has a process and a virtual
environment of its own. Those of one engine and precision are a group:

- **image file to boxes**: from a path to boxes in source pixels; decoding is part of it, as each
  library does it by default.
- **a list of images**: in the way that each one documents for many (`peer_worker.py` says which);
  for the loop one after the other.
- **cold start**: from process start to the first result. edgecv opens a bundle: it validates the
  manifest and hashes every byte.
- **peak memory**: after the first image, and after all of the run.
- **installed**: the files of the environment, without pip.

They take turns, in another order each round, and ratios are taken within a round. First all of
them show their boxes: who finds others than the loop gets no ratio.

    python benchmarks/peers.py --environments DIR --make --real ../shared/real \\
        --json benchmarks/results/peers.json
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peer_environments as environments
import peer_model
from peer_figures import agreement, summary, table
from peer_turns import Seat, cold_starts, take_turns

from edgecv import codecs
from edgecv.bench.environment import environment

ENGINES = ("onnxruntime", "openvino")
PEERS = ("edgecv", "hand-written", "model-api", "ultralytics")
REFERENCE = "hand-written"
CANNOT = {
    "model-api-onnxruntime": "Model API has no YOLO wrapper on its ONNX Runtime adapter",
}
_SHOWN = ("edgecv", "numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "openvino",
          "openvino-model-api", "torch", "torchvision", "ultralytics")  # fmt: skip
MB = 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environments", type=Path, required=True, help="folder that keeps them")
    parser.add_argument("--make", action="store_true", help="make those that are not there")
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only this one")
    parser.add_argument("--side", type=int, default=640, help="of the model's square input")
    parser.add_argument("--images", type=int, default=20, help="of a turn")
    parser.add_argument("--list", type=int, default=60, help="images of a turn as a list")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--starts", type=int, default=15, help="cold starts of each")
    parser.add_argument("--cpus", type=int, help="that all are confined to; default: all usable")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    failed = environments.make(args.environments) if args.make else {}
    photographs = sorted((args.real / "data/coco128/images/val2017").glob("*.jpg"))
    # Only those that need no resize: Model API resizes in the network, to slightly other pixels,
    # and a random network makes other boxes of them.
    images = [path for path in photographs if max(codecs.read(path).shape[:2]) == args.side]
    run = Run(args, images, failed)
    report = run.report()
    for engine, group in report["groups"].items():
        print(table(group, engine))
        for peer, found in group["peers"].items():
            print(f"    {peer}: {said(found)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    different = [
        f"{peer} in {engine}"
        for engine, group in report["groups"].items()
        for peer, found in group["peers"].items()
        if found["agreement"] is not None and not found["agreement"]["agrees"]
    ]
    if different:
        print(f"no ratio, for its results are not the loop's: {', '.join(different)}")


def said(found: Mapping[str, Any]) -> str:
    """Say in a line what a peer did, or why it did not."""
    if found["missing"]:
        return f"not measured: {found['missing']}"
    same = found["agreement"]
    boxes = (
        "not compared, the loop is missing"
        if same is None
        else f"{same['boxes']} boxes, {same['alone']} alone, edges within {same['box_px']} px"
    )
    return f"{boxes}; {found['cpus_used']:.2f} CPUs used, {found['facts']}"


class Run:
    """One run over the groups."""

    def __init__(
        self, args: argparse.Namespace, images: Sequence[Path], failed: dict[str, str]
    ) -> None:
        self.args, self.failed = args, failed
        self.candidates = [path.resolve() for path in images]
        self.images: list[str] = []
        usable = sorted(os.sched_getaffinity(0))
        self.cpus = usable[: args.cpus] if args.cpus else usable
        self.folder = args.environments.resolve()
        self.variables = variables(self.folder)

    def report(self) -> dict[str, Any]:
        exporter = environments.EXPORT
        reason = environments.missing(self.folder, exporter, self.failed)
        if reason:
            sys.exit(reason)
        operators = environments.absent_operators(self.folder, exporter)
        python = environments.python_of(self.folder, exporter)
        with tempfile.TemporaryDirectory() as scratch:
            exports = self.folder / f"model-{self.args.side}"
            self.model = peer_model.ready(
                exports, Path(scratch), self.candidates, self.args.images, self.args.side, python,
                operators, self.variables,
            )  # fmt: skip
            self.images = list(map(str, self.model.images))
            groups = {
                f"{engine} {precision}": self.group(engine, precision)
                for engine in self.args.engine or ENGINES
                for precision in dict.fromkeys(("fp32", default_precision(engine)))
            }
        return {
            "environment": environment(),
            "settings": {
                "model": f"{peer_model.NAME}, random weights, {self.args.side} x {self.args.side}",
                "sha256": self.model.sha256,
                "confidence": self.model.confidence,
                "iou": peer_model.IOU,
                "cpus": self.cpus,
                "images": [path.name for path in self.model.images],
                "list": self.args.list,
                "rounds": self.args.rounds,
                "starts": self.args.starts,
            },
            "groups": groups,
            "load_average_after": os.getloadavg()[0],
        }

    def group(self, engine: str, precision: str) -> dict[str, Any]:
        """Measure all peers on one engine in one precision."""
        print(f"{engine} {precision}:", flush=True)
        names = {peer: f"{peer}-{engine}" for peer in PEERS}
        absent: dict[str, str] = {}
        rounds: dict[str, dict[str, list[float]]] = {peer: {} for peer in PEERS}
        for peer, name in names.items():
            reason = CANNOT.get(name) or environments.missing(self.folder, name, self.failed)
            taken = default_precision(engine)
            if peer == "ultralytics" and not reason and precision != taken:
                reason = f"it computes in {taken} here, and cannot be told otherwise"
            if reason:
                absent[peer] = reason
            else:
                installed = environments.installed_bytes(self.folder, name)
                rounds[peer] = {"installed_mb": [installed / MB]}
        seats = [self.seat(peer, engine, precision) for peer in PEERS if peer not in absent]
        many = list(itertools.islice(itertools.cycle(self.images), self.args.list))
        found = take_turns(seats, self.images, many, self.args.rounds)
        absent |= found.absent
        there = [seat for seat in seats if seat.name not in absent]
        for measured in (found.rounds, cold_starts(there, self.args.starts)):
            for peer, figures in measured.items():
                rounds[peer] |= figures
        reference = found.results.get(REFERENCE)
        agreements = {
            peer: both_agree(results, reference)
            for peer, results in found.results.items()
            if reference is not None
        }
        peers = summary(rounds, agreements)
        for peer in PEERS:
            said = found.said.get(peer, {})
            versions = said.get("versions", {})
            peers[peer] |= {
                "missing": absent.get(peer),
                "agreement": agreements.get(peer),
                "versions": {name: versions[name] for name in _SHOWN if name in versions},
                "facts": said.get("facts"),
                "cpus_used": said.get("cpus_used"),
                "rounds": rounds[peer],
            }
        return {"engine": engine, "precision": precision, "peers": peers}

    def seat(self, peer: str, engine: str, precision: str) -> Seat:
        name = f"{peer}-{engine}"
        operators = peer == "ultralytics" and environments.absent_operators(self.folder, name)
        request = {
            "peer": peer,
            "engine": engine,
            "model": str(self.model.files[engine][peer]),
            "images": self.images,
            "side": self.args.side,
            "threads": len(self.cpus),
            "precision": precision,
            "cpus": self.cpus,
            "confidence": self.model.confidence,
            "iou": peer_model.IOU,
            "operators": operators or [],
        }
        return Seat(peer, environments.python_of(self.folder, name), request, self.variables)


@functools.cache
def default_precision(engine: str) -> str:
    """Return the precision in which an engine computes a float model when nothing is said.

    OpenVINO takes bf16 or fp16 where the CPU can, and Ultralytics cannot be told otherwise.
    """
    if engine == "onnxruntime":
        return "fp32"
    import openvino

    hint = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    return {"f32": "fp32", "f16": "fp16"}.get(hint, hint)


def variables(folder: Path) -> dict[str, str]:
    """Return the environment variables of all peers.

    Ultralytics has documented switches: do not install, do not call home, keep settings here.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    settings = folder / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    return kept | {
        "PYTHONNOUSERSITE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_OFFLINE": "true",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(settings),
    }


def both_agree(results: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Compare with the loop what a peer finds image by image; and what it finds in the list."""
    one = agreement(results["one"], reference["one"])
    listed = agreement(results["all"], reference["one"])
    return one | {"list": listed, "agrees": one["agrees"] and listed["agrees"]}


if __name__ == "__main__":
    main()
