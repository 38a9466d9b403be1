"""Images from disk to results: edgecv's `predict_all` beside its own loop and beside the bound.

Everything alternates in one process, on the same images:

- **loop**: ``for path in images: model(path)`` on a model as it is opened by default;
- **pipeline**: ``predict_all(model, images)`` with the plan that it chose in a run before;
- **processes**: as many processes as CPUs, each with that loop on an engine with one thread: what
  the machine does where no interpreter, no order and no memory is shared;
- **stages**: CPU time of each stage, one image after the other, on an engine with one thread. The
  CPU time of the process counts, so whatever helper threads spend is part of it.

The bound is what the CPUs could do if no cycle were spent on anything but the stages: CPUs divided
by the CPU time of an image. What is shown is how much of it the pipeline reaches. Wall time counts,
so what other programs take of the CPUs meanwhile is missing; their share is measured and shown, and
beyond 2 % of the CPUs the figures say nothing about edgecv.

    python benchmarks/throughput.py --real ../shared/real --json benchmarks/results/throughput.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import edgecv
from edgecv import codecs
from edgecv.bench.environment import environment
from edgecv.bench.statistics import sign_test_ranks
from edgecv.host import usable_cpus

STAGES = ("decode", "preprocess", "infer", "postprocess")
LIMIT = 0.90
QUIET = 0.02
DIGITS = Path(__file__).parent.parent / "examples/digits"


def cases(real: Path) -> dict[str, tuple[Path, edgecv.Hints, list[Path]]]:
    """Name -> model, what is said about it, and its images."""
    coco = sorted((real / "data/coco128/images/val2017").glob("*.jpg"))
    imagenet = sorted((real / "data/imagenet200").rglob("*.JPEG"), key=lambda path: path.parent)
    return {
        "yolox_nano": (
            real / "models/yolox-nano/yolox_nano.onnx", edgecv.Hints(head="yolox"), coco,
        ),
        "mobilenet_v2": (
            real / "models/coral/mobilenet_v2_1.0_224_quant.tflite",
            edgecv.Hints(head="softmax"),
            imagenet,
        ),
        "digits": (
            DIGITS / "digits.onnx",
            edgecv.Hints(head="yolo"),
            sorted((DIGITS / "val/images").iterdir()),
        ),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    # Many short turns: the clock of a shared CPU wanders by some percent within seconds, and what
    # is compared should have seen the same.
    parser.add_argument("--rounds", type=int, default=25, help="turns of each kind of run")
    parser.add_argument("--seconds", type=float, default=1.5, help="about, of each loop")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {"environment": environment(), "cpus": usable_cpus(), "cases": {}}
    for name, (path, hints, images) in cases(args.real).items():
        if args.case and name not in args.case:
            continue
        report["cases"][name] = measure(path, hints, images, args)
        print_case(name, report["cases"][name])
    report["load_average_after"] = os.getloadavg()[0]
    print(table(report["cases"]))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [name for name, case in report["cases"].items() if case["of_bound"] < LIMIT]
    if missed:
        sys.exit(f"below {LIMIT} of the bound: {', '.join(missed)}")


def measure(path: Path, hints: edgecv.Hints, images: list[Path], args: argparse.Namespace) -> dict:
    cpus = usable_cpus()
    with edgecv.load(path, hints=hints, trusted=True) as model:
        for image in images[:10]:
            model(image)
        start = time.perf_counter()
        for image in images[:20]:
            model(image)
        each = (time.perf_counter() - start) / 20
        count = max(len(images) // 4, round(args.seconds / each))
        batch = [images[i % len(images)] for i in range(count)]
        # The run that chooses; an iterator of unknown length is always worth its trials.
        with edgecv.predict_all(model, iter([*batch, *batch])) as first:
            for _ in first:
                pass
        chosen = first.stats
        single = model.reopened(threads=1)
        rounds: list[dict] = []
        # Opened once, and asleep while the others have their turns.
        stack = ExitStack()
        helpers = stack.enter_context(others(path, hints, batch, cpus - 1))
        for turn in range(args.rounds):
            runs = {
                "loop": lambda: loop(model, batch),
                "pipeline": lambda: pipeline(model, batch, chosen.plan),
                "processes": lambda: processes(single, batch, helpers),
                # All of the batch: the images differ in size, a part of them has another bound.
                "stages": lambda: stages(single, batch),
            }
            order = list(runs)
            order = order[turn % 4 :] + order[: turn % 4]
            one = {name: runs[name]() for name in order}
            one["pipeline"], one["others"] = one["pipeline"]
            rounds.append(one)
        stack.close()
        single.close()
    stage_ms = {
        stage: statistics.median(one["stages"][stage] for one in rounds) for stage in STAGES
    }
    bounds = [cpus * 1e3 / sum(one["stages"].values()) for one in rounds]
    of_bound = [one["pipeline"] / bound for one, bound in zip(rounds, bounds, strict=True)]
    over_loop = [one["pipeline"] / one["loop"] for one in rounds]
    processes_of_bound = [
        one["processes"] / bound for one, bound in zip(rounds, bounds, strict=True)
    ]
    return {
        "images": count,
        "rounds": args.rounds,
        "engine": model.info.engine,
        "plan": chosen.plan.to_dict(),
        "trials": [trial.to_dict() for trial in chosen.trials],
        "images_per_s": {
            "loop": statistics.median(one["loop"] for one in rounds),
            "pipeline": statistics.median(one["pipeline"] for one in rounds),
            "processes": statistics.median(one["processes"] for one in rounds),
            "bound": statistics.median(bounds),
            "choosing": chosen.images_per_s,
        },
        "cpu_ms": stage_ms,
        "of_bound": statistics.median(of_bound),
        "of_bound_ci95": median_interval(of_bound),
        "of_bound_rounds": [round(value, 4) for value in of_bound],
        "processes_of_bound": statistics.median(processes_of_bound),
        "processes_of_bound_ci95": median_interval(processes_of_bound),
        "others_share": statistics.median(one["others"] for one in rounds),
        "of_bound_left": statistics.median(
            one["pipeline"] / (bound * max(1e-3, 1 - one["others"]))
            for one, bound in zip(rounds, bounds, strict=True)
        ),
        "over_loop": statistics.median(over_loop),
        "over_loop_ci95": median_interval(over_loop),
        "over_loop_rounds": [round(value, 4) for value in over_loop],
    }


def median_interval(values: list[float]) -> list[float] | None:
    """95 % interval of the median by the sign test, which asks nothing of the distribution."""
    low, high = sign_test_ranks(len(values))
    if low is None or high is None:
        return None
    ordered = sorted(values)
    return [round(ordered[low], 4), round(ordered[high], 4)]


def loop(model: edgecv.Model, images: list[Path]) -> float:
    """Images a second, one after the other."""
    start = time.perf_counter()
    for image in images:
        model(image)
    return len(images) / (time.perf_counter() - start)


@contextmanager
def others(
    path: Path, hints: edgecv.Hints, images: list[Path], count: int
) -> Iterator[list[Connection]]:
    """Start processes that run the loop whenever they are told to."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    started = [
        context.Process(target=serve, args=(path, hints, images, theirs), daemon=True)
        for _, theirs in pairs
    ]
    for process in started:
        process.start()
    mine = [pipe for pipe, _ in pairs]
    for pipe in mine:
        pipe.recv()
    yield mine
    for pipe in mine:
        pipe.send(False)
    for process in started:
        process.join()


def serve(path: Path, hints: edgecv.Hints, images: list[Path], pipe: Connection) -> None:
    """Run the loop for every True that comes, and answer when it is done."""
    with edgecv.load(path, hints=hints, trusted=True, threads=1) as model:
        loop(model, images[:20])
        pipe.send(True)
        while pipe.recv():
            loop(model, images)
            pipe.send(True)


def processes(model: edgecv.Model, images: list[Path], helpers: list[Connection]) -> float:
    """Images a second of all processes, this one among them, each through all of the images."""
    start = time.perf_counter()
    for pipe in helpers:
        pipe.send(True)
    loop(model, images)
    for pipe in helpers:
        pipe.recv()
    return (1 + len(helpers)) * len(images) / (time.perf_counter() - start)


def pipeline(model: edgecv.Model, images: list[Path], plan: edgecv.Plan) -> tuple[float, float]:
    """Images a second, from the first image to the last result; and the CPU share of others."""
    start, mine, all_ = time.perf_counter(), time.process_time(), busy_s()
    with edgecv.predict_all(model, images, plan=plan) as results:
        for _ in results:
            pass
    spent = busy_s() - all_ - (time.process_time() - mine)
    share = spent / (usable_cpus() * (time.perf_counter() - start))
    return results.stats.images_per_s, max(0.0, share)


def busy_s() -> float:
    """CPU time of everything on this machine, seconds; steal counts: it was taken, too."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def stages(model: edgecv.Model, images: list[Path]) -> dict[str, float]:
    """Mean CPU time of each stage of an image, milliseconds; the same calls that a model makes."""
    for image in images[:3]:
        model(image)
    spent = np.zeros(4)
    clock = time.process_time
    for image in images:
        marks = [clock()]
        pixels = codecs.read(image)
        marks.append(clock())
        tensor, geometry = model._preprocessor.prepare(pixels)
        marks.append(clock())
        outputs = model._session.run({model._input_name: tensor})
        marks.append(clock())
        model._decode(outputs, geometry)
        marks.append(clock())
        spent += np.diff(marks)
    return dict(zip(STAGES, (spent / len(images) * 1e3).tolist(), strict=True))


def print_case(name: str, case: dict) -> None:
    print(f"{name}: {edgecv.Plan(**case['plan'])}")
    for trial in case["trials"]:
        plan = edgecv.Plan(**trial["plan"])
        print(f"    tried {plan}: {trial['images_per_s'] or trial['reason']} images/s")
    cpu = ", ".join(f"{stage} {ms:.2f}" for stage, ms in case["cpu_ms"].items())
    print(f"    CPU time of an image, ms: {cpu}")
    print(f"    of the bound, by rounds: {case['of_bound_rounds']}")
    print(f"    95 % intervals: {case['of_bound_ci95']}, over the loop {case['over_loop_ci95']}")
    if case["others_share"] > QUIET:
        print(
            f"    NOT VALID: other programs used {case['others_share']:.0%} of the CPUs; of what "
            f"they left, {case['of_bound_left']:.3f}"
        )


def table(found: dict[str, dict]) -> str:
    """Write the results as a Markdown table."""
    lines = [
        "| | loop | pipeline | processes | bound | of the bound | processes | over the loop |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in found.items():
        rate = case["images_per_s"]
        mark = "" if case["of_bound"] >= LIMIT else ", missed"
        lines.append(
            f"| {name}, {case['engine']} | {rate['loop']:.1f} | {rate['pipeline']:.1f} "
            f"| {rate['processes']:.1f} | {rate['bound']:.1f} | {case['of_bound']:.3f}{mark} "
            f"| {case['processes_of_bound']:.3f} | {case['over_loop']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
