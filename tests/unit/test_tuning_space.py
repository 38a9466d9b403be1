"""What is tried: numbers of threads, plans, fast CPUs; and the limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecv.bench import space
from edgecv.bench.limits import Limits, allowed, breach
from edgecv.bench.report import ColdStart, Energy, Latency, Memory, Result, Validity
from edgecv.bench.scenario import Setup
from edgecv.bench.scenarios import offline
from edgecv.bundle import open_bundle
from edgecv.card import Card, Measurement
from edgecv.hints import Hints
from edgecv.loading import load
from edgecv.manifest import Manifest
from edgecv.packing import pack
from edgecv.plan import Plan
from tests import models
from tests.tuning import MIB, two_variants


@pytest.mark.parametrize(
    ("cpus", "cores", "expected"),
    [
        (1, 1, (1,)), (2, 2, (1, 2)), (3, 3, (1, 2, 3)), (4, 2, (1, 2, 3, 4)),
        (6, 6, (1, 2, 3, 4, 6)), (7, 7, (1, 2, 3, 4, 6, 7)), (10, 5, (1, 2, 3, 4, 5, 6, 8, 10)),
        (32, 16, (1, 2, 3, 4, 6, 8, 16, 32)),
    ],
)  # fmt: skip
def test_numbers_of_threads(cpus: int, cores: int, expected: tuple[int, ...]) -> None:
    assert space.thread_counts(cpus, cores) == expected


def test_plans_for_latency_vary_the_threads() -> None:
    assert space.plans("latency", 3, batches=True) == [Plan(1, 3), Plan(1, 2), Plan(1, 1)]


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 6, 8, 12])
def test_plans_for_throughput_split_the_cpus(cpus: int) -> None:
    found = space.plans("throughput", cpus)
    assert found[0] == Plan(2, cpus, 1)
    assert Plan(cpus, 1, cpus) in found
    assert len(set(found)) == len(found)
    for plan in found:
        assert plan.threads is not None
        assert plan.threads * plan.streams <= cpus
        assert plan.streams <= plan.workers <= plan.streams + 1
    assert {plan.threads for plan in found} == set(space.thread_counts(cpus))
    batched = set(space.plans("throughput", cpus, batches=True)) - set(found)
    assert batched == {Plan(cpus, 1, cpus, space.BATCH)}


def manifest_of(bundle: Path) -> Manifest:
    with open_bundle(bundle) as opened:
        return opened.manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return two_variants(tmp_path)


def machine(root: Path, capacities: dict[int, int]) -> Path:
    """Plant CPUs of several kinds."""
    for cpu, capacity in capacities.items():
        place = root / f"sys/devices/system/cpu/cpu{cpu}"
        place.mkdir(parents=True)
        (place / "cpu_capacity").write_text(f"{capacity}\n")
    return root


def affinity(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus), raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)


def test_all_alike_are_never_pinned(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    affinity(monkeypatch, 0, 1)
    found = space.candidates(
        manifest_of(bundle), ["null-fp32", "null-fp32-2"], root=machine(tmp_path, {0: 9, 1: 9})
    )
    # The variants take turns, with all CPUs first.
    assert [c.name for c in found] == [
        "null-fp32 x2", "null-fp32-2 x2", "null-fp32 x1", "null-fp32-2 x1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mine", "pinned"),
    [((0, 1, 2, 3), (2, 3)), ((0, 2, 3), (2, 3)), ((1, 3), (3,)), ((2, 3), ()), ((0, 1), ())],
)
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_pinned_to_those_fast_cpus_that_the_process_may_use(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    mine: tuple[int, ...], pinned: tuple[int, ...], goal: space.Goal,
) -> None:  # fmt: skip
    affinity(monkeypatch, *mine)
    root = machine(tmp_path, {0: 446, 1: 446, 2: 1024, 3: 1000})
    found = space.candidates(manifest_of(bundle), ["null-fp32"], goal, root)
    assert {c.affinity for c in found} == ({(), pinned} if pinned else {()})
    assert len({c.name for c in found}) == len(found)
    last = [bool(c.affinity) for c in found]
    assert last == sorted(last)
    for c in found:
        assert c.threads <= len(c.affinity or mine)


def test_batches_where_the_model_takes_them(tmp_path: Path) -> None:
    free = models.null_model(
        tmp_path / "m.null.json",
        [models.tensor("y", [None, 3], values=[0.1, 0.7, 0.2])],
        inputs=[models.tensor("x", [None, 3, *models.SIZE_HW])],
    )
    made = pack([free], tmp_path / "c.edgecv", hints=Hints(head="softmax"), trusted=True)
    manifest = manifest_of(made)
    assert space.takes_batches(manifest, manifest.variants[0])
    found = space.candidates(manifest, ["null-fp32"], "throughput")
    assert [c.plan.batch for c in found].count(space.BATCH) == 1
    fixed = manifest_of(two_variants(tmp_path))
    assert not space.takes_batches(fixed, fixed.variants[0])


def test_an_image_takes_as_long_as_its_batch(tmp_path: Path) -> None:
    free = models.null_model(
        tmp_path / "m.null.json",
        [models.tensor("y", [None, 3], values=[0.1, 0.7, 0.2])],
        inputs=[models.tensor("x", [None, 3, *models.SIZE_HW])],
    )
    image = models.write_image(tmp_path / "a.png", 1).read_bytes()
    made = pack([free], tmp_path / "c.edgecv", hints=Hints(head="softmax"), trusted=True)
    with load(made) as model:
        setup = Setup(model=model, images=[image], duration_s=0.05, plan=Plan(1, 1, 1, 4))
        done = offline.run(setup).samples_ms
    batches = len(done["total"]) // 4
    assert batches >= 2
    for start in range(0, 4 * batches, 4):
        parts = sum(sum(done[stage][start : start + 4]) for stage in done if stage != "total")
        assert done["total"][start : start + 4] == pytest.approx([parts] * 4)


def carded(bundle: Path, *figures: float | None) -> Manifest:
    """Put accuracies on the card, in the order of the variants."""
    manifest = manifest_of(bundle)
    found = tuple(
        Measurement(metric=metric, value=value, variant=variant.id)
        for variant, value in zip(manifest.variants, figures, strict=True)
        # The main metric comes first; others do not count.
        for metric in ("size_bytes", "map", "map50")
    )
    return manifest.replace(card=Card(measurements=found))


def test_the_allowed_drop(bundle: Path) -> None:
    both = ["null-fp32", "null-fp32-2"]
    assert allowed(carded(bundle, 0.5, None), Limits()) == (both, {})
    assert allowed(carded(bundle, 0.5, 0.49), Limits(max_drop_points=1.0)) == (both, {})
    kept, out = allowed(carded(bundle, 0.5, 0.489), Limits(max_drop_points=1.0))
    assert kept == both[:1]
    assert out == {both[1]: "1.10 points below the best variant, 1 are allowed"}
    kept, out = allowed(carded(bundle, None, 0.4), Limits(max_drop_points=1.0))
    assert (kept, out) == (both[1:], {both[0]: "the card has no accuracy of it"})


def test_the_drop_is_from_the_best_of_all_by_the_same_metric(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = carded(bundle, 0.5, 0.48)
    other = Measurement(metric="map50", value=0.9, variant="null-fp32")
    manifest = manifest.replace(card=Card(measurements=(*manifest.card.measurements, other)))
    # The best one cannot run here.
    first = manifest.variants[0].replace(backend="missing")
    manifest = manifest.replace(variants=(first, *manifest.variants[1:]))
    _, out = allowed(manifest, Limits(max_drop_points=1.0))
    assert out["null-fp32-2"] == "2.00 points below the best variant, 1 are allowed"
    assert allowed(manifest, Limits(max_drop_points=2.0))[0] == ["null-fp32-2"]


def result(p50: float, p90: float | None, peak: int | None) -> Result:
    return Result(
        scenario="single", variant="v", backend="null", engine="null 1", threads=1, processes=1,
        images=1, duration_s=1.0, cold_start_ms=ColdStart(n=0),
        latency_ms={"total": Latency(n=99, p50=p50, p90=p90)},
        memory_bytes=Memory(peak_rss=peak), energy=Energy(tier=5, source=""),
        validity=Validity(status="valid"),
    )  # fmt: skip


def test_limits() -> None:
    limits = Limits(max_latency_ms=10.0, max_memory_bytes=100.0 * MIB)
    assert breach(result(5.0, 10.0, 100 * MIB), limits) is None
    assert breach(result(5.0, 10.1, 50 * MIB), limits) == "p90 of 10.10 ms, 10 are allowed"
    assert breach(result(11.0, None, 50 * MIB), limits) == "p50 of 11.00 ms, 10 are allowed"
    assert breach(result(5.0, 9.0, 101 * MIB), limits) == "a peak of 101 MiB, 100 are allowed"
    assert breach(result(5.0, 9.0, None), limits) == "its memory cannot be measured here"
    assert breach(result(99.0, 99.0, None), Limits()) is None
