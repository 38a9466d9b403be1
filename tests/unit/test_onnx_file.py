"""The walk over ONNX files: what it finds, and that hostile bytes cannot hurt it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecv import external_data, onnx_file
from edgecv.errors import ModelLoadError
from edgecv.types import ModelSource
from tests.contract import tiny_models


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("fp32", {"fp32": 1}),
        ("fp16", {"fp16": 1}),
        ("qdq", {"int8": 1}),
        ("qdq-weights", {"int8-weights": 1}),
        ("dynamic", {"int8": 1}),
        ("custom", {}),
    ],
)
def test_what_it_finds(tmp_path: Path, kind: str, layers: dict[str, int]) -> None:
    path = tiny_models.onnx_file(tmp_path / "m.onnx", kind=kind)
    for source in (path, memoryview(path.read_bytes())):
        found = onnx_file.read(source)
        assert found.layers == layers
        assert found.opsets == {"": 18, "example": 1}
        assert found.ir_version == 9
        assert (found.inputs, found.outputs) == (["x"], ["y", "z"])
        assert found.ops["Relu"] == 1
        assert found.external == []


def save(path: Path, nodes: list, initializers: list, **more: object) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        initializers,
    )
    path.write_bytes(helper.make_model(graph, **more).SerializeToString())
    return path


def stored_outside(name: str, location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros((4, 4), np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def test_weights_behind_shape_ops_constants_and_casts(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.zeros((4, 4), np.float16), "h")
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros((4, 4)))),
        helper.make_node("Cast", ["c"], ["c16"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["c16"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["a"]),
        helper.make_node("Identity", ["h"], ["i"]),
        helper.make_node("Gemm", ["a", "i"], ["b"]),
        helper.make_node("MatMul", ["b", "b"], ["y"]),
    ]
    assert onnx_file.read(save(tmp_path / "m.onnx", nodes, [half])).layers == {"fp16": 2}


def test_external_data_are_found_wherever_they_hide(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["deep"], ["o"])],
        "inner",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, [4, 4])],
        [stored_outside("deep", "branch.bin")],
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=stored_outside("v", "constant.bin")),
        helper.make_node("If", ["x"], ["i"], then_branch=inner, else_branch=inner),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    function = helper.make_function(
        "example", "F", [], ["o"],
        [helper.make_node("Constant", [], ["o"], value=stored_outside("f", "function.bin"))],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, [stored_outside("w", "w.bin")], functions=[function])
    names = {"branch.bin", "constant.bin", "w.bin", "function.bin"}
    assert set(onnx_file.read(path).external) == names
    with pytest.raises(ModelLoadError, match="missing"):
        external_data.find(path)
    for name in names:
        (tmp_path / name).touch()
    assert {file.name for file in external_data.find(path)} == names


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "/etc/passwd", "a/b.bin", "..", ".", "", "a\\b", "w\0", "w" * 300, "~/w/x"],
)
def test_external_data_that_lie_elsewhere(tmp_path: Path, location: str) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path / "m.onnx", [node], [stored_outside("w", location)])
    with pytest.raises(ModelLoadError, match="not beside it"):
        external_data.find(path)
    with pytest.raises(ModelLoadError, match="not beside it"):
        external_data.check(onnx_file.read(path), ModelSource.from_paths(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        onnx_file.read(tmp_path / "nowhere.onnx")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def nested(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def deep(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):
        graph = nested(1, nested(4, b"If") + nested(5, nested(6, graph)))
    return nested(7, graph)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\xff" * 12,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x3a\x05abc",
        b"\x0b",
        b"\x08\x09",
        deep(40),
        deep(2000),
    ],
)
def test_broken_bytes(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    for source in (memoryview(data), tmp_path / "m.onnx"):
        with pytest.raises(ModelLoadError):
            onnx_file.read(source)


def test_the_number_of_fields_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnx_file._MAX_FIELDS <= 10_000_000
    monkeypatch.setattr(onnx_file, "_MAX_FIELDS", 1000)
    with pytest.raises(ModelLoadError, match="more than 1000 fields"):
        onnx_file.read(memoryview(nested(7, b"\x0a\x00" * 1001)))


@pytest.mark.parametrize("seed", range(300))
def test_mutations(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    kind = rng.choice(["fp32", "qdq", "dynamic"])
    data = bytearray(tiny_models.onnx_file(tmp_path / "m.onnx", kind=kind).read_bytes())
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    try:
        found = onnx_file.read(memoryview(bytes(data)))
    except ModelLoadError as error:
        assert len(str(error)) < 1000  # noqa: PT017  # either outcome is right
    else:
        assert found.layers.total() <= 4


def test_parts_that_lie_together(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.data", "sub/a.data"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    main, data = tmp_path / "a.onnx", tmp_path / "a.data"
    assert external_data.lies_together(ModelSource.from_paths(main, data))
    assert not external_data.lies_together(ModelSource.from_paths(main, tmp_path / "sub/a.data"))
    assert not external_data.lies_together(ModelSource({"a.onnx": main, "b.data": data}))
    assert not external_data.lies_together(
        ModelSource({"a.onnx": main, "a.data": memoryview(b"1")})
    )


def test_unpacking(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"from a path")
    folder = external_data.unpack(ModelSource({"m": memoryview(b"seen"), "n": tmp_path / "x"}))
    here = Path(folder.name)
    assert {p.name: p.read_bytes() for p in here.iterdir()} == {"m": b"seen", "n": b"from a path"}
    assert here.stat().st_mode & 0o077 == 0
    folder.cleanup()
    assert not here.exists()
    with pytest.raises(ModelLoadError, match="not beside it"):
        external_data.unpack(ModelSource({"../m": memoryview(b"")}))
