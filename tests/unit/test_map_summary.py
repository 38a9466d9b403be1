"""Maps in JSON: statistics and a grid that come back to the bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecv.geometry import plan
from edgecv.map_summary import MapSummary
from edgecv.results.anomaly import AnomalyMap
from edgecv.results.depth import DepthMap


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(-1e6, 1e6, width=32), st.integers(0, 99))
def test_there_and_back_to_the_bit(height, width, shift, seed):
    random = np.random.default_rng(seed)
    values = random.normal(0, 10, (height, width)).astype(np.float32) + np.float32(shift)
    made = MapSummary.of(values)
    data = json.loads(json.dumps(made.to_json()))
    assert MapSummary.from_json(data) == made
    assert MapSummary.from_json(data).to_json() == made.to_json()
    assert max(made.grid.shape) <= 32
    assert made.low <= made.mean <= made.high or made.low == pytest.approx(made.high, rel=1e-5)


def test_the_grid_holds_the_means_of_cells():
    values = np.zeros((64, 128), np.float32)
    values[:4, :4] = 16  # one cell of 4 x 4
    values[8:12, 4:6] = 8  # half of another
    cells = MapSummary.of(values).cells()
    assert cells.shape == (16, 32)
    assert cells[0, 0] == 16
    assert cells[2, 1] == pytest.approx(4, abs=8 / 65535)
    assert np.count_nonzero(cells) == 2


def test_apart_is_in_parts_of_the_range():
    values = np.linspace(0, 10, 1024, dtype=np.float32).reshape(32, 32)
    moved = values.copy()
    moved[:16] += 1
    score, area = MapSummary.of(moved).apart(MapSummary.of(values))
    assert score == pytest.approx(0.05, abs=1e-4)
    assert area == pytest.approx(0.5)
    assert MapSummary.of(values[:16]).apart(MapSummary.of(values)) == (1.0, 1.0)
    flat = np.full((4, 4), 2, np.float32)
    assert MapSummary.of(flat + 1).apart(MapSummary.of(flat))[0] == pytest.approx(0.5)


def test_depth_at_source_size_and_its_kinds():
    # A ramp of 0.5, 1.5, 2.5, 3.5 at the places' centres; the outermost are repeated.
    ramp = DepthMap(np.arange(4, dtype=np.float32)[None] + 0.5, "metric")
    found = ramp.to_source(plan((1, 8), (1, 4), "stretch"))
    np.testing.assert_allclose(
        found.depth, [[0.5, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.5]], atol=1e-6
    )
    assert len(found) == 1
    assert found.difference(found.replace(kind="inverse")).area == 1.0
    with pytest.raises(ValueError, match="expected one of"):
        DepthMap(kind="feet")


def test_an_anomaly_has_a_mask_where_there_is_a_threshold():
    heat = np.array([[0.1, 0.6], [0.5, 0.2]], np.float32)
    plain = AnomalyMap(0.6, heat)
    assert plain.mask is None
    assert plain.anomalous is None
    sharp = AnomalyMap(0.6, heat, 0.5)
    assert sharp.mask.tolist() == [[False, True], [True, False]]
    assert sharp.anomalous
    assert not AnomalyMap(0.4, heat, 0.5).anomalous
    back = AnomalyMap.from_json(sharp.to_json(()))
    assert back.mask.tolist() == sharp.mask.tolist()
    other = AnomalyMap(0.7, np.array([[0.1, 0.6], [0.4, 0.2]], np.float32), 0.5)
    difference = other.difference(back)
    assert difference.score == pytest.approx(0.1)
    assert difference.area == 0.25
    assert plain.difference(back).area == 1.0
    # Distances of a PatchCore: in parts of the expected one.
    assert AnomalyMap(44.0, heat).difference(AnomalyMap(40.0, heat)).score == pytest.approx(0.1)
