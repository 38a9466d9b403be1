"""How a plan is chosen: by what was measured, on images that count, without running one twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import crew
from edgecv.crew import Crew, plans
from edgecv.errors import ImageError, ModelLoadError
from edgecv.model import Model
from edgecv.plan import Plan
from tests import models
from tests.pipelines import mean_model, settled


class Jobs:
    """Hands out so many images and keeps the outcomes."""

    def __init__(self, images: Sequence[Any]) -> None:
        self.todo = list(enumerate(images))
        self.outcomes: dict[int, Any] = {}
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()

    def take(self, most: int) -> list[tuple[Any, int]]:
        with self.lock:
            taken, self.todo = self.todo[:most], self.todo[most:]
            return [(image, i) for i, image in taken]

    def give(self, job: tuple[Any, ...], outcome: Any) -> None:
        with self.lock:
            assert job[1] not in self.outcomes
            self.outcomes[job[1]] = outcome

    def run(self, model: Model, tries: Sequence[Plan], **more: Any) -> Crew:
        made = Crew(model, self.take, self.give, self.errors.append, tries, **more)
        made.start()
        for thread in made.threads:
            thread.join(30)
        assert not settled()
        return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of a few images."""
    monkeypatch.setattr(crew, "MIN_S", 0.0)


def paced(model: Model, seconds: Callable[[int, int], float]) -> list[tuple[int, int]]:
    """Make engines that are opened for (threads, streams) as slow as told; list those opened."""
    opened = []
    reopen = model._reopen
    assert reopen is not None

    def again(threads: int, streams: int) -> Any:
        opened.append((threads, streams))
        session = reopen(threads, streams)
        inner, pause = session.run, seconds(threads, streams)

        def run(inputs: Any) -> Any:
            time.sleep(pause)
            return inner(inputs)

        session.run = run  # type: ignore[method-assign]
        return session

    model._reopen = again
    return opened


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("faster", "chosen"), [("many", 1), ("opened", 0)])
def test_the_faster_plan_is_chosen(tmp_path: Path, faster: str, chosen: int) -> None:
    slow = {"many": 0.02, "opened": 0.0}[faster]
    other = 0.02 - slow
    jobs = Jobs([models.image(i, (16, 24)) for i in range(120)])
    with mean_model(tmp_path, pause=lambda: slow) as model:
        opened = paced(model, lambda threads, streams: other)
        tries = (Plan(2), Plan(2, 3, 2))
        made = jobs.run(model, tries)
    assert made.plan == tries[chosen]
    assert [trial.plan for trial in made.trials] == list(tries)
    assert all(trial.images >= crew.MIN_IMAGES for trial in made.trials)
    assert opened == [(3, 2)]
    assert sorted(jobs.outcomes) == list(range(120))
    assert not jobs.errors


@pytest.mark.usefixtures("quick")
def test_an_engine_that_cannot_be_opened_is_a_trial_with_a_reason(tmp_path: Path) -> None:
    def refuse(threads: int, streams: int) -> Any:
        raise ModelLoadError("no room")

    jobs = Jobs([models.image(i, (16, 24)) for i in range(100)])
    with mean_model(tmp_path) as model:
        model._reopen = refuse
        made = jobs.run(model, (Plan(2), Plan(2, 3, 2)))
    assert made.plan == Plan(2)
    assert [t.reason for t in made.trials] == ["", "no room"]
    assert len(jobs.outcomes) == 100


def test_nothing_is_tried_where_little_is_left(tmp_path: Path) -> None:
    jobs = Jobs([models.image(i, (16, 24)) for i in range(3000)])
    with mean_model(tmp_path) as model:
        opened = paced(model, lambda *_: 0.0)
        made = jobs.run(model, (Plan(2), Plan(2, 3, 2)), left=lambda: len(jobs.todo))
    assert made.plan == Plan(2)
    assert len(made.trials) == 1
    assert not opened


@pytest.mark.usefixtures("quick")
def test_engines_that_were_opened_are_closed_and_the_callers_is_not(tmp_path: Path) -> None:
    jobs = Jobs([models.image(i, (16, 24)) for i in range(100)])
    sessions = []
    with mean_model(tmp_path) as model:
        reopen = model._reopen
        assert reopen is not None
        model._reopen = lambda t, s: sessions.append(reopen(t, s)) or sessions[-1]  # type: ignore[func-returns-value]
        jobs.run(model, (Plan(1), Plan(2, 3, 2), Plan(3, 4, 3)))
        assert len(sessions) == 2
        assert all(session.engine is None for session in sessions)  # type: ignore[attr-defined]
        model(models.image())


def test_a_pinned_plan_opens_its_engine_at_once(tmp_path: Path) -> None:
    jobs = Jobs([models.image(i, (16, 24)) for i in range(10)])
    with mean_model(tmp_path) as model:
        opened = paced(model, lambda *_: 0.0)
        made = jobs.run(model, (Plan(2, 5, 2),))
    assert opened == [(5, 2)]
    assert (made.plan, made.trials) == (Plan(2, 5, 2), ())
    assert len(jobs.outcomes) == 10


def test_a_batch_with_a_bad_image(tmp_path: Path) -> None:
    images: list[Any] = [models.image(i, (16, 24)) for i in range(10)]
    images[3] = b"no image"
    jobs = Jobs(images)
    with mean_model(tmp_path, batch=None) as model:
        assert model.batches
        jobs.run(model, (Plan(2, batch=4),))
    kinds = [isinstance(jobs.outcomes[i], ImageError) for i in range(10)]
    assert kinds == [i == 3 for i in range(10)]


def test_an_error_of_the_engine_reaches_the_caller(tmp_path: Path) -> None:
    jobs = Jobs([models.image(i, (16, 24)) for i in range(10)])
    with mean_model(tmp_path, fail_at=3, error=MemoryError("full")) as model:
        jobs.run(model, (Plan(1),))
    assert [str(error) for error in jobs.errors] == ["full"]
    assert sorted(jobs.outcomes) == [0, 1]


def test_plans_for_this_machine(tmp_path: Path) -> None:
    path = models.onnx_detector(tmp_path / "d.onnx")
    with edgecv.load(path, head="yolo", trusted=True, threads=2) as model:
        assert plans(model, 1) == (Plan(2),)
        assert plans(model, 2) == (Plan(2), Plan(2, 1, 2), Plan(3, 1, 2))
        assert Plan(3, 2, 2) in plans(model, 4)
        assert len(set(plans(model, 8))) == len(plans(model, 8))
    with edgecv.load(path, head="yolo", trusted=True, threads=1) as model:
        # ONNX Runtime with one thread takes any number of callers: no need to open it anew.
        assert plans(model, 2) == (Plan(2), Plan(3))
    free = models.onnx_detector(tmp_path / "n.onnx", batch="N")
    hints = edgecv.Hints(size_hw=models.SIZE_HW)
    with edgecv.load(free, head="yolo", trusted=True, threads=2, hints=hints) as model:
        assert Plan(2, 1, 2, 4) in plans(model, 2)
    assert str(Plan(2, 1, 2, 4)) == "2 workers, engine 2 x 1 threads, batches of 4"
    assert str(Plan(2)) == "2 workers, engine as opened"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_model_opened_once_more_says_the_same(tmp_path: Path, backend: str) -> None:
    path = models.onnx_detector(tmp_path / "d.onnx")
    with edgecv.load(path, head="yolo", trusted=True, backend=backend, threads=2) as model:
        image = models.image()
        expected = model(image)
        again = model.with_options(confidence=0.1).reopened(threads=1, streams=2)
        assert again.session.threads == 1
        assert again.info.threads == 1
        assert model.info.threads == 2
        assert again.session.streams in (2, None)
        assert again.options.confidence == 0.1
        got = again.with_options(confidence=model.options.confidence)(image)
        assert got.value.difference(expected.value).score < 1e-5
        again.close()
        assert len(model(image).detections) == len(expected.detections)


def test_an_engine_opened_for_its_plan_is_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An engine may read back other numbers than it was asked for.
    with mean_model(tmp_path) as model:
        model.plan = Plan(2, 64, 8)
        monkeypatch.setattr(Model, "reopened", None)
        jobs = Jobs([np.zeros((4, 4, 3), np.uint8)] * 5)
        made = jobs.run(model, (model.plan,))
    assert (len(jobs.outcomes), jobs.errors, made.plan) == (5, [], Plan(2, 64, 8))
