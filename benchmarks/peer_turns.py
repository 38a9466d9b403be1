"""Talk with the peers of `peers.py`: turns in rounds, and cold starts.

The other end of each talk is `peer_worker.py`, whose docstring has the protocol.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecv.bench.dialogue import Dialogue
from edgecv.bench.interleaved import order_of
from edgecv.errors import InferenceError

WORKER = Path(__file__).resolve().parent / "peer_worker.py"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a peer runs, and what it is asked first.

    Attributes:
        name: of the peer.
        python: interpreter of its environment.
        request: see `peer_worker.main`.
        variables: its environment variables.
    """

    name: str
    python: Path
    request: Mapping[str, Any]
    variables: Mapping[str, str]

    def started(self) -> Dialogue:
        return Dialogue([str(self.python), str(WORKER)], self.name, self.variables)


@dataclass(slots=True)
class Found:
    """What was seen of the peers of a group.

    Attributes:
        rounds: peer -> figure -> one value for each round or start.
        said: peer -> what it said of itself: versions, facts, cpus_used.
        results: peer -> its rows of each image, ``one`` by one and ``all`` in a list.
        absent: peer -> why it could not be measured.
    """

    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def take_turns(
    seats: Sequence[Seat], images: Sequence[str], many: Sequence[str], rounds: int
) -> Found:
    """Let the peers take turns; one that fails at its start is left out and said to be absent.

    Args:
        seats: the peers.
        images: timed one by one.
        many: timed as a list.
        rounds: each lets every peer have a turn with both.

    Raises:
        InferenceError: a peer failed later than at its start.
    """
    found = Found()
    workers: dict[str, Dialogue] = {}
    with ExitStack() as stack:
        for seat in seats:
            print(f"{seat.name} starts", flush=True)
            try:
                worker = stack.enter_context(seat.started())
                worker.send(seat.request)
                found.said[seat.name] = worker.answer()
                found.results[seat.name] = _ask(worker, "results", images)
                # What it prepares for lists is not timed.
                _ask(worker, "throughput", many)
            except InferenceError as error:
                found.absent[seat.name] = error.message
                continue
            workers[seat.name] = worker
            found.rounds[seat.name] = {"latency_ms": [], "images_per_s": []}
        for turn in range(rounds if workers else 0):
            print(f"round {turn + 1} of {rounds}", flush=True)
            for peer in order_of(list(workers), turn):
                said = _ask(workers[peer], "latency", images)
                found.rounds[peer]["latency_ms"].append(statistics.median(said["ms"]))
                found.said[peer]["cpus_used"] = said["cpus_used"]
            for peer in order_of(list(workers), turn):
                said = _ask(workers[peer], "throughput", many)
                found.rounds[peer]["images_per_s"].append(said["images_per_s"])
                found.said[peer] |= {"facts": said["facts"], "peak": said["peak_rss_bytes"]}
    for peer in workers:
        peak = found.said[peer].get("peak")
        if peak is not None:
            found.rounds[peer]["peak_rss_run_mb"] = [peak / MIB]
    return found


def cold_starts(seats: Sequence[Seat], starts: int) -> dict[str, dict[str, list[float]]]:
    """Start each peer anew, in turns, up to its first result.

    Returns:
        Peer -> figure -> one value for each start.

    Raises:
        InferenceError: a peer failed.
    """
    by_name = {seat.name: seat for seat in seats}
    found: dict[str, dict[str, list[float]]] = {
        name: {"cold_start_ms": [], "peak_rss_mb": []} for name in by_name
    }
    for turn in range(starts if seats else 0):
        print(f"cold start {turn + 1} of {starts}", flush=True)
        for name in order_of(list(by_name), turn):
            with by_name[name].started() as worker:
                worker.send(by_name[name].request)
                said = worker.answer()
            took_s = said["first_result_s"] - worker.started_s
            found[name]["cold_start_ms"].append(took_s * 1e3)
            if said["peak_rss_bytes"] is not None:
                found[name]["peak_rss_mb"].append(said["peak_rss_bytes"] / MIB)
    return found


def _ask(worker: Dialogue, what: str, images: Sequence[str]) -> dict[str, Any]:
    worker.send({"do": what, "images": list(images)})
    return worker.answer()
