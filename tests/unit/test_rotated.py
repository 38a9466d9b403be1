"""Oriented boxes: overlaps against clipping by hand, ProbIoU by its definition, suppression."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv import boxes, rotated

side = st.floats(0.5, 40)
box = st.tuples(st.floats(-30, 30), st.floats(-30, 30), side, side, st.floats(-7, 7))


def corners(row):
    x, y, w, h, angle = row
    c, s = math.cos(angle), math.sin(angle)
    places = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [
        (x + u * w / 2 * c - v * h / 2 * s, y + u * w / 2 * s + v * h / 2 * c) for u, v in places
    ]


def clipped_area(a, b):
    """Sutherland and Hodgman's clipping, one half plane at a time, and the shoelace formula."""
    polygon, by = corners(a), corners(b)
    for (x1, y1), (x2, y2) in zip(by, by[1:] + by[:1], strict=True):
        out = []
        for (px, py), (qx, qy) in zip(polygon[-1:] + polygon[:-1], polygon, strict=True):
            p = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
            q = (x2 - x1) * (qy - y1) - (y2 - y1) * (qx - x1)
            if (p >= 0) != (q >= 0):
                t = p / (p - q)
                out.append((px + t * (qx - px), py + t * (qy - py)))
            if q >= 0:
                out.append((qx, qy))
        polygon = out
    pairs = zip(polygon[-1:] + polygon[:-1], polygon, strict=True)
    return sum(px * qy - py * qx for (px, py), (qx, qy) in pairs) / 2


@settings(max_examples=200, deadline=None)
@given(box, box)
def test_intersections_are_those_of_clipped_polygons(a, b):
    pair = np.array([a]), np.array([b])
    expected = clipped_area(a, b)
    assert rotated.pair_intersection(*pair)[0] == pytest.approx(expected, abs=1e-6)
    assert rotated.pair_intersection(*pair[::-1])[0] == pytest.approx(expected, abs=1e-6)
    union = a[2] * a[3] + b[2] * b[3] - expected
    assert rotated.pair_iou(*pair)[0] == pytest.approx(expected / union, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(box, st.sampled_from([0, 1e-15, 1e-12, 1e-9, 1e-7]), st.integers(0, 3))
def test_a_box_is_itself_however_it_is_told(row, off, quarter):
    x, y, w, h, angle = row
    sides = (w, h) if quarter % 2 == 0 else (h, w)
    other = (x + off, y, *sides, angle + quarter * math.pi / 2 + off)
    assert rotated.pair_iou(np.array([row]), np.array([other]))[0] == pytest.approx(1, abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(box)
def test_neighbours_that_share_an_edge_do_not_overlap(row):
    x, y, w, _, angle = row
    beside = (x + w * math.cos(angle), y + w * math.sin(angle), *row[2:])
    assert rotated.pair_iou(np.array([row]), np.array([beside]))[0] == pytest.approx(0, abs=1e-9)


def test_upright_boxes_have_the_iou_of_upright_boxes():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (40, 2))
    xyxy = np.concatenate([low, low + rng.uniform(1, 40, (40, 2))], axis=1).astype(np.float32)
    xywhr = np.concatenate([boxes.to_cxcywh(xyxy), np.zeros((40, 1), np.float32)], axis=1)
    np.testing.assert_allclose(
        rotated.iou(xywhr[:15], xywhr), boxes.iou(xyxy[:15], xyxy), atol=1e-5
    )


def test_far_from_the_origin_and_without_area():
    far = np.array([[1e6, 1e6, 10, 4, 0.3]]), np.array([[1e6 + 2, 1e6, 10, 4, 0.3]])
    near = np.array([[0, 0, 10, 4, 0.3]]), np.array([[2, 0, 10, 4, 0.3]])
    assert rotated.pair_iou(*far)[0] == pytest.approx(rotated.pair_iou(*near)[0], abs=1e-9)
    flat = np.array([[5.0, 5, 0, 4, 0.3]])
    for overlap in (rotated.pair_iou, rotated.pair_probiou):
        assert overlap(flat, flat)[0] == 0
    assert rotated.iou(flat.astype(np.float32)[:0], flat.astype(np.float32)).shape == (0, 1)


@settings(max_examples=60, deadline=None)
@given(box, box)
def test_probiou_is_one_minus_hellinger_of_two_gaussians(a, b):
    def gaussian(row):
        c, s = math.cos(row[4]), math.sin(row[4])
        turn = np.array([[c, -s], [s, c]])
        return np.array(row[:2]), turn @ np.diag([row[2] ** 2 / 12, row[3] ** 2 / 12]) @ turn.T

    (m1, s1), (m2, s2) = gaussian(a), gaussian(b)
    middle = (s1 + s2) / 2
    apart = m1 - m2
    # The Bhattacharyya distance of two normal distributions.
    distance = apart @ np.linalg.inv(middle) @ apart / 8
    dets = np.linalg.det(s1) * np.linalg.det(s2)
    distance += 0.5 * math.log(np.linalg.det(middle) / math.sqrt(dets))
    expected = 1 - math.sqrt(max(0, 1 - math.exp(-distance)))
    got = rotated.pair_probiou(np.array([a]), np.array([b]))[0]
    assert got == pytest.approx(expected, abs=1e-6)


CHAIN = np.array([[50, 50, 40, 20, 0.1], [62, 50, 40, 20, 0.1], [74, 50, 40, 20, 0.1]])
SCORES = np.array([0.9, 0.8, 0.7])


def test_in_a_chain_only_fast_suppression_lets_the_suppressed_suppress():
    # ProbIoU .64 for neighbours and .35 for the ends.
    for greedy, kept in ((True, [0, 2]), (False, [0])):
        found = rotated.nms(CHAIN, SCORES, 0.5, overlap=rotated.pair_probiou, greedy=greedy)
        assert found.tolist() == kept
    assert rotated.nms(CHAIN, SCORES, 0.3, greedy=True).tolist() == [0, 2]
    assert rotated.nms(CHAIN, SCORES, 0.3, np.array([0, 1, 2])).tolist() == [0, 1, 2]
    assert rotated.nms(CHAIN[:0], SCORES[:0], 0.3).tolist() == []


def plain_nms(xywhr, score, threshold, groups, overlap, greedy):
    order = np.argsort(-score, kind="stable")
    kept, gone = [], set()
    for n, i in enumerate(order):
        by = [j for j in order[:n] if groups[j] == groups[i] and not (greedy and j in gone)]
        if any(overlap(xywhr[[j]], xywhr[[i]])[0] > threshold for j in by):
            gone.add(i)
        else:
            kept.append(int(i))
    return kept


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.8]))
def test_suppression_is_that_of_two_loops(seed, greedy, threshold):
    rng = np.random.default_rng(seed)
    n = 40
    xywhr = np.concatenate(
        [rng.uniform(0, 60, (n, 2)), rng.uniform(2, 40, (n, 2)), rng.uniform(-2, 2, (n, 1))], 1
    )
    score, groups = rng.random(n), rng.integers(0, 2, n)
    for overlap in (rotated.pair_iou, rotated.pair_probiou):
        # ProbIoU is never 0 however far two boxes are apart: what is below 1e-5 is not looked at.
        least = max(threshold, 1e-5)
        found = rotated.nms(xywhr, score, least, groups, overlap=overlap, greedy=greedy)
        assert found.tolist() == plain_nms(xywhr, score, least, groups, overlap, greedy)


def test_more_boxes_than_a_block():
    rng = np.random.default_rng(3)
    n = 700
    xywhr = np.concatenate(
        [rng.uniform(0, 90, (n, 2)), rng.uniform(2, 30, (n, 2)), rng.uniform(-2, 2, (n, 1))], 1
    )
    score = rng.random(n)
    order = np.argsort(-score)
    iou = rotated.iou(xywhr[order].astype(np.float32), xywhr[order].astype(np.float32))
    alive = np.ones(n, bool)
    for i in range(n):
        if alive[i]:
            alive[i + 1 :] &= iou[i, i + 1 :] <= 0.4
    assert rotated.nms(xywhr, score, 0.4).tolist() == order[alive].tolist()
    fast = ~(np.triu(iou, 1) > 0.4).any(axis=0)
    assert rotated.nms(xywhr, score, 0.4, greedy=False).tolist() == order[fast].tolist()
