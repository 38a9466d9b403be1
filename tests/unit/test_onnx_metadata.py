"""Key-value pairs in ONNX files, written without the onnx package."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import ModelLoadError
from edgecv.onnx_metadata import with_metadata
from tests import models


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("onnx")
    return models.onnx_detector(folder / "x.onnx", metadata={"old": "1", "task": "x"}).read_bytes()


def props(data: bytes) -> dict[str, str]:
    model = onnx.load_from_string(data)
    assert len({p.key for p in model.metadata_props}) == len(model.metadata_props)
    return {p.key: p.value for p in model.metadata_props}


@given(st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=5))
def test_pairs_are_set_and_the_rest_stays(file: bytes, pairs: dict[str, str]) -> None:
    written = with_metadata(file, pairs)
    assert props(written) == {"old": "1", "task": "x", **pairs}
    before, after = onnx.load_from_string(file), onnx.load_from_string(written)
    del before.metadata_props[:], after.metadata_props[:]
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(
        deterministic=True
    )


def test_others_can_be_taken_out(file: bytes) -> None:
    assert props(with_metadata(file, {"task": "y"}, lambda key: key == "old")) == {"task": "y"}


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\x7fshort", b"\x0b"])
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelLoadError, match="not an ONNX file"):
        with_metadata(data, {"a": "b"})


def test_a_file_with_nothing_in_it(tmp_path: Path) -> None:
    assert props(with_metadata(b"", {"a": "b"})) == {"a": "b"}
