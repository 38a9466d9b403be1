"""Tuning: the race on simulated machines, limits, and the record that loading heeds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgecv
from edgecv import tuned
from edgecv.bench import search
from edgecv.bench.interleaved import Competitor, Timing
from edgecv.bench.report import ColdStart, Energy, Latency, Memory, Result, Validity
from edgecv.bench.search import Candidate
from edgecv.bench.tuning import Limits, allowed, breach
from edgecv.bundle import open_bundle
from edgecv.card import Card, Measurement
from edgecv.hints import Hints
from edgecv.manifest import Manifest
from edgecv.packing import pack
from tests import models
from tests.models import Ran, command


class Machine:
    """A made-up machine: true times, noise in each round, and a load that changes for all."""

    def __init__(self, true_ms: dict[str, float], noise: float = 0.03, seed: int = 0) -> None:
        self.true_ms, self.noise = true_ms, noise
        self.random = np.random.default_rng(seed)
        self.turns = 0

    def race(self, some: Sequence[Competitor], rounds: int, turn_s: float) -> dict[str, Timing]:
        assert 1 <= len(some) <= search.BESIDE + 1
        assert turn_s > 0
        load = 1 + 0.5 * self.random.random(rounds)
        self.turns += rounds * len(some)
        found = {}
        for c in some:
            times = self.true_ms[c.name] * load
            times = times * np.exp(self.noise * self.random.standard_normal(rounds))
            found[c.name] = Timing(
                name=c.name, p50_ms=float(np.median(times)), ci95=(0.0, 0.0),
                rounds_ms=tuple(map(float, times)), stages_ms={}, samples=rounds,
                precision="fp32", threads=1,
            )  # fmt: skip
        return found


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(variant=f"v{i // 3}", backend="null", threads=1 + i % 3) for i in range(count)
    ]


@given(st.lists(st.floats(2, 40), min_size=1, max_size=14), st.integers(0, 200))
@settings(max_examples=80, deadline=None)
def test_the_winner_is_within_3_percent_of_the_best(times: list[float], seed: int) -> None:
    some = candidates(len(times))
    machine = Machine({c.name: t for c, t in zip(some, times, strict=True)}, seed=seed)
    ranked = search.search(Path("m"), some, [], race=machine.race)
    assert machine.true_ms[ranked[0].candidate.name] <= 1.03 * min(times)
    assert [s.candidate for s in sorted(ranked, key=lambda s: s.candidate.name)] == sorted(
        some, key=lambda c: c.name
    )


def test_the_race_stops_early() -> None:
    some = candidates(12)
    machine = Machine({c.name: 5.0 if i == 7 else 20.0 for i, c in enumerate(some)})
    ranked = search.search(Path("m"), some, [], race=machine.race)
    assert ranked[0].candidate == some[7]
    assert ranked[0].left == ""
    assert all(s.left.startswith("slower than") for s in ranked[1:])
    # Everybody through every heat would be 12 times 38 rounds.
    assert machine.turns < 12 * 38 / 4


def test_of_those_alike_the_one_with_fewer_threads() -> None:
    some = [Candidate(variant="a", backend="null", threads=t) for t in (4, 2, 1)]
    machine = Machine({"a x4": 10.0, "a x2": 10.02, "a x1": 17.0}, noise=0.001)
    ranked = search.search(Path("m"), some, [], race=machine.race)
    assert ranked[0].candidate.threads == 2


@pytest.mark.parametrize(
    ("cpus", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)),
                           (6, (1, 2, 4, 6)), (16, (1, 2, 4, 8, 16))],
)  # fmt: skip
def test_numbers_of_threads(cpus: int, expected: tuple[int, ...]) -> None:
    assert search.thread_counts(cpus) == expected


def test_fast_cpus(tmp_path: Path) -> None:
    assert search.fast_cpus(tmp_path) == ()
    for cpu, value in enumerate((446, 446, 1024, 1000)):
        place = tmp_path / f"sys/devices/system/cpu/cpu{cpu}"
        (place / "cpufreq").mkdir(parents=True)
        (place / "cpu_capacity").write_text(f"{value}\n")
        (place / "cpufreq/cpuinfo_max_freq").write_text("2000000\n")
    assert search.fast_cpus(tmp_path) == (2, 3)
    for path in tmp_path.rglob("cpu_capacity"):
        path.unlink()
    assert search.fast_cpus(tmp_path) == ()
    (tmp_path / "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq").write_text("2500000\n")
    assert search.fast_cpus(tmp_path) == (1,)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    sources = [models.null_detector(tmp_path / f"{name}.null.json") for name in ("one", "two")]
    golden = [models.write_image(tmp_path / "a.png", 1)]
    made: Path = pack(
        sources, tmp_path / "b.edgecv", hints=Hints(head="end2end"), golden=golden, trusted=True
    )
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/edgecv/tuned"


def choice(bundle: Path, **changes: Any) -> tuned.Choice:
    with open_bundle(bundle) as opened:
        digest = opened.digest
    facts = {
        "schema": tuned.SCHEMA, "model": bundle.name, "digest": digest, "cpu": tuned.identity(),
        "goal": "latency", "variant": "null-fp32-2", "engine": tuned.engine_of("null"),
        "threads": 1,
    }  # fmt: skip
    return tuned.Choice(**{**facts, **changes})


def test_loading_heeds_a_record(bundle: Path, home: Path) -> None:
    with edgecv.load(bundle) as model:
        assert (model.info.variant, model.info.chosen_by) == ("null-fp32", "order")
    place = tuned.write(choice(bundle))
    assert place.is_relative_to(home)
    with edgecv.load(bundle) as model:
        assert (model.info.variant, model.info.chosen_by) == ("null-fp32-2", "tuned")
        assert (model.info.threads, model.info.notes) == (1, ())
    with edgecv.load(bundle, threads=2) as model:
        assert (model.info.variant, model.info.threads) == ("null-fp32-2", 2)
    for named in ({"variant": "null-fp32"}, {"backend": "null"}, {"tuned": False}):
        with edgecv.load(bundle, **named) as model:  # type: ignore[arg-type]
            assert model.info.variant == "null-fp32"
            assert model.info.chosen_by == ("order" if "tuned" in named else "caller")
    assert tuned.forget(choice(bundle).digest)
    assert not tuned.forget(choice(bundle).digest)
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "null 0"}, "it was measured with null 0.*run edgecv tune again"),
        ({"cpu": "another"}, "another CPU or other bytes"),
        ({"variant": "gone"}, "no such variant"),
    ],
)
def test_a_stale_record_is_passed_over_with_a_note(
    bundle: Path, home: Path, changes: dict[str, str], message: str
) -> None:
    place = tuned.write(choice(bundle))
    place.write_text(json.dumps({**choice(bundle).to_dict(), **changes}))
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"
        (note,) = model.info.notes
    assert home.is_dir()
    assert re.search(message, note)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"schema": "edgecv.tuned/2"}', b"\xff" * 9])
def test_a_broken_record_is_passed_over_with_a_note(bundle: Path, home: Path, text: bytes) -> None:
    tuned.write(choice(bundle)).write_bytes(text)
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"
        assert "a tuned choice is not heeded" in model.info.notes[0]
    assert home.is_dir()


def test_a_record_is_of_these_bytes(bundle: Path, home: Path, tmp_path: Path) -> None:
    tuned.write(choice(bundle))
    other = pack(
        [tmp_path / "one.null.json", tmp_path / "two.null.json"], tmp_path / "c.edgecv",
        hints=Hints(head="end2end", labels=("x", "y")), trusted=True,
    )  # fmt: skip
    with edgecv.load(other) as model:
        assert (model.info.chosen_by, model.info.notes) == ("order", ())
    assert home.is_dir()


def carded(bundle: Path, *figures: float | None) -> Manifest:
    """Put accuracies on the card, in the order of the variants."""
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
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


def result(p50: float, p90: float | None, peak: int | None) -> Result:
    return Result(
        scenario="single", variant="v", backend="null", engine="null 1", threads=1, processes=1,
        images=1, duration_s=1.0, cold_start_ms=ColdStart(n=0),
        latency_ms={"total": Latency(n=99, p50=p50, p90=p90)},
        memory_bytes=Memory(peak_rss=peak), energy=Energy(tier=5, source=""),
        validity=Validity(status="valid"),
    )  # fmt: skip


def test_limits() -> None:
    mib = 2**20
    limits = Limits(max_latency_ms=10.0, max_memory_bytes=100.0 * mib)
    assert breach(result(5.0, 10.0, 100 * mib), limits) is None
    assert breach(result(5.0, 10.1, 50 * mib), limits) == "p90 of 10.10 ms, 10 are allowed"
    assert breach(result(11.0, None, 50 * mib), limits) == "p50 of 11.00 ms, 10 are allowed"
    assert breach(result(5.0, 9.0, 101 * mib), limits) == "a peak of 101 MiB, 100 are allowed"
    assert breach(result(5.0, 9.0, None), limits) == "its memory cannot be measured here"
    assert breach(result(99.0, 99.0, None), Limits()) is None


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Race for a moment only: what is measured is not looked at here."""
    monkeypatch.setattr(search, "HEATS", ((2, 0.01), (2, 0.01)))


def tune(*args: object) -> Ran:
    return command("tune", *args, "--seconds", "0.1")


@pytest.mark.usefixtures("short")
def test_the_command_remembers_and_forgets(bundle: Path, home: Path, tmp_path: Path) -> None:
    ran = tune(bundle, "--json", tmp_path / "t.json", "--dry-run")
    assert ran.status == 0, ran.err
    assert "not kept" in ran.out
    assert not home.exists()
    said = json.loads((tmp_path / "t.json").read_text())
    assert said["kept"] is None
    assert len(said["standings"]) == 2 * len(search.thread_counts())
    ran = tune(bundle, "--goal", "throughput")
    assert ran.status == 0, ran.err
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "tuned"
    ran = tune(bundle, "--forget")
    assert (ran.status, ran.out.strip()) == (0, "forgotten")
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"


@pytest.mark.usefixtures("short")
def test_bad_use(bundle: Path, home: Path, tmp_path: Path) -> None:
    ran = tune(tmp_path / "one.null.json")
    assert ran.status == 2
    assert "only bundles are tuned" in ran.err
    ran = tune(bundle, "--max-drop", "1")
    assert ran.status == 2
    assert "the card has no accuracy of it" in ran.err
    ran = tune(bundle, "--max-memory", "1", "--goal", "throughput")
    assert ran.status == 2
    assert "nothing keeps the limits" in ran.err
    assert "1 are allowed" in ran.err
    assert not home.exists()
