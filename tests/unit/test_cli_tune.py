"""``edgecv tune`` with real processes: what it remembers, what it survives, and what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import edgecv
from edgecv import host, tuned
from edgecv.bench import interleaved, process, runner, search, tuning
from edgecv.bench.limits import Limits
from tests.models import Ran, command
from tests.tuning import Machine, choice, two_variants

ALL = "null-fp32-2"
"""The variant that planted faults leave alone."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return two_variants(tmp_path)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Race for a moment only, with one thread each: what is measured is not looked at here."""
    heats = dict.fromkeys(("latency", "throughput"), ((2, 0.01), (2, 0.01)))
    monkeypatch.setattr(search, "HEATS", heats)
    monkeypatch.setattr(search, "ALONE_S", dict.fromkeys(heats, 0.01))
    monkeypatch.setattr(tuning, "WARMUP_S", 0.01)
    monkeypatch.setattr(host, "usable_cpus", lambda *_, **__: 1)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/edgecv/tuned"


def plant(monkeypatch: pytest.MonkeyPatch, statement: str, variants: str = "null-fp32") -> None:
    """Run a statement in every process in which one of some variants is about to be loaded."""
    for module, name in ((interleaved, "turns"), (runner, "worker")):
        code = (
            f"import os, edgecv.bench.{name} as module\n"
            "from edgecv.errors import ModelLoadError\n"
            "real = module.load\n"
            "def load(*args, **kwargs):\n"
            f"    if kwargs['variant'] in {variants.split()!r}:\n"
            f"        {statement}\n"
            "    return real(*args, **kwargs)\n"
            "module.load = load\n"
        )
        # After the place where edgecv lies, before ``main``.
        first, last = process.program(f"edgecv.bench.{name}").split("; from edgecv")
        monkeypatch.setattr(module, "_WORKER", f"{first}\n{code}from edgecv{last}")


def tune(*args: object) -> Ran:
    return command("tune", *args, "--seconds", "0.1")


def saved(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_command_remembers_and_forgets(
    bundle: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as more:
        more.setattr(host, "usable_cpus", lambda *_, **__: 2)
        ran = tune(bundle, "--json", tmp_path / "t.json", "--dry-run")
    assert ran.status == 0, ran.err
    assert "not kept" in ran.out
    assert not home.exists()
    said = saved(tmp_path / "t.json")
    assert (said["kept"], said["pinned"]) == (None, None)
    assert len(said["standings"]) == 4
    assert said["choice"]["plan"]["streams"] == 1
    assert all(s["peak_rss_bytes"] > 2**20 for s in said["standings"])
    assert tune(bundle).status == 0
    with edgecv.load(bundle) as model:
        assert (model.info.chosen_by, model.plan) == ("tuned", None)
    ran = tune(bundle, "--forget")
    assert (ran.status, ran.out.strip()) == (0, "forgotten")
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"


def test_throughput_is_remembered_with_its_plan(bundle: Path, tmp_path: Path) -> None:
    ran = tune(bundle, "--goal", "throughput", "--json", tmp_path / "t.json")
    assert ran.status == 0, ran.err
    said = saved(tmp_path / "t.json")
    assert "images/s" in ran.out
    (result,) = said["results"]
    with edgecv.load(bundle) as model, edgecv.predict_all(model, [tmp_path / "a.png"] * 8) as ran_:
        assert model.plan is not None
        assert model.plan.to_dict() == said["choice"]["plan"]
        list(ran_)
        assert (ran_.stats.plan, ran_.stats.trials) == (model.plan, ())
        # It was measured in full with the same plan.
        assert (result["scenario"], result["plan"]) == ("offline", str(model.plan))
    info = command("info", bundle)
    assert f"{model.plan}, as tuned" in info.out


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("os._exit(7)", "died with status 7"),
        ("os.kill(os.getpid(), 9)", "died with status -9, as one does that ran out of memory"),
        ("raise ModelLoadError('the engine refuses it')", "the engine refuses it"),
        ("raise MemoryError", "there is not enough memory"),
    ],
)
def test_a_candidate_that_fails_is_told_and_the_search_goes_on(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str, reason: str
) -> None:
    plant(monkeypatch, statement)
    ran = tune(bundle, "--json", tmp_path / "t.json")
    assert ran.status == 0, ran.err
    said = saved(tmp_path / "t.json")
    assert said["choice"]["variant"] == ALL
    failed = [s for s in said["standings"] if s["status"] == "failed"]
    assert len(failed) == 1
    assert {s["candidate"]["variant"] for s in failed} == {"null-fp32"}
    assert all(reason in s["left"] for s in failed)
    assert f"failed: {failed[0]['left']}" in ran.out


def test_where_all_fail_each_is_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    plant(monkeypatch, "raise ModelLoadError('refused')", f"null-fp32 {ALL}")
    ran = tune(bundle)
    assert ran.status == 1
    for variant in ("null-fp32", ALL):
        assert f"{variant} x1: refused" in ran.err
    assert not home.exists()


def test_one_that_fails_at_last_gives_way_to_the_next(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The race goes well, the measurement in full does not.
    found = tuning.search

    def first(*args: Any, **kwargs: Any) -> Any:
        ranked = found(*args, **kwargs)
        return sorted(ranked, key=lambda s: s.candidate.variant != "null-fp32")

    monkeypatch.setattr(tuning, "search", first)
    real = tuning.measure

    def measure(cell: Any, *args: Any) -> Any:
        if cell.load["variant"] == "null-fp32":
            raise edgecv.errors.InferenceError("it died late")
        return real(cell, *args)

    monkeypatch.setattr(tuning, "measure", measure)
    done = tuning.tune(bundle, [tmp_path / "a.png"], seconds=0.1)
    assert done.choice is not None
    assert done.choice.variant == ALL
    assert "it died late" in done.passed_over.values()


def two_kinds(monkeypatch: pytest.MonkeyPatch, *, pinned_first: bool) -> tuple[list[int], int]:
    """Plant a fast CPU among ours, and made-up races that are won on it, or not; return both."""
    mine = sorted(host.allowed_cpus())
    if len(mine) < 2:
        pytest.skip("needs two CPUs")
    monkeypatch.setattr(host, "fast_cpus", lambda *_: (mine[0],))
    monkeypatch.setattr(
        host, "usable_cpus", lambda *_, among=None: len(among or host.allowed_cpus())
    )
    found = search.search

    def made_up(model: Path, some: Any, images: Any, **how: Any) -> Any:
        times = {c.name: 5.0 if bool(c.affinity) == pinned_first else 9.0 for c in some}
        return found(model, some, images, race=Machine(times).race, **how)

    monkeypatch.setattr(tuning, "search", made_up)
    return mine, mine[0]


@pytest.mark.parametrize("kept", [True, False])
def test_pinned_ones_race_where_nothing_else_keeps_the_limits(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: bool
) -> None:
    _, fast = two_kinds(monkeypatch, pinned_first=False)
    cells = []

    def measure(cell: Any, *args: Any) -> Any:
        cells.append(cell)
        return real(cell, *args)

    real = tuning.measure
    monkeypatch.setattr(tuning, "measure", measure)
    monkeypatch.setattr(
        tuning, "breach", lambda *_: None if kept and cells[-1].affinity else "too slow"
    )
    ran = tune(bundle, "--max-latency", "1", "--json", tmp_path / "t.json")
    if not kept:
        assert ran.status == 2
        assert f"on CPUs {fast}: too slow" in ran.err
        return
    assert ran.status == 0, ran.err
    said = saved(tmp_path / "t.json")
    assert said["choice"] is None
    assert said["pinned"]["affinity"] == [fast]
    assert said["kept"] is not None
    assert "the limits are kept only when the process is pinned" in ran.out
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"


def test_an_older_choice_for_pinned_processes_goes_where_pinning_no_longer_wins(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fast = two_kinds(monkeypatch, pinned_first=False)
    older = choice(bundle, cpu=tuned.identity([fast]), affinity=(fast,))
    place = tuned.write(older)
    assert tune(bundle, "--dry-run").status == 0
    assert place.exists()
    assert tune(bundle).status == 0
    assert not place.exists()
    # What was found in a process that was pinned itself is not touched.
    tuned.write(older.replace(affinity=()))
    assert tune(bundle).status == 0
    assert place.exists()


def test_pinning_is_advised_and_then_found(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine with a planted fast CPU, of which the race says that it is faster."""
    mine, first = two_kinds(monkeypatch, pinned_first=True)
    fast = [first]
    ran = tune(bundle, "--json", tmp_path / "t.json")
    assert ran.status == 0, ran.err
    assert f"taskset -c {fast[0]} " in ran.out
    said = saved(tmp_path / "t.json")
    assert said["choice"]["affinity"] == []
    assert said["pinned"]["affinity"] == fast
    # Unpinned, the choice for it is found; and what the advice leads to is found as well.
    for cpus, kept in ((mine, said["choice"]), (fast, said["pinned"])):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cpus=cpus: set(cpus))
        with edgecv.load(bundle) as model:
            assert (model.info.chosen_by, model.info.notes) == ("tuned", ())
            assert model.info.variant == kept["variant"]
            assert model.info.threads == kept["plan"]["threads"]
    assert tuned.forget(said["choice"]["digest"]) == 2


def test_a_budget(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda *_, **__: 4)
    ran = tune(bundle, "--budget", "2.5", "--json", tmp_path / "t.json")
    assert ran.status == 0, ran.err
    late = [s for s in saved(tmp_path / "t.json")["standings"] if s["status"] == "not tried"]
    assert late
    for s in late:
        assert s["left"] == "the budget of 2.5 s was spent"
        assert "not tried: the budget of 2.5 s was spent" in ran.out
    ran = tune(bundle, "--budget", "0.1")
    assert ran.status == 2
    assert "the budget leaves no time to search" in ran.err


def test_bad_use(bundle: Path, home: Path, tmp_path: Path) -> None:
    ran = tune(tmp_path / "one.null.json")
    assert ran.status == 2
    assert "only bundles are tuned" in ran.err
    ran = tune(bundle, "--max-drop", "1")
    assert ran.status == 2
    assert "the card has no accuracy of it" in ran.err
    for goal in ("latency", "throughput"):
        ran = tune(bundle, "--max-memory", "1", "--goal", goal)
        assert ran.status == 2
        assert "nothing keeps the limits" in ran.err
        assert "1 are allowed" in ran.err
    assert not home.exists()


def test_a_limit_on_latency_is_held_against_the_measurement_in_full(
    bundle: Path, tmp_path: Path
) -> None:
    limits = Limits(max_latency_ms=1e-6)
    with pytest.raises(edgecv.errors.UsageError, match=r"nothing keeps the limits: .*ms"):
        tuning.tune(bundle, [tmp_path / "a.png"], seconds=0.1, limits=limits)
