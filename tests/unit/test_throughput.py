"""Many images at once: the order is that of the images, and each has its result or its error."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import host
from edgecv.errors import ImageError, InferenceError, UsageError
from edgecv.plan import Plan
from edgecv.throughput import predict_all
from tests import models
from tests.pipelines import frame_of, mean_model, settled, threads


def numbers(results: Any) -> list[int]:
    """Read back the brightness of each image."""
    return [round(float(result.classes.score[0]) * 255) for result in results]


@pytest.mark.parametrize("plan", [None, Plan(1), Plan(4), Plan(3, batch=4)], ids=str)
def test_results_come_in_the_order_of_the_images(tmp_path: Path, plan: Plan | None) -> None:
    chance = random.Random(0)
    with mean_model(tmp_path, batch=None, pause=lambda: chance.random() / 100) as model:
        images = [frame_of(i).image for i in range(150)]
        run = predict_all(model, iter(images), plan=plan)
        assert numbers(run) == list(range(150))
    assert run.stats.images == 150
    assert run.stats.errors == 0
    assert run.stats.images_per_s is not None
    assert run.stats.stage_ms["infer"] > 0
    assert not settled()


def test_they_are_those_of_single_calls(tmp_path: Path) -> None:
    model = models.onnx_detector(tmp_path / "d.onnx")
    paths = [models.write_image(tmp_path / f"{i}.png", i, (40 + i, 60)) for i in range(9)]
    with edgecv.load(model, head="yolo", trusted=True) as opened:
        expected = [opened(path) for path in paths]
        for plan in (None, Plan(2, 1, 2)):
            got = list(predict_all(opened, paths, plan=plan))
            assert [r.source for r in got] == [str(path) for path in paths]
            for a, b in zip(got, expected, strict=True):
                assert a.value.to_json(a.labels) == b.value.to_json(b.labels)
                assert a.source_hw == b.source_hw


@pytest.mark.parametrize("none", ["workers", "threads", "streams", "batch"])
def test_a_plan_with_none_of_something_is_refused(tmp_path: Path, none: str) -> None:
    with mean_model(tmp_path) as model:
        plan = Plan(2).replace(**{none: 0})
        with pytest.raises(UsageError, match="plan: expected 1 or more"):
            predict_all(model, [frame_of(0).image], plan=plan)
    assert not settled()


def test_no_images(tmp_path: Path) -> None:
    with mean_model(tmp_path) as model:
        run = predict_all(model, [])
        assert list(run) == []
        assert list(run) == []
        assert run.stats.images_per_s is None
    assert not settled()


def test_errors_keep_their_place(tmp_path: Path) -> None:
    images: list[Any] = [frame_of(i).image for i in range(20)]
    images[4], images[11] = b"", "missing.png"
    with mean_model(tmp_path, batch=None) as model:
        for plan in (Plan(3), Plan(2, batch=4)):
            run = predict_all(model, images, errors="keep", plan=plan)
            got = list(run)
            assert [i for i, one in enumerate(got) if isinstance(one, ImageError)] == [4, 11]
            good = [i for i in range(20) if i not in (4, 11)]
            assert numbers(got[i] for i in good) == good
            assert (run.stats.images, run.stats.errors) == (20, 2)
        run = predict_all(model, images)
        assert numbers(next(run) for _ in range(4)) == [0, 1, 2, 3]
        with pytest.raises(ImageError):
            next(run)
        assert list(run) == []
    assert not settled()


def test_an_error_of_the_iterable_comes_after_the_results_before_it(tmp_path: Path) -> None:
    def images() -> Iterator[Any]:
        for i in range(7):
            yield frame_of(i).image
        raise KeyError("gone")

    with mean_model(tmp_path, pause=lambda: 0.005) as model:
        run = predict_all(model, images())
        assert numbers(next(run) for _ in range(7)) == list(range(7))
        with pytest.raises(KeyError, match="gone"):
            next(run)
    assert not settled()


def test_an_error_of_the_engine_ends_the_run(tmp_path: Path) -> None:
    with mean_model(tmp_path, fail_at=5, error=InferenceError("broken")) as model:
        run = predict_all(model, (frame_of(i).image for i in range(1000)))
        with pytest.raises(InferenceError, match="broken"):
            list(run)
        assert list(run) == []
    assert not settled()


def test_few_images_are_held_at_a_time(tmp_path: Path) -> None:
    fetched = 0

    def images() -> Iterator[Any]:
        nonlocal fetched
        for i in range(500):
            fetched += 1
            yield frame_of(i).image

    with mean_model(tmp_path) as model:
        ahead = []
        for done, _ in enumerate(predict_all(model, images(), plan=Plan(3)), 1):
            ahead.append(fetched - done)
        assert max(ahead) <= 12


@pytest.mark.skipif(host.usable_cpus() == 1, reason="one CPU has one plan, and nothing to weigh")
@pytest.mark.parametrize(("count", "pause_s", "alone"), [(8, 0.0, True), (4, 0.1, False)])
def test_a_few_images_are_not_worth_workers(
    tmp_path: Path, count: int, pause_s: float, alone: bool
) -> None:
    with mean_model(tmp_path, pause=lambda: pause_s) as model:
        images: list[Any] = [frame_of(i).image for i in range(count)]
        images[2] = np.zeros((0, 0, 3), np.uint8)
        with predict_all(model, images, errors="keep") as run:
            found = [next(run), next(run), next(run)]
            assert bool(threads()) != alone
            found += run
        assert numbers(found[:2] + found[3:]) == [0, 1, *range(3, count)]
        assert isinstance(found[2], ImageError)
        assert (run.stats.images, run.stats.errors) == (count, 1)
        assert (run.stats.plan.workers == 1) == alone
        assert list(predict_all(model, images[:1]))
        # A broken one tells nothing of the others.
        with predict_all(model, [images[2], *images[:2], *images[3:]], errors="keep") as run:
            list(run)
        assert (run.stats.plan.workers == 1) == alone
        with pytest.raises(ImageError):
            list(predict_all(model, images))


def test_a_finished_result_does_not_wait_for_the_next_one(tmp_path: Path) -> None:
    # Results are handed out in groups; the third image takes so long that its group never fills.
    go_on = threading.Event()
    seen = 0

    def pause() -> float:
        nonlocal seen
        seen += 1
        if seen == 3:
            assert go_on.wait(20)
        return 0

    with mean_model(tmp_path, pause=pause) as model:
        images = [frame_of(i).image for i in range(12)]
        with predict_all(model, images, plan=Plan(1)) as run:
            assert numbers([next(run), next(run)]) == [0, 1]
            assert seen == 3
            go_on.set()
            assert numbers(run) == list(range(2, 12))


@pytest.mark.parametrize("how", ["break", "close", "with", "drop"])
def test_threads_end_with_the_loop(tmp_path: Path, how: str) -> None:
    with mean_model(tmp_path, pause=lambda: 0.002) as model:
        images = (frame_of(i % 200).image for i in range(10**6))
        if how == "break":
            for _ in predict_all(model, images):
                break
        elif how == "with":
            with predict_all(model, images) as run:
                next(run)
                assert threads()
        else:
            run = predict_all(model, images)
            next(run)
            if how == "close":
                run.close()
                assert list(run) == []
            else:
                del run
                gc.collect()
        # They are waited for, but not for long: one that goes on would still be here.
        assert not threads()
        model(frame_of(0).image)


@pytest.mark.parametrize("images", ["a.png", b"", frame_of(0), frame_of(0).image, Path("a.png")])
def test_one_image_is_not_several(tmp_path: Path, images: Any) -> None:
    with mean_model(tmp_path) as model:
        with pytest.raises(UsageError, match="one image"):
            predict_all(model, images)
        with pytest.raises(UsageError, match="expected raise or keep; got 'ignore'"):
            predict_all(model, [], errors="ignore")  # type: ignore[arg-type]
