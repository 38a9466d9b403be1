"""Every metric: of a task that exists, honest about nothing, and with intervals that hold it."""

from __future__ import annotations

import pytest

from edgecv import plugins

NAMES = plugins.names("metrics")


@pytest.mark.parametrize("name", NAMES)
def test_is_named_after_a_task(name: str) -> None:
    types = [plugins.load("results", result) for result in plugins.names("results")]
    tasks = {task for module in types for task in module.TASKS}
    assert name in tasks


@pytest.mark.parametrize("name", NAMES)
def test_nothing_measured_is_null_with_a_reason(name: str) -> None:
    module = plugins.load("metrics", name)
    scores = module.create().compute(100, 0)
    assert set(scores.metrics) == set(scores.ci95) == set(module.NAMES)
    for metric, value in scores.metrics.items():
        assert value is None, "0 would be a claim"
        assert scores.ci95[metric] is None
        assert scores.reasons[metric]


@pytest.mark.parametrize("name", NAMES)
def test_its_options_are_those_of_every_head_of_the_task(name: str) -> None:
    options = plugins.load("metrics", name).MODEL_OPTIONS
    for head_name in plugins.names("heads"):
        head = plugins.load("heads", head_name)
        if name == head.TASK:
            assert set(options) <= set(head.Options.record_fields), head_name
