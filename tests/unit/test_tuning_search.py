"""The search on made-up machines: who wins, when it stops, and what becomes of failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.bench import search
from edgecv.bench.interleaved import Timing
from edgecv.bench.limits import Budget, Limits
from edgecv.bench.space import Candidate
from edgecv.bench.standings import Standing, Standings
from edgecv.plan import Plan
from tests.tuning import MIB, Machine, candidate, candidates


def run(machine: Machine, some: list[Candidate], **more: object) -> list[Standing]:
    given = {"free_bytes": lambda: None, **more}
    return search.search(Path("m"), some, [], race=machine.race, **given)  # type: ignore[arg-type]


def ended(ranked: list[Standing]) -> dict[str, str]:
    return {s.candidate.name: s.status for s in ranked}


@given(st.lists(st.floats(2, 40), min_size=1, max_size=14), st.integers(0, 200))
@settings(max_examples=80, deadline=None)
def test_the_winner_is_within_3_percent_of_the_best(times: list[float], seed: int) -> None:
    some = candidates(len(times))
    machine = Machine({c.name: t for c, t in zip(some, times, strict=True)}, seed=seed)
    ranked = run(machine, some)
    assert machine.true_ms[ranked[0].candidate.name] <= 1.03 * min(times)
    assert sorted(s.candidate.name for s in ranked) == sorted(c.name for c in some)


@given(
    st.lists(st.floats(2, 20), min_size=2, max_size=9),
    st.dictionaries(st.integers(0, 8), st.integers(0, 3), max_size=9),
    st.integers(0, 50),
)
@settings(max_examples=80, deadline=None)
def test_whoever_fails_at_any_time_does_not_stop_the_others(
    times: list[float], dies: dict[int, int], seed: int
) -> None:
    some = candidates(len(times))
    named = {some[i].name: when for i, when in dies.items() if i < len(some)}
    machine = Machine({c.name: t for c, t in zip(some, times, strict=True)}, seed=seed, dies=named)
    ranked = run(machine, some)
    raced = {name: sum(name in names for names, _ in machine.races) for name in machine.true_ms}
    for s in ranked:
        died = named.get(s.candidate.name, 99) < raced[s.candidate.name]
        assert (s.status == "failed") == died
        assert not died or s.left == "it died"
    alive = [machine.true_ms[s.candidate.name] for s in ranked if s.status != "failed"]
    assert (ranked[0].status == "lasted") == bool(alive)
    if alive:
        # Also where the best of them had left as slower than one that failed later.
        assert machine.true_ms[ranked[0].candidate.name] <= 1.05 * min(alive)


def test_who_left_as_slower_than_one_that_fails_comes_back() -> None:
    some = candidates(7)
    times = [3.0, 9.0, 3.1, 2.0, 3.2, 3.0, 6.0]
    # It lets the first four leave, and fails beside the last two.
    machine = Machine({c.name: t for c, t in zip(some, times, strict=True)}, dies={some[3].name: 2})
    ranked = run(machine, some)
    assert ranked[0].candidate in (some[0], some[5])
    assert ranked[0].speed == 1
    standing = {s.candidate.name: s for s in ranked}
    assert standing[some[3].name].status == "failed"
    # Far behind whoever is the best now, it stays away.
    assert standing[some[1].name].heats == 1


def test_the_race_stops_early() -> None:
    some = candidates(12)
    machine = Machine({c.name: 5.0 if i == 7 else 9.0 for i, c in enumerate(some)})
    ranked = run(machine, some)
    assert ranked[0].candidate == some[7]
    assert ranked[0].left == ""
    assert all(s.left.startswith("slower than") for s in ranked[1:])
    assert all(s.heats == 1 for s in ranked[1:])
    # Everybody through every heat would be 12 times 38 rounds.
    assert machine.turns < 12 * 38 / 4


def test_who_is_hopeless_alone_does_not_race() -> None:
    some = [candidate("a", t) for t in (3, 2, 1)]
    machine = Machine({"a x3": 10.0, "a x2": 13.0, "a x1": 200.0})
    ranked = run(machine, some)
    assert ended(ranked) == {"a x3": "lasted", "a x2": "slower", "a x1": "slower"}
    assert ranked[-1].left == "far slower than a x3, each alone"
    assert (ranked[-1].heats, ranked[-1].speed) == (0, None)


def test_of_those_alike_the_one_with_fewer_threads() -> None:
    some = [candidate("a", t) for t in (4, 2, 1)]
    machine = Machine({"a x4": 10.0, "a x2": 10.02, "a x1": 17.0}, noise=0.001)
    ranked = run(machine, some)
    assert ranked[0].candidate.plan.threads == 2
    assert ranked[0].speed == 1


def test_of_those_alike_the_one_that_is_not_pinned() -> None:
    some = [candidate("a", 4), candidate("a", 2, (6, 7))]
    machine = Machine({some[0].name: 10.0, some[1].name: 10.01}, noise=0.001)
    assert run(machine, some)[0].candidate == some[0]


def test_each_is_tried_alone_before_any_race() -> None:
    some = candidates(5)
    machine = Machine({c.name: 10.0 + i for i, c in enumerate(some)})
    run(machine, some)
    assert machine.races[:5] == [([c.name], False) for c in some]
    assert all(len(names) > 1 for names, _ in machine.races[5:])


def test_who_needs_too_much_memory_does_not_race() -> None:
    some = candidates(3)
    machine = Machine(
        {c.name: 10.0 for c in some}, peak_mib={"v0 x1": 90, "v0 x2": 101, "v0 x3": 100}
    )
    ranked = run(machine, some, limits=Limits(max_memory_bytes=100.0 * MIB))
    (out,) = [s for s in ranked if s.status == "over a limit"]
    assert out.candidate.name == "v0 x2"
    assert out.left == "a peak of 101 MiB, 100 are allowed"
    assert out.peak_rss_bytes == 101 * MIB
    assert all("v0 x2" not in names for names, _ in machine.races[3:])


@pytest.mark.parametrize(
    ("free_mib", "together", "most"), [(10_000, True, 5), (450, True, 3), (150, False, 2)]
)
def test_memory_decides_who_is_loaded_beside_whom(free_mib: int, together: bool, most: int) -> None:
    some = candidates(6)
    names = [c.name for c in some]
    machine = Machine(dict.fromkeys(names, 10.0), peak_mib=dict.fromkeys(names, 100))
    run(machine, some, free_bytes=lambda: free_mib * MIB)
    races = machine.races[6:]
    assert {kind for _, kind in races} == {together}
    assert max(len(racing) for racing, _ in races) == most


def test_a_budget_ends_the_search_and_says_what_was_not_reached() -> None:
    some = candidates(12)
    machine = Machine({c.name: 10.0 for c in some})
    budget = Budget(20.0, 2.0, machine.clock)
    ranked = run(machine, some, budget=budget)
    assert machine.now_s <= 20.0
    assert budget.left_s() >= budget.full_s()
    assert ranked[0].status == "lasted"
    late = [s for s in ranked if s.status == "not tried"]
    assert late
    assert {s.left for s in late} == {"the budget of 20 s was spent"}
    # The preferred ones come first.
    tried = [c for c in some if c.name in {n for names, _ in machine.races for n in names}]
    assert tried == some[: len(tried)]


def test_a_budget_that_is_spent_before_the_race() -> None:
    some = candidates(3)
    # A turn of three such images takes longer than what is left.
    machine = Machine({"v0 x1": 10_000.0, "v0 x2": 6_000.0, "v0 x3": 10_000.0})
    ranked = run(machine, some, budget=Budget(13.0, 0.1, machine.clock))
    assert ranked[0].candidate == some[1]
    assert [s.status for s in ranked] == ["lasted", "not raced", "not raced"]
    assert ranked[1].left == "the budget of 13 s was spent before it raced"
    assert len(machine.races) == 3


def test_all_failed() -> None:
    some = candidates(2)
    machine = Machine({c.name: 10.0 for c in some}, dies={c.name: 0 for c in some})
    ranked = run(machine, some)
    assert ended(ranked) == {"v0 x1": "failed", "v0 x2": "failed"}


def test_one_that_hangs_leaves_the_others_their_time() -> None:
    some = candidates(4)
    for hung in some:
        for when in (0, 1):
            times = {c.name: 10.0 + i for i, c in enumerate(some)}
            machine = Machine(times, hangs={hung.name: when})
            ranked = run(machine, some, budget=Budget(100.0, 2.0, machine.clock))
            assert machine.now_s <= 100
            failed = [s for s in ranked if s.status == "failed"]
            assert [s.candidate for s in failed] == [hung]
            assert when or failed[0].left == "no answer within 10 s"
            assert ranked[0].status == "lasted"
            assert all(s.heats for s in ranked if s.candidate != hung)


def test_where_time_is_up_within_a_race_nobody_has_failed() -> None:
    some = candidates(3)
    machine = Machine({c.name: 10.0 for c in some}, hangs={some[0].name: 1})
    ranked = run(machine, some, budget=Budget(15.0, 1.0, machine.clock))
    assert machine.now_s <= 15
    assert [s.status for s in ranked] == ["lasted", "not raced", "not raced"]


def test_who_raced_the_best_does_not_leave_by_a_point_estimate() -> None:
    """Two medians of noisy rounds can lie far apart where their intervals do not."""
    some = candidates(3)
    standings = Standings(some)
    for c in some:
        standings.set(c, status="lasted", p50_ms=1.0)
    standings.best = some[0]

    def note(**rounds: tuple[float, ...]) -> None:
        here = [c for c in some if c.name.replace(" ", "_") in rounds]
        standings.note(here, {c.name: timing(rounds[c.name.replace(" ", "_")]) for c in here})

    note(v0_x1=(1.0, 1.0, 1.0, 1.0), v0_x2=(0.9, 1.6, 1.6, 0.9))
    note(v0_x1=(1.0, 1.0, 1.0, 1.0), v0_x3=(0.6, 0.6, 0.6, 0.6))
    assert standings.best == some[2]
    # By way of the first it is far behind the third, which it never met.
    standings.set(some[1], speed=0.5)
    standings.drop_far()
    assert standings[some[1]].status == "slower"
    # Beside the best itself the interval alone counts.
    standings.set(some[1], status="lasted")
    note(v0_x3=(1.0, 1.0, 1.0, 1.0), v0_x2=(0.9, 1.6, 1.6, 0.9))
    standings.set(some[1], speed=0.5)
    standings.drop_far()
    assert standings[some[1]].status == "lasted"


def timing(rounds_ms: tuple[float, ...]) -> Timing:
    return Timing("", 1.0, (1.0, 1.0), rounds_ms, {}, 3, "fp32", 1)


def test_a_race_of_batches_is_known_to_take_longer() -> None:
    """All images of a batch are one turn's least: three batches for each worker."""
    plans = [Plan(2, 1, 2, 4), Plan(2, 1, 2)]
    some = [Candidate(variant="v", backend="null", plan=plan) for plan in plans]
    machine = Machine({c.name: 1000.0 for c in some})
    # Four rounds of (3 x 2 x 4 + 3 x 2) x 1 s are more than what is left, 4 x 2 x 6 s are not.
    budget = Budget(100.0, 1.0, machine.clock)
    ranked = run(machine, some, goal="throughput", budget=budget)
    assert [s.status for s in ranked] == ["lasted", "not raced"]
