"""Ranges of activations in OpenVINO models."""

from __future__ import annotations

import numpy as np

from edgecv.converters import openvino_ranges


def test_aligned_ranges_keep_their_width_and_have_a_level_at_zero():
    rng = np.random.default_rng(0)
    low = -np.exp(rng.normal(0, 4, 500))
    high = np.exp(rng.normal(0, 4, 500))
    low[:50], high[50:100] = 0, 0
    new_low, new_high = openvino_ranges.aligned(low, high)
    step = (high - low) / 255
    assert np.allclose(new_low / step, np.rint(new_low / step), atol=1e-3)
    assert np.allclose(new_high - new_low, high - low, rtol=1e-6)
    assert (np.abs(new_low - low) <= 0.501 * step).all()
    assert np.array_equal(new_low[:50], low[:50])
    assert np.array_equal(new_high[50:100], high[50:100])
