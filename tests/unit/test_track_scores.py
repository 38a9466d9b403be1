"""Tracking metrics: scenes counted by hand, and an independent HOTA for small ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.motchallenge import Boxes
from edgecv.track_scores import ALPHAS, NAMES, count


def tracks(*rows: tuple[int, int, float], **fields) -> Boxes:
    """(frame, id, left) of boxes of 10 x 10."""
    frame, id, left = np.array(rows, float).reshape(-1, 3).T
    xyxy = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    found = Boxes.of(frame.astype(int), id.astype(int), xyxy)
    return Boxes(**{**{name: getattr(found, name) for name in found.__slots__}, **fields})


def metrics(truth: Boxes, found: Boxes, **options) -> dict:
    values = count(truth, found, **options).metrics()
    assert tuple(values) == NAMES
    return values


def test_perfect_tracks() -> None:
    truth = tracks((1, 1, 0), (1, 2, 50), (2, 1, 3), (2, 2, 53))
    found = tracks((1, 7, 0), (1, 9, 50), (2, 7, 3), (2, 9, 53))
    values = metrics(truth, found)
    ones = ("mota", "motp", "idf1", "idp", "idr", "hota", "deta", "assa", "precision", "recall")
    assert [values[name] for name in ones] == pytest.approx([1] * 10)
    assert [values[n] for n in ("idsw", "frag", "fp", "fn", "mt", "pt", "ml")] == [0] * 4 + [
        2,
        0,
        0,
    ]


def test_an_id_that_changes_half_way() -> None:
    truth = tracks(*((f, 1, 0) for f in range(1, 5)))
    found = tracks((1, 1, 0), (2, 1, 0), (3, 2, 0), (4, 2, 0))
    values = metrics(truth, found)
    assert values["idsw"] == 1
    assert values["mota"] == pytest.approx(1 - 1 / 4)
    # The best single partner has 2 of 4 boxes: IDTP 2, IDFN 2, IDFP 2.
    assert values["idf1"] == pytest.approx(0.5)
    # Detection is perfect; each match has A = 2 / (4 + 2 - 2).
    assert values["deta"] == pytest.approx(1)
    assert values["assa"] == pytest.approx(0.5)
    assert values["hota"] == pytest.approx(np.sqrt(0.5))


def test_misses_false_boxes_and_a_fragment() -> None:
    truth = tracks(*((f, 1, 0) for f in range(1, 6)))
    found = tracks((1, 1, 0), (2, 1, 100), (3, 1, 0), (4, 1, 0))
    values = metrics(truth, found)
    assert (values["fp"], values["fn"], values["idsw"], values["frag"]) == (1, 2, 0, 1)
    assert values["mota"] == pytest.approx((5 - 2 - 1) / 5)
    assert values["idf1"] == pytest.approx(2 * 3 / (5 + 4))
    assert (values["mt"], values["pt"], values["ml"]) == (0, 1, 0)


def test_a_pair_is_kept_while_it_overlaps() -> None:
    """In frame 2 result 2 fits better, but 1 still fits: no switch (CLEAR MOT)."""
    truth = tracks((1, 1, 0), (2, 1, 0))
    found = tracks((1, 1, 0), (2, 1, 3), (2, 2, 0))
    values = metrics(truth, found)
    assert (values["idsw"], values["fp"], values["fn"]) == (0, 1, 0)
    assert values["motp"] == pytest.approx((1 + 7 / 13) / 2)


def test_mostly_tracked_and_lost_have_their_thresholds() -> None:
    truth = tracks(*((f, i, 50 * i) for f in range(1, 11) for i in (1, 2, 3)))
    found = tracks(
        *((f, 1, 50) for f in range(1, 9)),
        *((f, 2, 100) for f in range(1, 3)),
        (1, 3, 150),
    )
    values = metrics(truth, found)
    assert (values["mt"], values["pt"], values["ml"]) == (1, 1, 1)


def test_nothing_found_and_nothing_true() -> None:
    truth, none = tracks((1, 1, 0), (2, 1, 0)), tracks()
    values = metrics(truth, none)
    assert (values["mota"], values["idf1"], values["hota"], values["ml"]) == (0, 0, 0, 1)
    assert values["motp"] is None
    assert values["precision"] is None
    values = metrics(none, truth)
    assert values["mota"] is None
    assert values["hota"] is None
    assert (values["fp"], values["fn"], values["idf1"]) == (2, 0, 0)
    assert metrics(none, none)["idf1"] is None


def test_counts_of_sequences_add_up() -> None:
    one = count(tracks((1, 1, 0), (2, 1, 0)), tracks((1, 1, 0), (2, 2, 0)))
    two = count(tracks((1, 1, 0)), tracks((1, 1, 50)))
    both = (one + two).metrics()
    assert (both["fn"], both["fp"], both["idsw"]) == (1, 1, 1)
    assert both["mota"] == pytest.approx(1 - 3 / 3)
    assert both["idf1"] == pytest.approx(2 * 1 / (3 + 3))


def test_what_does_not_count() -> None:
    """Flag 0, other classes and hidden people are no targets; who finds a distractor is ignored."""
    truth = tracks(
        *((1, i, 50 * i) for i in range(1, 6)),
        score=np.array([1, 0, 1, 1, 1], np.float32),
        class_id=np.array([1, 1, 3, 8, 1], np.int32),
        visibility=np.array([1, 1, 1, 1, 0.1], np.float32),
        has_classes=True,
    )
    found = tracks(*((1, i, 50 * i) for i in range(1, 6)))
    values = metrics(truth, found)
    # 1 and 5 are targets; 2 and 3 are false; 4 finds a distractor.
    assert (values["fn"], values["fp"]) == (0, 2)
    values = metrics(truth, found, min_visibility=0.5)
    assert (values["fn"], values["fp"]) == (0, 3)


def hota_by_search(truth: Boxes, found: Boxes) -> list[float]:
    """HOTA of one frame a time with at most one box each, where no matching is to choose."""
    values = []
    for alpha in ALPHAS:
        pairs = []
        for frame in np.union1d(truth.frame, found.frame):
            a, b = np.flatnonzero(truth.frame == frame), np.flatnonzero(found.frame == frame)
            if len(a) and len(b):
                x, y = truth.xyxy[a[0], 0], found.xyxy[b[0], 0]
                inner = max(0, 10 - abs(float(x - y)))
                if inner / (20 - inner) >= alpha - 1e-9:
                    pairs.append((int(truth.id[a[0]]), int(found.id[b[0]])))
        score = 0.0
        for pair in pairs:
            tpa = pairs.count(pair)
            fna = int((truth.id == pair[0]).sum()) - tpa
            fpa = int((found.id == pair[1]).sum()) - tpa
            score += tpa / (tpa + fna + fpa)
        fn, fp = len(truth) - len(pairs), len(found) - len(pairs)
        values.append(np.sqrt(score / (len(pairs) + fn + fp)))
    return values


one_box = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12)), min_size=1, max_size=8)


@given(a=one_box, b=one_box)
def test_hota_is_the_formula_of_the_paper(a: list, b: list) -> None:
    truth = tracks(*((f, id, left) for f, (id, left) in enumerate(a, 1)))
    found = tracks(*((f, id, left) for f, (id, left) in enumerate(b, 1)))
    expected = np.mean(hota_by_search(truth, found))
    assert metrics(truth, found)["hota"] == pytest.approx(expected, abs=1e-6)


scene = st.lists(
    st.lists(st.integers(0, 40), min_size=0, max_size=3, unique=True), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None)
@given(a=scene, b=scene)
def test_idf1_is_the_best_pairing_of_tracks(a: list, b: list) -> None:
    truth = tracks(*((f, i, x) for f, row in enumerate(a, 1) for i, x in enumerate(row)))
    found = tracks(*((f, i, x) for f, row in enumerate(b, 1) for i, x in enumerate(row)))
    agree = np.zeros((3, 3))
    for f, g, x in zip(truth.frame, truth.id, truth.xyxy[:, 0], strict=True):
        for k in np.flatnonzero(found.frame == f):
            inner = max(0, 10 - abs(float(x - found.xyxy[k, 0])))
            agree[g, found.id[k]] += inner / (20 - inner) >= 0.5
    best = max(sum(agree[i, p[i]] for i in range(3)) for p in permutations(range(3)))
    total = len(truth) + len(found)
    expected = pytest.approx(2 * best / total) if total else None
    assert metrics(truth, found)["idf1"] == expected
