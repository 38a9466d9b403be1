"""Many images through one model as fast as the CPUs allow: order kept, memory bounded."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from edgecv.crew import Crew, Outcome, Trial, plans, run
from edgecv.errors import ImageError, UsageError
from edgecv.plan import Plan
from edgecv.record import Record
from edgecv.types import Frame

if TYPE_CHECKING:
    from edgecv.codecs import Limits
    from edgecv.model import ImageLike, Model

STOP_S = 1.0
"""`Predictions.close` waits no longer; a worker that is inside the engine ends by itself."""
_STAGES = ("decode", "preprocess", "infer", "postprocess")
_AHEAD, _LOW = 4, 1
"""Images that wait for each worker after the iterating thread has run, and before it runs again."""
_PATIENCE_S = 0.02
"""A finished result waits no longer for that."""
_FEW_S = 0.1
"""Where all images together take less, waking threads costs more than they save: measured with
models of 2 to 15 ms on two CPUs."""


class Throughput(Record):
    """What a run over many images reached.

    Attributes:
        images: results given out, errors among them.
        errors: images that could not be used.
        seconds: from the first image to the last result.
        images_per_s: over all of it, trials included; None before the first result.
        stage_ms: mean wall time of each stage of an image; stages of several images overlap.
        plan: how images are worked on now.
        trials: what was tried on the first images.
    """

    images: int
    errors: int
    seconds: float
    images_per_s: float | None
    stage_ms: dict[str, float]
    plan: Plan
    trials: tuple[Trial, ...]


def predict_all(
    model: Model,
    images: Iterable[ImageLike],
    *,
    errors: Literal["raise", "keep"] = "raise",
    plan: Plan | None = None,
    limits: Limits | None = None,
) -> Predictions:
    """Run on many images, several at the same time, and yield the results in their order.

    How many at the same time, and with how many inferences in the engine, is measured on the first
    images where enough of them follow, unless `edgecv tune` has found it for the model;
    `Predictions.stats` says what was chosen.

    Args:
        model: not changed; it may be used by others meanwhile.
        images: any of the kinds that a call takes. They are fetched as they are needed, by the
            thread that iterates; at most four for each worker are held at a time.
        errors: what an image does that cannot be used: ``raise`` its `ImageError` when its turn
            comes, after which nothing follows; or ``keep`` it: it is yielded in place of a result.
        plan: pins what would be measured, such as the `Throughput.plan` of an earlier run.
        limits: on pixels and bytes of encoded images; None for the defaults.

    Returns:
        An iterator of `Result`, and of `ImageError` with ``keep``. Its threads end with it: when it
        is exhausted, closed, or dropped.

    Raises:
        UsageError: one image in place of several, an unknown way with errors, or a plan without
            workers.
    """
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Frame) or (
        getattr(images, "ndim", 4) < 4
    ):
        raise UsageError("one image", where="images", expected="several", got=type(images).__name__)
    if errors not in ("raise", "keep"):
        raise UsageError("", where="errors", expected="raise or keep", got=repr(errors))
    total = len(images) if isinstance(images, Sized) else None
    run = _Run(model, total, plans(model) if plan is None else (plan,), limits)
    return Predictions(run, iter(images), keep=errors == "keep")


class Predictions:
    """The results of `predict_all`, an iterator; in a ``with`` block it is closed at the end."""

    def __init__(self, run: _Run, images: Iterator[ImageLike], *, keep: bool) -> None:
        self._run, self._images, self._keep = run, images, keep
        # Runs when this object is dropped, and before the interpreter ends.
        self._closer = weakref.finalize(self, _Run.close, run)

    def __iter__(self) -> Predictions:
        return self

    def __next__(self) -> Outcome:
        if not self._closer.alive:
            raise StopIteration
        try:
            outcome = self._run.next(self._images)
        except BaseException:
            self.close()
            raise
        if isinstance(outcome, ImageError) and not self._keep:
            self.close()
            raise outcome
        return outcome

    @property
    def stats(self) -> Throughput:
        """What was reached so far, and how."""
        return self._run.stats()

    def close(self) -> None:
        """End the workers and let go of the engines that they opened; may be called twice."""
        self._closer()

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Slot:
    """An image's place in the order."""

    __slots__ = ("done", "outcome")

    def __init__(self) -> None:
        self.done = False
        self.outcome: Outcome = None


class _Run:
    """What the iterator and the workers share."""

    def __init__(
        self, model: Model, total: int | None, tries: Sequence[Plan], limits: Limits | None
    ) -> None:
        lock = threading.RLock()
        self._work, self._ready = threading.Condition(lock), threading.Condition(lock)
        self._todo: deque[tuple[ImageLike, _Slot]] = deque()
        self._order: deque[_Slot] = deque()
        self._model, self._limits = model, limits
        self._total, self._fetched = total, 0
        # Until an image tells that the others are worth a crew.
        self._alone = total is not None and len(tries) > 1
        self._longest_s = 0.0
        self._ended = self._stopped = False
        self._broken: BaseException | None = None
        self._last_error: Exception | None = None
        self._start: float | None = None
        self._last = 0.0
        self._images = self._errors = 0
        self._sums = dict.fromkeys(_STAGES, 0.0)
        busy = max(plan.workers * plan.batch for plan in tries)
        self._ahead, self._low = _AHEAD * busy, _LOW * busy
        self._woken = 0.0
        self._crew = Crew(
            model, self._take, self._give, self._fail, tries, left=self._left, limits=limits
        )

    def next(self, images: Iterator[ImageLike]) -> Outcome:
        """Fetch images for the workers, and return the next outcome in order."""
        if self._start is None:
            self._start = perf_counter()
            if not self._alone:
                self._crew.start()
        if self._alone and not self._over():
            return self._by_itself(next(images))
        while not self._ended and not self._over() and len(self._order) < self._ahead:
            try:
                image = next(images)
            except StopIteration:
                self._end(None)
            except Exception as error:
                # What came before it is given out first.
                self._end(error)
            else:
                with self._work:
                    slot = _Slot()
                    self._fetched += 1
                    self._order.append(slot)
                    self._todo.append((image, slot))
                    self._work.notify()
        return self._await()

    def _await(self) -> Outcome:
        with self._ready:
            while self._order and not self._order[0].done and not self._over():
                self._ready.wait(_PATIENCE_S)
            if self._broken is not None:
                raise self._broken
            if self._stopped or not self._order:
                error, self._last_error = self._last_error, None
                raise StopIteration if error is None or self._stopped else error
            return self._count(self._order.popleft().outcome)

    def _by_itself(self, image: ImageLike) -> Outcome:
        """Run on an image in this thread, and call the crew once the others are worth it."""
        start = perf_counter()
        (outcome,) = run(self._model, [image], self._limits)
        self._fetched += 1
        # One that is broken, or small, says little of the others; the first one often takes longer.
        self._longest_s = max(self._longest_s, perf_counter() - start)
        if (self._left() or 0) * self._longest_s > _FEW_S:
            self._alone = False
            self._crew.start()
        return self._count(outcome)

    def _count(self, outcome: Outcome) -> Outcome:
        self._images += 1
        self._last = perf_counter()
        if isinstance(outcome, ImageError):
            self._errors += 1
        else:
            for stage in _STAGES:
                self._sums[stage] += getattr(outcome.timings_ms, stage)
        return outcome

    def _over(self) -> bool:
        return self._stopped or self._broken is not None

    def _end(self, error: Exception | None) -> None:
        with self._work:
            self._ended, self._last_error = True, error
            self._work.notify_all()

    def _left(self) -> int | None:
        return None if self._total is None else self._total - self._fetched

    def _take(self, most: int) -> Sequence[tuple[ImageLike, _Slot]]:
        with self._work:
            while not self._todo and not self._ended and not self._over():
                self._work.wait()
            if self._over():
                return ()
            return [self._todo.popleft() for _ in range(min(most, len(self._todo)))]

    def _give(self, job: tuple[Any, ...], outcome: Outcome) -> None:
        slot = job[1]
        with self._ready:
            slot.outcome, slot.done = outcome, True
            # Woken for every image, the iterating thread would keep taking the interpreter from
            # the workers: a tenth of what a light model can reach.
            if not self._order or not self._order[0].done:
                return
            now = perf_counter()
            if len(self._todo) <= self._low or now - self._woken >= _PATIENCE_S:
                self._woken = now
                self._ready.notify()

    def _fail(self, error: BaseException) -> None:
        with self._ready:
            self._broken = self._broken or error
            self._crew.stop()
            self._ready.notify_all()
            self._work.notify_all()

    def stats(self) -> Throughput:
        seconds = 0.0 if self._start is None else max(0.0, self._last - self._start)
        good = max(1, self._images - self._errors)
        return Throughput(
            images=self._images,
            errors=self._errors,
            seconds=round(seconds, 4),
            images_per_s=round(self._images / seconds, 2) if seconds else None,
            stage_ms={stage: round(ms / good, 4) for stage, ms in self._sums.items()},
            plan=Plan(1) if self._alone else self._crew.plan,
            trials=self._crew.trials,
        )

    def close(self) -> None:
        """Stop the workers and wait for them, for STOP_S at most."""
        with self._work:
            self._stopped = True
            self._todo.clear()
            self._work.notify_all()
            self._ready.notify_all()
        self._crew.stop()
        join(self._crew.threads, STOP_S)


def join(
    threads: Iterable[threading.Thread],
    seconds: float,
    clock: Callable[[], float] = perf_counter,
) -> list[threading.Thread]:
    """Wait for threads, for so many seconds in all; return those that still run."""
    deadline = clock() + seconds
    running = []
    for thread in threads:
        if thread is threading.current_thread() or thread.ident is None:
            continue
        thread.join(max(0.0, deadline - clock()))
        if thread.is_alive():
            running.append(thread)
    return running
