"""What every reader of graphs promises (`edgecv.bench.graphs`), on the tiny models."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgecv import plugins
from edgecv.bench import work
from edgecv.bench.graph import Graph
from edgecv.errors import ModelLoadError
from edgecv.types import ModelSource
from tests.contract import tiny_models

NAMES = plugins.names("bench.graphs")
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert"}
"""Whose tiny model a reader is tested with; a new reader needs an entry here."""
OUT, KERNEL = 8 * 8 * 4, 3 * 3 * 3
MACS = OUT * KERNEL
BYTES = 4 * (KERNEL * 4 + 8 * 8 * 3 + 2 * OUT)
"""Weights, the image, and both outputs: the second is made from the first as that is written."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(name: str, tmp_path: Path) -> ModelSource:
    return tiny_models.build(ENGINES[name], tmp_path)


def read(name: str, source: ModelSource) -> Graph:
    graph: Graph = plugins.load("bench.graphs", name).read(source, None)
    return graph


def test_its_files_are_those_of_an_engine(name: str) -> None:
    suffixes = plugins.load("backends", ENGINES[name]).SUFFIXES
    assert set(plugins.load("bench.graphs", name).SUFFIXES) <= set(suffixes)


def test_the_work_of_the_tiny_model(name: str, source: ModelSource) -> None:
    found = work.of_source(source)
    bias = 4 * 4 if name == "tflite" else 0
    assert (found.macs, found.bytes_moved) == (MACS, BYTES + bias)
    assert found.instructions is None
    assert found.missing == {"instructions": work.INSTRUCTIONS}


def test_paths_and_bytes_say_the_same(name: str, source: ModelSource) -> None:
    held = ModelSource(
        {key: memoryview(Path(str(part)).read_bytes()) for key, part in source.parts.items()}
    )
    assert read(name, held) == read(name, source)


def test_every_tensor_is_known_and_made_before_it_is_read(name: str, source: ModelSource) -> None:
    graph = read(name, source)
    there = {n for n, tensor in graph.tensors.items() if tensor.stored is not None}
    there.update(graph.inputs)
    for one in graph.operations:
        assert there.issuperset(one.inputs), one
        there.update(one.outputs)
    assert there.issuperset(graph.outputs)
    assert there <= set(graph.tensors)


@pytest.mark.parametrize("data", [b"", b"\0", b"<net/>", b"TFL3" * 9, b"\xff" * 99, b"<a>" * 99])
def test_what_is_no_model_is_refused(name: str, data: bytes) -> None:
    suffix = plugins.load("bench.graphs", name).SUFFIXES[0]
    source = ModelSource({f"m{suffix}": memoryview(data)})
    with pytest.raises(ModelLoadError):
        read(name, source)
    said = work.of_source(source)
    assert (said.macs, said.bytes_moved) == (None, None)
    assert said.missing["macs"].startswith(f"m{suffix}: ")


def test_a_damaged_file_gives_counts_or_reasons(name: str, source: ModelSource) -> None:
    whole = Path(str(source.main)).read_bytes()
    rng = random.Random(5)
    null = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            kind = rng.random()
            if kind < 0.6:
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            elif kind < 0.8:
                del data[at : at + rng.randint(1, 8)]
            else:
                data[at:at] = data[at : at + rng.randint(1, 16)]
        found = work.of_source(ModelSource({source.name: memoryview(bytes(data))}))
        for field in ("macs", "bytes_moved"):
            assert (getattr(found, field) is None) == (field in found.missing)
            assert found.missing.get(field, "said") != ""
            null += getattr(found, field) is None
    assert null > 20
