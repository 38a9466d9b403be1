"""Histograms of all activations, also where memory is short."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.converters import onnx_activations
from edgecv.converters.statistics import collect
from edgecv.errors import StepError
from tests.conversion.onnx_nets import Some
from tests.conversion.quantizable_net import convolutions


def test_activations_in_groups_are_the_same():
    model = convolutions()
    names = ["x", "a1", "b1", "s", "c1", "y"]
    whole = onnx_activations.histograms(model, Some(), names)
    parts = onnx_activations.histograms(model, Some(), names, budget_bytes=5000)
    assert list(whole) == names
    for name, histogram in whole.items():
        assert np.array_equal(histogram.counts, parts[name].counts)
        assert (histogram.low, histogram.high) == (parts[name].low, parts[name].high)
    fed = collect(iter(Some()))["x"]
    assert np.array_equal(whole["x"].counts, fed.counts)


def test_no_images():
    with pytest.raises(StepError, match="nothing to measure"):
        onnx_activations.histograms(convolutions(), Some(0), ["x"])
