"""The manifest: strict, versioned, and precise about what is wrong."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecv.errors import EdgecvError, ManifestError
from edgecv.manifest import Manifest, parse
from edgecv.members import check_member_name
from scripts import schemas

GOOD: dict[str, Any] = {
    "schema_version": 1,
    "name": "net",
    "version": "3",
    "task": "detect",
    "labels": ["a", "b"],
    "input": {
        "size_hw": [320, 416],
        "resize": "letterbox",
        "color": "bgr",
        "mean": [1, 2.5, 3],
        "std": [4, 5, 6],
    },
    "head": {"name": "yolo", "options": {"confidence": 0.3, "strides": [8, 16]}},
    "variants": [
        {
            "id": "onnxruntime-fp32",
            "backend": "onnxruntime",
            "precision": "fp32",
            "files": [{"path": "models/a.onnx", "sha256": "0" * 64, "bytes": 12}],
            "inputs": [{"name": "x", "shape": [None, 3, 320, 416], "dtype": "float32"}],
            "outputs": [
                {
                    "name": "y",
                    "shape": [1, 6, 10],
                    "dtype": "uint8",
                    "quantization": {"scale": 0.5, "zero_point": 3},
                }
            ],
            "layout": "NCHW",
        }
    ],
    "attachments": {"conversion": {"path": "report/a.json", "sha256": "1" * 64, "bytes": 3}},
}


def encode(data: Any) -> bytes:
    return json.dumps(data).encode()


def changed(path: str, value: Any) -> bytes:
    """Return the good manifest with one field replaced; DELETE removes it."""
    data = json.loads(json.dumps(GOOD))
    *steps, last = [int(s) if s.isdigit() else s for s in path.split("/")]
    place = data
    for step in steps:
        place = place[step]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return encode(data)


DELETE = object()
# Infinity and NaN are not JSON; they are refused as such, which is tested on its own.
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_round_trip() -> None:
    manifest = parse(encode(GOOD))
    assert manifest.input.mean == (1.0, 2.5, 3.0)
    assert manifest.variants[0].outputs[0].to_spec().quantization is not None
    assert manifest.files()[-1] == manifest.attachments["conversion"]
    assert parse(manifest.to_json()) == manifest


def test_without_attachments() -> None:
    assert parse(changed("attachments", DELETE)).attachments == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("variants/0/layout", "NHCW",
         "m.json: variants[0].layout: expected one of NCHW, NHWC; got 'NHCW'"),
        ("name", DELETE, "m.json: name: missing field"),
        ("colour", "blue", "m.json: colour: unknown field"),
        ("variants/0/files/0/sha1", "0", "m.json: variants[0].files[0].sha1: unknown field"),
        ("variants", [], "m.json: variants: expected a length of at least 1; got ()"),
        ("variants/0/files/0/path", "../a", "m.json: variants[0].files[0].path: expected a norm"),
        ("variants/0/files/0/bytes", -1, "m.json: variants[0].files[0].bytes: "),
        ("variants/0/files/0/bytes", "12", "m.json: variants[0].files[0].bytes: "),
        ("variants/0/files/0/bytes", True, "m.json: variants[0].files[0].bytes: "),
        ("variants/0/files/0/sha256", "F" * 64, "m.json: variants[0].files[0].sha256: "),
        ("variants/0/files/0/path", "manifest.json", "m.json: files: two entries are the same"),
        ("variants/0/precision", "int4", "m.json: variants[0].precision: expected one of"),
        ("variants/0/outputs/0/quantization/scale", 0, "m.json: variants[0].outputs[0].quantizat"),
        ("input/size_hw", [0, 1], "m.json: input.size_hw[0]: "),
        ("input/size_hw", [1], "m.json: input.size_hw: expected a list of 2; got [1]"),
        ("input/size_hw", [1, 2, 3], "m.json: input.size_hw: expected a list of 2; got [1, 2, 3]"),
        ("input/std", [1, 0, 1], "m.json: input.std[1]: expected a number other than 0"),
        ("input/pad_value", 256, "m.json: input.pad_value: "),
        ("head/name", "../yolo", "m.json: head.name: "),
        ("labels", "ab", "m.json: labels: "),
        ("labels", [1], "m.json: labels[0]: "),
        ("schema_version", 2, "m.json: schema_version: the bundle is newer than this edgecv"),
        ("schema_version", 0, "m.json: schema_version: expected 1; got 0"),
        ("schema_version", True, "m.json: schema_version: "),
        ("schema_version", DELETE, "m.json: schema_version: missing field: expected 1"),
        ("golden", [{"image": GOOD["variants"][0]["files"][0], "expected": {"x": {}}}],
         "m.json: golden[0]: no such variant: expected one of onnxruntime-fp32; got 'x'"),
        ("card", {"measurements": [{"metric": "map", "value": None, "variant": "a"}]},
         "m.json: card.measurements[0].reason: a null value needs a reason"),
        ("attachments", [], "m.json: attachments: expected an object; got []"),
        ("attachments/a b", GOOD["attachments"]["conversion"],
         "m.json: attachments: expected of each name a match of"),
        ("attachments/" + "x" * 65, GOOD["attachments"]["conversion"],
         "m.json: attachments: expected of each name a length of at most 64"),
        ("attachments/conversion/path", "../a", "m.json: attachments.conversion.path: expected a "),
        ("attachments/conversion/kind", "", "m.json: attachments.conversion.kind: unknown field"),
        ("attachments/conversion/path", "models/a.onnx", "m.json: files: two entries are the same"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(changed(path, value), "m.json")
    assert str(caught.value).startswith(message), str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON object; got list"),
        (b"{", "not valid JSON"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"schema_version": NaN}', "NaN is not a JSON number"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema_version": 1, "name": ' + b"[" * 100_000, "not valid JSON"),
        (b" " * (16 * 2**20 + 1), "too large"),
    ],
)
def test_what_is_no_manifest(data: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse(data)


def test_two_variants_with_one_id() -> None:
    data = json.loads(json.dumps(GOOD))
    data["variants"] *= 2
    with pytest.raises(ManifestError, match="another variant has this id"):
        parse(encode(data))


def test_files_that_differ_only_in_case() -> None:
    data = json.loads(json.dumps(GOOD))
    data["variants"][0]["files"].append({"path": "models/A.onnx", "sha256": "1" * 64, "bytes": 1})
    with pytest.raises(ManifestError, match="the same file on some systems"):
        parse(encode(data))


def test_mutated_manifests_are_refused_or_valid() -> None:
    """Whatever is done to the bytes: a manifest or an error of ours, and pydantic agrees."""
    rng = random.Random(7)
    good = encode(GOOD)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randint(1, 9)]
            else:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randint(1, 20)]
        try:
            assert isinstance(parse(bytes(data)), Manifest)
            assert schemas.accepts(Manifest, bytes(data))
        except ManifestError:
            refused += 1
    assert refused > 2000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from([*GOOD, "input/size_hw", "variants/0", "variants/0/inputs/0", "head/options"]),
)
def test_any_json_in_any_field_is_refused_or_valid(value: Any, path: str) -> None:
    data = changed(path, value)
    try:
        manifest = parse(data)
    except ManifestError as error:
        fault = error.what
    else:
        fault = None
    # To pydantic, true and 1.0 are the literal 1.
    if path == "schema_version" and value == 1 and type(value) is not int:
        assert fault is not None
        return
    # What no single field can say, pydantic cannot know.
    if fault is None or not ("two entries" in fault or "no such variant" in fault):
        assert schemas.accepts(Manifest, data) == (fault is None), fault
    if fault is not None:
        return
    assert parse(manifest.to_json()) == manifest


def test_published_schema_is_the_one_that_validates() -> None:
    published = schemas.json_schema(Manifest)
    assert published["additionalProperties"] is False
    assert set(published["required"]) == {"name", "task", "input", "head", "variants"}
    assert published["properties"]["variants"]["items"]["properties"]["layout"]["enum"] == [
        "NCHW",
        "NHWC",
    ]


@pytest.mark.parametrize("name", ["a", "a/b.c", "modèle/x", "a b", "..a", "a..b"])
def test_names_that_are_fine(name: str) -> None:
    assert check_member_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a\\b", "a\0b", "a:b", "NUL", "com1.x", "a ",
     "x" * 256, "a\nb"],
)  # fmt: skip
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_member_name(name)


def test_errors_cross_process_borders() -> None:
    import pickle

    error = ManifestError("bad", where="x", expected="a", got="b", remedy="do c")
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin, EdgecvError)
    assert str(twin) == str(error) == "x: bad: expected a; got b\n  remedy: do c"
