"""Streams of frames with results: ``for frame, result in edgecv.stream(model, source)``."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgecv.counters import PipelineStats
from edgecv.errors import UsageError
from edgecv.events import Listener, ignore
from edgecv.intake import Gate
from edgecv.pipeline import Hook, Pipeline, Policy
from edgecv.types import Frame, Sink, Source

if TYPE_CHECKING:
    from edgecv.model import Model
    from edgecv.motion_gate import MotionGateOptions
    from edgecv.plan import Plan
    from edgecv.result import Result
    from edgecv.zone_config import ZoneConfig

SourceLike = Any
"""An address of `edgecv.source.open_source`, or a `Source`."""
SinkLike = str | Sink


def stream(
    model: Model | str | os.PathLike[str],
    source: SourceLike | Sequence[SourceLike],
    *,
    track: bool | str = False,
    sinks: Iterable[SinkLike] = (),
    policy: Policy | None = None,
    zones: str | os.PathLike[str] | ZoneConfig | None = None,
    motion: bool | MotionGateOptions = False,
    gate: Gate | None = None,
    hooks: Sequence[Hook] = (),
    most: int | None = None,
    plan: Plan | None = None,
    listener: Listener = ignore,
    tracker_options: dict[str, Any] | None = None,
    **source_options: Any,
) -> Stream:
    """Run a model on the frames of one stream or of several, and yield (frame, result).

    Nothing is opened before the first result is asked for. Breaking out of the loop, an error, and
    the end of the sources stop all threads; in a ``with`` block they have stopped when it ends.

    Args:
        model: stays open; or the path of a model, which is opened and closed here.
        source: what `edgecv.source.open_source` takes, a `Source`, or a list of these. The results
            of several are interleaved, and `Frame.stream` tells them apart. A list of nothing but
            image files is one stream.
        track: give objects ids: True, or the name of a tracker. Each stream has its own.
        sinks: addresses, such as ``found.jsonl`` or ``mqtt://host/topic``, or `Sink` objects;
            they are closed at the end.
        policy: ``latest`` drops frames that newer ones replace, ``every`` makes the source wait;
            None takes ``latest`` for live sources and ``every`` for the rest.
        zones: what to count, as a JSON file or read from one; it needs tracks and turns them on.
            Each result has `Result.counts`.
        motion: run only frames in which something moved; True, or how to tell.
        gate: tells of a frame whether it is worth running; called in a thread of its stream.
        hooks: called with each frame and its result, after the tracker, in the order of the stream;
            what they return takes the result's place.
        most: results after which it ends, all streams together.
        plan: pins how many workers share the work; None measures or chooses it.
        listener: takes the events of sources and sinks; called in their threads.
        tracker_options: fields of the tracker's ``Options``.
        **source_options: of sources that are opened here.

    Raises:
        UsageError: something that cannot be meant.
    """
    if zones is not None:
        from edgecv.watch import ZoneWatch
        from edgecv.zone_config import ZoneConfig

        config = zones if isinstance(zones, ZoneConfig) else ZoneConfig.read(zones)
        hooks, track = [ZoneWatch(config), *hooks], track or True
    return Stream(
        *_prepare(
            model,
            source,
            track,
            sinks,
            listener,
            tracker_options or {},
            source_options,
            policy=policy,
            gate=_gate(motion, gate),
            hooks=hooks,
            most=most,
            plan=plan,
        )
    )


def _gate(motion: bool | MotionGateOptions, gate: Gate | None) -> Gate | None:
    if motion is False:
        return gate
    from edgecv.watch import MotionGates

    moved = MotionGates(None if motion is True else motion)
    if gate is None:
        return moved
    both = gate
    return lambda frame: both(frame) and moved(frame)


class Stream:
    """An iterator of (frame, result); made by `stream`."""

    def __init__(self, pipeline: Pipeline, let_go: Callable[[], None]) -> None:
        self._pipeline = pipeline
        # Runs when this object is dropped, and before the interpreter ends.
        self._closer = weakref.finalize(self, _close, pipeline, let_go)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> tuple[Frame, Result]:
        if not self._closer.alive:
            raise StopIteration
        try:
            self._pipeline.start()
            item = self._pipeline.get()
        except BaseException:
            self.close()
            raise
        if item is None:
            self.close()
            raise StopIteration
        return item

    @property
    def stats(self) -> PipelineStats:
        """Frames in, out, dropped and skipped, rates, ages, times of the stages, and queues."""
        return self._pipeline.stats()

    def finish(self) -> None:
        """Take no more frames, from any thread; the loop ends after those under way."""
        self._pipeline.finish()

    def stop(self) -> None:
        """Tell the stream to end, from any thread; the loop over it ends at once."""
        self._pipeline.stop()

    def close(self) -> None:
        """Stop all threads and close sources and sinks, within a second; may be called twice."""
        self._closer()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _close(pipeline: Pipeline, let_go: Callable[[], None]) -> None:
    if pipeline.close():
        let_go()
    else:
        # A worker is still inside of the engine, and closing it would wait for that.
        threading.Thread(target=let_go, name="edgecv-closer", daemon=True).start()


def _nothing() -> None:
    pass


def _prepare(
    model: Model | str | os.PathLike[str],
    source: SourceLike | Sequence[SourceLike],
    track: bool | str,
    sinks: Iterable[SinkLike],
    listener: Listener,
    tracker_options: dict[str, Any],
    source_options: dict[str, Any],
    **more: Any,
) -> tuple[Pipeline, Callable[[], None]]:
    """Make what the arguments of `stream` mean; whatever was opened is closed where one fails."""
    sources = open_sources(source, listener, source_options)
    opened, let_go = _open_model(model)
    named: dict[str, Sink] = {}
    try:
        trackers: list[Any] = []
        keep = None
        if track:
            name = track if isinstance(track, str) else None
            trackers, keep, opened = _trackers(opened, len(sources), name, tracker_options)
        for sink in sinks:
            _add_sink(named, sink)
        made = Pipeline(
            opened, sources, trackers=trackers, keep=keep, sinks=named, listener=listener, **more
        )
    except BaseException:
        for sink in named.values():
            sink.close()
        let_go()
        raise
    return made, let_go


def _open_model(model: Model | str | os.PathLike[str]) -> tuple[Model, Callable[[], None]]:
    if isinstance(model, str | os.PathLike):
        from edgecv.loading import load

        opened = load(model)
        return opened, opened.close
    return model, _nothing


def open_sources(
    source: SourceLike | Sequence[SourceLike], listener: Listener, options: dict[str, Any]
) -> list[Source]:
    """Make one source or several; a name that was taken gets a number."""
    several: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
    if len(several) > 1 and all(map(_is_image_file, several)):
        several = [several]
    made: list[Source] = []
    for item in several:
        if hasattr(item, "frames"):
            made.append(item)
            continue
        from edgecv.source import open_source

        one = open_source(item, listener=listener, **options)
        taken = {other.stream for other in made}
        if one.stream in taken:
            names = (f"{one.stream}-{n}" for n in range(2, len(several) + 2))
            free = next(name for name in names if name not in taken)
            one = open_source(item, listener=listener, **{**options, "stream": free})
        made.append(one)
    return made


def _is_image_file(item: Any) -> bool:
    from edgecv.image_files import is_image

    return isinstance(item, str | os.PathLike) and is_image(os.path.basename(os.fspath(item)))  # noqa: PTH119  # an address may be a URL


def _trackers(
    model: Model, count: int, name: str | None, options: dict[str, Any]
) -> tuple[list[Any], float | None, Model]:
    """Make a tracker a stream, and let the model tell the low scores that they make use of.

    Returns:
        The trackers; the model's own confidence, below which only what is tracked is kept, or None
        where it need not be lowered; and the model to run.

    Raises:
        UsageError: the model finds no boxes.
    """
    from edgecv.results.detections import TASKS
    from edgecv.tracker import DEFAULT, create_tracker

    if model.task not in TASKS:
        raise UsageError(
            "this model finds no objects that could be tracked",
            where="track",
            expected=f"a model of task {', '.join(TASKS)}",
            got=model.task,
        )
    made = [create_tracker(name or DEFAULT, **options) for _ in range(count)]
    own = getattr(model.options, "confidence", None)
    least = min(tracker.min_score for tracker in made)
    if own is None or own <= least:
        return made, None, model
    return made, own, model.with_options(confidence=least)


def _add_sink(named: dict[str, Sink], sink: SinkLike) -> None:
    if isinstance(sink, str):
        from edgecv.sink import open_sink, parse_target, public_address

        target, kind, options = parse_target(sink)
        made, name = open_sink(target, kind, **options), public_address(target)
    else:
        made, name = sink, type(sink).__name__
    label, number = name, 2
    while label in named:
        label, number = f"{name} ({number})", number + 1
    named[label] = made
