"""The record of a choice: what loading and many images do with it, and when it does not count."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgecv
from edgecv import host, tuned
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.plan import Plan
from tests import models
from tests.tuning import choice, two_variants


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(host, "cpu_quota", lambda _: None)
    monkeypatch.setattr(host, "fast_cpus", lambda: ())
    return two_variants(tmp_path)


def test_loading_heeds_a_record(bundle: Path, tmp_path: Path) -> None:
    with edgecv.load(bundle) as model:
        assert (model.info.variant, model.info.chosen_by) == ("null-fp32", "order")
    place = tuned.write(choice(bundle))
    assert place.is_relative_to(tmp_path / "xdg/edgecv/tuned")
    with edgecv.load(bundle) as model:
        assert (model.info.variant, model.info.chosen_by) == ("null-fp32-2", "tuned")
        assert (model.info.threads, model.info.notes) == (1, ())
        # Many images were not what it was tuned for.
        assert (model.plan, model.info.plan) == (None, None)
    with edgecv.load(bundle, threads=2) as model:
        assert (model.info.variant, model.info.threads) == ("null-fp32-2", 2)
    for named in ({"variant": "null-fp32"}, {"backend": "null"}, {"tuned": False}):
        with edgecv.load(bundle, **named) as model:  # type: ignore[arg-type]
            assert model.info.variant == "null-fp32"
            assert model.info.chosen_by == ("order" if "tuned" in named else "caller")
    assert tuned.forget(choice(bundle).digest) == 1
    assert tuned.forget(choice(bundle).digest) == 0
    with edgecv.load(bundle) as model:
        assert (model.info.chosen_by, model.info.notes) == ("order", ())


def test_many_images_run_with_the_recorded_plan_and_no_trials(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(3, 2, 2)
    tuned.write(choice(bundle, goal="throughput", plan=plan))
    images = [tmp_path / "a.png"] * 40
    with edgecv.load(bundle) as model:
        assert model.plan == model.info.plan == plan
        assert model.info.threads == 2
        assert model.info.to_json()["plan"]["streams"] == 2
        # The engine is open as the plan wants it: it is not opened once more.
        monkeypatch.setattr(edgecv.Model, "reopened", None)
        for shown in (model, model.with_options(confidence=0.1)):
            with edgecv.predict_all(shown, images) as results:
                assert len(list(results)) == 40
            assert (results.stats.plan, results.stats.trials) == (plan, ())
    with edgecv.load(bundle) as model, edgecv.predict_all(model, images, plan=Plan(1)) as results:
        list(results)
        assert results.stats.plan == Plan(1)
    for own in ({"threads": 2}, {"streams": 2}, {"tuned": False}):
        with edgecv.load(bundle, **own) as model:  # type: ignore[arg-type]
            assert (model.plan, model.info.plan) == (None, None)


def test_another_engine_of_the_same_model_has_no_recorded_plan(bundle: Path) -> None:
    tuned.write(choice(bundle, goal="throughput", plan=Plan(2, 1, 2)))
    with edgecv.load(bundle) as model, model.reopened(threads=3) as other:
        assert (other.plan, other.info.plan, other.session.threads) == (None, None, 3)
        assert model.plan is not None


def test_streams_are_opened(bundle: Path, tmp_path: Path) -> None:
    source = models.openvino_detector(tmp_path)
    made = pack(
        [source], tmp_path / "o.edgecv", hints=Hints(head="yolo", labels=models.LABELS),
        trusted=True,
    )  # fmt: skip
    with edgecv.load(made, threads=1, streams=2) as model:
        assert (model.info.threads, model.info.streams) == (1, 2)
    engine = tuned.engine_of("openvino")
    with edgecv.load(made) as model:
        variant = model.info.variant
    tuned.write(choice(made, variant=variant, engine=engine, goal="throughput", plan=Plan(3, 1, 2)))
    with edgecv.load(made) as model:
        assert (model.info.chosen_by, model.info.threads, model.info.streams) == ("tuned", 1, 2)
    assert bundle.exists()
    with pytest.raises(edgecv.EdgecvError, match="streams: expected a whole number"):
        edgecv.load(made, streams=0)


def test_streams_share_the_cpus(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda *_, **__: 6)
    for asked, threads in (({"streams": 2}, 3), ({"streams": 9}, 1), ({}, 6)):
        with edgecv.load(bundle, **asked, tuned=False) as model:  # type: ignore[arg-type]
            assert model.info.threads == threads


STALE: list[tuple[dict[str, Any], str]] = [
    ({"engine": "null 0"}, "it was measured with null 0, this is null 1"),
    ({"cpu": "another"}, "another CPU or other bytes: another"),
    ({"digest": "0" * 64}, "another CPU or other bytes"),
    ({"variant": "gone"}, "no such variant: 'gone'"),
    ({"plan": {"workers": 1, "threads": 5000}}, "plan.threads: expected at most 1024; got 5000"),
    ({"plan": {"workers": 1, "threads": 900}}, "threads of all streams: expected at most 4"),
    ({"plan": {"workers": 5, "threads": 3, "streams": 2}}, "expected at most 4; got 6"),
    ({"plan": {"workers": 1, "threads": -1}}, "plan.threads: expected at least 1; got -1"),
    ({"plan": {"workers": 1, "threads": 0}}, "plan.threads: expected at least 1; got 0"),
    ({"plan": {"workers": 1, "threads": True}}, "plan.threads: expected an integer"),
    ({"plan": {"workers": 1}}, "plan.threads: expected a number"),
    ({"plan": {"workers": 0, "threads": 1}}, "plan.workers: expected at least 1"),
    ({"plan": {"workers": 400, "threads": 1}}, "workers: expected at most 5; got 400"),
    ({"plan": {"workers": 1, "threads": 1, "batch": 900}}, "batch: expected at most 64; got 900"),
    ({"plan": {"workers": 1, "threads": 1, "streams": 1e9}}, "plan.streams: expected an integer"),
    ({"plan": "4 workers"}, "plan: expected an object"),
    ({"goal": "fame"}, "goal: expected one of"),
    ({"schema": "edgecv.tuned/1"}, "schema: expected edgecv.tuned/2"),
    ({"extra": 1}, "extra: unknown field"),
]


@pytest.mark.parametrize(("changes", "message"), STALE, ids=[str(c)[:40] for c, _ in STALE])
def test_a_record_that_cannot_be_right_is_passed_over_with_a_note(
    bundle: Path, changes: dict[str, Any], message: str
) -> None:
    place = tuned.write(choice(bundle))
    place.write_text(json.dumps({**choice(bundle).to_dict(), **changes}))
    with edgecv.load(bundle) as model:
        assert (model.info.chosen_by, model.info.variant) == ("order", "null-fp32")
        (note,) = model.info.notes
    assert note.startswith("a tuned choice is not heeded: ")
    assert note.endswith("; run edgecv tune again")
    assert str(place) in note
    assert message in note


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"schema": "edgecv.tuned/3"}', b"\xff" * 9])
def test_a_broken_record_is_passed_over_with_a_note(bundle: Path, text: bytes) -> None:
    tuned.write(choice(bundle)).write_bytes(text)
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"
        assert "a tuned choice is not heeded" in model.info.notes[0]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(
    st.sampled_from([*tuned.Choice.record_fields, "plan.workers", "plan.threads", "plan.streams"]),
    _JSON,
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_value_of_any_field_makes_loading_fail(bundle: Path, name: str, value: Any) -> None:
    data = choice(bundle).to_dict()
    outer, _, inner = name.partition(".")
    data[outer] = {**data[outer], inner: value} if inner else value
    tuned.write(choice(bundle)).write_text(json.dumps(data))
    with edgecv.load(bundle) as model:
        info = model.info
    assert (info.chosen_by == "tuned") == (not info.notes)
    assert info.threads <= 4


def test_a_folder_or_a_pipe_in_place_of_a_record(bundle: Path) -> None:
    place = tuned.write(choice(bundle))
    place.unlink()
    place.mkdir()
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"
    place.rmdir()
    os.mkfifo(place)
    with edgecv.load(bundle) as model:
        assert model.info.chosen_by == "order"


def test_a_record_is_of_these_bytes(bundle: Path, tmp_path: Path) -> None:
    tuned.write(choice(bundle))
    other = pack(
        [tmp_path / "one.null.json", tmp_path / "two.null.json"], tmp_path / "c.edgecv",
        hints=Hints(head="end2end", labels=("x", "y")), trusted=True,
    )  # fmt: skip
    with edgecv.load(other) as model:
        assert (model.info.chosen_by, model.info.notes) == ("order", ())


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [(os, "sched_getaffinity", {1, 3}), (host, "cpu_quota", 1.5)], ids=["affinity", "quota"],
)  # fmt: skip
def test_fewer_cpus_are_another_machine_and_it_is_said(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, value: object
) -> None:
    tuned.write(choice(bundle, plan=Plan(1, 4)))
    with edgecv.load(bundle) as model:
        assert model.info.threads == 4
    monkeypatch.setattr(where, name, lambda _: value)
    with edgecv.load(bundle) as model:
        assert (model.info.chosen_by, model.info.threads) == ("order", 2)
        (note,) = model.info.notes
    assert re.search("tuned for .*; 4 CPUs; this is .*; 2 CPUs: run edgecv tune here", note)
    tuned.write(choice(bundle, plan=Plan(1, 2)))
    with edgecv.load(bundle) as model:
        assert (model.info.chosen_by, model.info.notes) == ("tuned", ())
    assert tuned.forget(choice(bundle).digest) == 2
    assert not (Path(tuned.folder()) / choice(bundle).digest).exists()


def test_as_many_cpus_of_another_kind_are_another_machine(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "fast_cpus", lambda: (2, 3))
    assert tuned.identity().endswith("; 4 CPUs, 2 of 4 fast")
    pinned = choice(bundle, cpu=tuned.identity((2, 3)), affinity=(2, 3), plan=Plan(1, 2))
    tuned.write(choice(bundle))
    tuned.write(pinned)
    # As it is, then as ``taskset -c 2,3`` makes it, then on as many slow ones.
    for cpus, variant, threads, chosen in (
        ({0, 1, 2, 3}, "null-fp32-2", 1, "tuned"),
        ({2, 3}, "null-fp32-2", 2, "tuned"),
        ({0, 1}, "null-fp32", 2, "order"),
    ):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cpus=cpus: cpus)
        with edgecv.load(bundle) as model:
            info = model.info
        assert (info.variant, info.threads, info.chosen_by) == (variant, threads, chosen)


def test_forgetting_leaves_other_machines_alone(bundle: Path) -> None:
    mine, other = choice(bundle), choice(bundle, cpu="Another CPU; avx2; 4 CPUs")
    tuned.write(mine)
    place = tuned.write(other)
    broken = place.with_name("b.json")
    broken.write_text("{")
    assert tuned.forget(mine.digest) == 1
    assert place.exists()
    assert broken.exists()
    with edgecv.load(bundle) as model:
        assert model.info.notes[0].startswith("tuned for Another CPU; avx2; 4 CPUs; this is ")
