"""Worker threads that turn images into results, as many and in such a way as was measured best.

A worker takes an image through all stages, from bytes to result, so that one decodes while another
infers and no tensor is handed from thread to thread. How many of them keep the CPUs busy, and how
many inferences of how many threads the engine should work on, depends on the model, the engine and
the machine: a few plans are tried on the first images, each on some, and the fastest goes on. No
image is run twice for that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edgecv import host
from edgecv.errors import EdgecvError, ImageError, UsageError
from edgecv.plan import Plan
from edgecv.record import Record

if TYPE_CHECKING:
    from edgecv.codecs import Limits
    from edgecv.model import ImageLike, Model
    from edgecv.result import Result

Outcome = Any
"""A `Result`, or the `ImageError` that came instead."""

MIN_IMAGES, MIN_S, MAX_S = 16, 0.25, 2.0
"""A plan is tried on so many images and so long, whichever takes longer, but at most MAX_S."""
GAIN = 1.03
"""So much faster a plan must be for the engine to be opened once more."""
WORTH_S = 3.0
"""Where what is left takes less, nothing is tried."""


class Trial(Record):
    """What a plan reached on the first images.

    Attributes:
        plan: that was tried.
        images: that were timed.
        images_per_s: results a second; None where it could not be measured.
        reason: why not.
    """

    plan: Plan
    images: int = 0
    images_per_s: float | None = None
    reason: str = ""


def plans(model: Model, cpus: int | None = None) -> tuple[Plan, ...]:
    """List what is worth trying on this machine, first of all the engine as it is.

    A model that was loaded as tuned for throughput has its plan, and nothing else is tried.

    Args:
        model: as opened by the caller.
        cpus: usable ones; None asks the system.
    """
    if model.plan is not None:
        return (model.plan,)
    cpus = host.usable_cpus() if cpus is None else cpus
    opened = model.session
    found = [Plan(max(2, cpus // opened.threads))]
    if cpus > 1:
        if opened.threads != 1 or opened.streams is not None:
            found.append(Plan(cpus, 1, cpus))
        # One more than CPUs: somebody decodes while the others wait for their turn.
        found.append(found[-1].replace(workers=cpus + 1))
        if cpus >= 4:
            found.append(Plan(cpus // 2 + 1, 2, cpus // 2))
        if model.batches:
            found.append(Plan(cpus, 1, cpus, 4))
    return tuple(dict.fromkeys(found))


def run(model: Model, images: Sequence[ImageLike], limits: Limits | None = None) -> list[Outcome]:
    """Run on a few images; an image that cannot be used becomes its error, the others go on."""
    if len(images) > 1:
        try:
            return list(model.batch(images, limits=limits))
        except ImageError:
            pass  # one by one tells which
    outcomes: list[Result | ImageError] = []
    for image in images:
        try:
            outcomes.append(model(image, limits=limits))
        except ImageError as error:
            outcomes.append(error)
    return outcomes


class Crew:
    """Threads that take jobs, run a model on them, and give outcomes; made anew for each run.

    Args:
        model: stays the caller's; whatever else is opened is closed with the last thread.
        take: called by workers with the most jobs that they can use; waits for at least one, and
            returns none when there will be no more. A job's first item is the image.
        give: called with each job and its outcome.
        fail: called with whatever else a worker raises; the worker then ends.
        tries: what to choose from; a single plan is used without any trial.
        left: tells how many images are still to come, or None where nobody knows.
        limits: on encoded images.

    Raises:
        UsageError: a plan with less than one of anything.
    """

    def __init__(
        self,
        model: Model,
        take: Callable[[int], Sequence[tuple[Any, ...]]],
        give: Callable[[tuple[Any, ...], Outcome], None],
        fail: Callable[[BaseException], None],
        tries: Sequence[Plan],
        *,
        left: Callable[[], int | None] = lambda: None,
        limits: Limits | None = None,
    ) -> None:
        for plan in tries:
            if min(plan.workers, plan.streams, plan.batch) < 1 or plan.threads == 0:
                raise UsageError("", where="plan", expected="1 or more of each", got=str(plan))
        self._given, self._take, self._give, self._fail = model, take, give, fail
        self._left, self._limits = left, limits
        self._tries = tuple(tries)
        self._changed = threading.Condition(threading.RLock())
        self._engines: dict[tuple[int | None, int], Model] = {}
        self._plan, self._model = self._tries[0], model
        self._next = 1
        self._settled = len(self._tries) == 1
        self._switching = self._stopped = False
        self._inside = self._seen = 0
        self._since: float | None = None
        self._done: list[Trial] = []
        if self._plan.threads is not None:
            self._model = self._engine(self._plan)
        workers = max(plan.workers for plan in self._tries)
        self._alive = workers
        self.threads = [
            threading.Thread(target=self._work, args=(i,), name=f"edgecv-worker-{i}", daemon=True)
            for i in range(workers)
        ]

    @property
    def plan(self) -> Plan:
        """The plan in use."""
        return self._plan

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was tried so far."""
        return tuple(self._done)

    def start(self) -> None:
        """Start the threads."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Tell the workers to end after the image at hand; `take` must not wait any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _work(self, number: int) -> None:
        try:
            while self._my_turn(number):
                jobs = self._take(self._plan.batch)
                if not jobs:
                    break
                model = self._enter()
                try:
                    outcomes = run(model, [job[0] for job in jobs], self._limits)
                finally:
                    self._leave(len(jobs))
                for job, outcome in zip(jobs, outcomes, strict=True):
                    self._give(job, outcome)
        except BaseException as error:
            self._fail(error)
        finally:
            self._end()

    def _my_turn(self, number: int) -> bool:
        """Wait until the plan needs this worker; return False where none will."""
        with self._changed:
            while not self._stopped:
                if number < self._plan.workers:
                    return True
                if self._settled:
                    return False
                self._changed.wait()
        return False

    def _enter(self) -> Model:
        """Wait while plans change; return the model to run."""
        with self._changed:
            while self._switching and not self._stopped:
                self._changed.wait()
            self._inside += 1
            return self._model

    def _leave(self, images: int) -> None:
        """Count what was done, and change the plan after the last image of a trial."""
        with self._changed:
            self._inside -= 1
            if self._settled:
                return
            if not self._switching:
                self._count(images)
            if not self._switching or self._inside or self._stopped:
                return
        self._switch()

    def _count(self, images: int) -> None:
        """Time the plan that is tried, from the first image of each of its workers on."""
        now = perf_counter()
        plan = self._plan
        self._seen += images
        if self._since is None:
            if self._seen >= plan.workers * plan.batch:
                self._since, self._seen = now, 0
            return
        spent = now - self._since
        if spent < MAX_S and (spent < MIN_S or self._seen < MIN_IMAGES):
            return
        rate = self._seen / spent
        self._done.append(Trial(plan, self._seen, round(rate, 2)))
        left = self._left()
        if len(self._done) == 1 and left is not None and left / rate < WORTH_S:
            self._settled = True
            self._changed.notify_all()
        else:
            self._switching = True

    def _switch(self) -> None:
        """Go on with the next plan that can be opened, or with the best; nothing runs meanwhile."""
        plan: Plan | None = None
        while plan is None and self._next < len(self._tries) and not self._stopped:
            plan = self._tries[self._next]
            self._next += 1
            try:
                model = self._engine(plan)
            except EdgecvError as error:
                self._done.append(Trial(plan, reason=error.message))
                plan = None
        settled = plan is None
        if plan is None:
            plan = self._best()
            model = self._engine(plan)
        with self._changed:
            self._plan, self._model, self._settled = plan, model, settled
            self._seen, self._since, self._switching = 0, None, False
            if settled:
                self._close_others(model)
            self._changed.notify_all()

    def _best(self) -> Plan:
        """Choose the fastest; as opened, unless another one is faster beyond doubt."""
        measured = [(t.images_per_s, t.plan) for t in self._done if t.images_per_s is not None]
        rate, plan = max(measured, key=lambda pair: pair[0])
        return plan if rate >= GAIN * measured[0][0] else measured[0][1]

    def _engine(self, plan: Plan) -> Model:
        """Return the model with the engine that a plan wants, opened once."""
        # With the plan that was tuned for it, it was opened for that plan, whatever the engine made
        # of it.
        if plan.threads is None or plan == self._given.plan:
            return self._given
        opened = self._given.session
        if plan.threads == opened.threads and opened.streams in (None, plan.streams):
            return self._given
        key = plan.threads, plan.streams
        if key not in self._engines:
            self._engines[key] = self._given.reopened(threads=plan.threads, streams=plan.streams)
        return self._engines[key]

    def _close_others(self, used: Model | None) -> None:
        for key, model in list(self._engines.items()):
            if model is not used:
                del self._engines[key]
                model.close()

    def _end(self) -> None:
        with self._changed:
            self._alive -= 1
            last = not self._alive
            self._changed.notify_all()
        if last:
            self._close_others(None)
