"""What holds for every target: a sound file, figures with sources, a probe of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv import host, plugins, targets
from edgecv.engines import load_backend
from edgecv.targets.detection import choose, read_facts
from edgecv.targets.wheels import platform_tags, table
from tests.machines import MACHINES, write

NAMES = targets.names()
every = pytest.mark.parametrize("name", NAMES)
FEATURES = {*host._ARM_FEATURES, *host._X86_FEATURES}


def test_targets_are_the_files_of_their_folder() -> None:
    folder = Path(targets.__file__).parent
    files = {path.stem for path in folder.glob("*.toml") if not path.stem.startswith("_")}
    assert set(NAMES) == files
    assert set(MACHINES) == files, "say in tests/machines.py what such a machine says"


@every
def test_its_file_keeps_the_schema(name: str) -> None:
    target = targets.load(name)
    assert target.name == name
    assert targets.load(name) is target


@every
def test_every_figure_has_a_source_or_a_reason(name: str) -> None:
    target = targets.load(name)
    for watts in (target.power.idle, target.power.load):
        if watts.watts is None:
            assert watts.reason
            continue
        assert watts.uncertainty
        assert watts.uncertainty < watts.watts
        assert watts.basis
        assert any("://" in source for source in watts.sources)
    if target.power.idle.watts and target.power.load.watts:
        assert target.power.idle.watts < target.power.load.watts
    thermal = target.thermal
    if thermal.throttle_start_c is None:
        assert thermal.reason
    else:
        assert thermal.sources
        assert thermal.throttle_start_c <= (thermal.limit_c or 0)


@every
def test_it_speaks_of_backends_and_features_that_exist(name: str) -> None:
    target = targets.load(name)
    real = {b for b in plugins.names("backends") if load_backend(b).ENGINE != "edgecv"}
    assert set(target.engines) == real
    assert set(target.cpu.features) <= FEATURES
    assert set(target.cpu.features_sometimes) <= FEATURES - set(target.cpu.features)


@every
def test_its_systems_can_install_every_engine_that_runs(name: str) -> None:
    target = targets.load(name)
    usual = target.systems[0]
    wheels = table()
    for system in target.systems:
        assert system.python in ("3.11", "3.12", "3.13")
        for project in wheels.base:
            assert wheels.find(project, target.cpu.architecture, system)[0], (system.os, project)
    for backend, engine in target.engines.items():
        module = load_backend(backend)
        needed = wheels.extras[module.EXTRA] if module.EXTRA else (module.ENGINE,)
        found = [wheels.find(project, target.cpu.architecture, usual)[0] for project in needed]
        assert engine.runs == all(found)


@every
def test_its_advice_does_not_contradict_itself(name: str) -> None:
    target = targets.load(name)
    backends = tuple(target.engines)
    for advice in target.precisions:
        for backend in advice.backends or backends:
            against = [item for item in target.avoid if item.concerns(advice.precision, backend)]
            assert not [item for item in against if item.cause != "risky" or advice.backends]
    assert "fp32" in [advice.precision for advice in target.precisions]
    assert not [item for item in target.avoid if item.precision == "fp32"]


@every
def test_what_its_cpu_lacks_is_called_impossible(name: str) -> None:
    target = targets.load(name)
    for backend in target.engines:
        for precision in ("fp16", "bf16"):
            if load_backend(backend).lacks(precision, target.cpu.features):
                causes = [i.cause for i in target.avoid if i.concerns(precision, backend)]
                assert causes == ["impossible"], (backend, precision)


@every
def test_its_probe_knows_its_own_machine_and_no_other_does(name: str, tmp_path: Path) -> None:
    found = targets.detect(write(tmp_path, MACHINES[name]))
    assert found.target == name
    assert found.why
    assert set(found.others) == set(NAMES) - {name}
    assert all(found.others.values())


@every
def test_its_machine_has_the_features_that_are_promised(name: str, tmp_path: Path) -> None:
    root = Path(write(tmp_path, MACHINES[name]))
    assert set(targets.load(name).cpu.features) <= set(host.cpu_features(root) or ())


@every
def test_no_more_than_one_target_that_names_a_board_fits(name: str, tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path, MACHINES[name]))
    named = [targets.load(n) for n in NAMES if targets.load(n).probe.compatible]
    fitting = [t.name for t in named if choose(facts, [t]).target]
    assert fitting == ([name] if name in [t.name for t in named] else [])


@every
def test_its_wheel_tags_are_pips(name: str) -> None:
    target = targets.load(name)
    for system in target.systems:
        tags = platform_tags(target.cpu.architecture, system)
        major, minor = system.glibc.split(".")
        assert tags[0] == f"manylinux_{major}_{minor}_{target.cpu.architecture}"
        assert f"manylinux2014_{target.cpu.architecture}" in tags
        assert len(set(tags)) == len(tags)
