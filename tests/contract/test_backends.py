"""What every backend promises (`edgecv.types.Backend` and `Session`), on its own tiny model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from edgecv import host, plugins
from edgecv.errors import BackendMissingError, InferenceError, ModelLoadError, UsageError
from edgecv.probe import probe
from edgecv.types import (
    PRECISIONS,
    Array,
    Backend,
    ModelSource,
    Session,
    SessionOptions,
    TensorSpec,
)
from tests.contract import tiny_models

NAMES = plugins.names("backends")
COMPUTING = [name for name in NAMES if name != "null"]
ENGINE_MODULES = ("onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime")


def load_backend(name: str) -> Backend:
    return plugins.load("backends", name)


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(backend: str, tmp_path: Path) -> ModelSource:
    return tiny_models.build(backend, tmp_path)


@pytest.fixture
def session(backend: str, source: ModelSource) -> Iterator[Session]:
    opened = load_backend(backend).open_session(source, SessionOptions(threads=1))
    yield opened
    opened.close()


def to_layout(backend: str, x: Array) -> Array:
    nhwc = tiny_models.layout(backend) == "NHWC"
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if nhwc else x


def from_layout(backend: str, y: Array) -> Array:
    return y.transpose(0, 3, 1, 2) if tiny_models.layout(backend) == "NHWC" else y


def in_memory(source: ModelSource) -> ModelSource:
    """Give a source as read-only views, as a bundle in an archive does."""
    return ModelSource({name: memoryview(part.read_bytes()) for name, part in source.parts.items()})


def test_module_says_what_it_is(backend: str) -> None:
    module = load_backend(backend)
    assert module.ENGINE
    assert module.EXTRA is None or module.EXTRA.isidentifier()
    assert module.SUFFIXES
    assert all(suffix.startswith(".") for suffix in module.SUFFIXES)
    assert module.version()


def test_tensors_are_described(backend: str, session: Session) -> None:
    size, channels, filters = tiny_models.SIZE, tiny_models.CHANNELS, tiny_models.FILTERS
    nhwc = tiny_models.layout(backend) == "NHWC"
    in_shape = (1, size, size, channels) if nhwc else (1, channels, size, size)
    out_shape = (1, size, size, filters) if nhwc else (1, filters, size, size)
    assert session.inputs == (TensorSpec("x", in_shape, "float32"),)
    assert session.outputs == (
        TensorSpec("y", out_shape, "float32"),
        TensorSpec("z", out_shape, "float32"),
    )
    assert all(type(n) is int for spec in session.inputs + session.outputs for n in spec.shape)


def test_outputs_have_the_shapes_and_types_that_were_promised(
    backend: str, session: Session
) -> None:
    outputs = session.run({"x": to_layout(backend, tiny_models.image())})
    assert list(outputs) == ["y", "z"]
    for spec in session.outputs:
        assert outputs[spec.name].shape == spec.shape
        assert outputs[spec.name].dtype == spec.dtype


@pytest.mark.parametrize("backend", COMPUTING)
def test_arithmetic(backend: str, session: Session) -> None:
    for seed in range(3):
        x = tiny_models.image(seed)
        outputs = session.run({"x": to_layout(backend, x)})
        for name, expected in tiny_models.reference(x).items():
            np.testing.assert_allclose(from_layout(backend, outputs[name]), expected, atol=1e-5)


@pytest.mark.parametrize("backend", COMPUTING)
@pytest.mark.parametrize("kind", ["strided", "reversed", "read-only", "unaligned"])
def test_memory_of_any_kind_is_taken(backend: str, session: Session, kind: str) -> None:
    x = to_layout(backend, tiny_models.image())
    if kind == "strided":
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), np.float32)
        wide[..., ::2] = x
        given = wide[..., ::2]
    elif kind == "reversed":
        given = x[..., ::-1].copy()[..., ::-1]
    elif kind == "read-only":
        given = x.copy()
        given.flags.writeable = False
    else:
        given = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
        given[...] = x
    before = given.copy()
    outputs = session.run({"x": given})
    expected = tiny_models.reference(tiny_models.image())["y"]
    np.testing.assert_allclose(from_layout(backend, outputs["y"]), expected, atol=1e-5)
    np.testing.assert_array_equal(given, before)


def test_same_input_same_output(backend: str, session: Session) -> None:
    x = to_layout(backend, tiny_models.image(1))
    other = to_layout(backend, tiny_models.image(2))
    first = session.run({"x": x})
    session.run({"x": other})
    again = session.run({"x": x})
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_the_caller_owns_the_outputs(backend: str, session: Session) -> None:
    x = to_layout(backend, tiny_models.image())
    first = session.run({"x": x})
    kept = {name: array.copy() for name, array in first.items()}
    second = session.run({"x": to_layout(backend, tiny_models.image(5))})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        assert not np.shares_memory(array, second[name])
        array[...] = 77
    third = session.run({"x": x})
    session.close()
    for name, array in third.items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {}, "wrong input names: expected x; got none"),
        (lambda x: {"X": x}, "wrong input names: expected x; got X"),
        (lambda x: {"x": x, "more": x}, "wrong input names"),
        (lambda x: {"x": x.astype(np.float64)}, "got float64["),
        (lambda x: {"x": x.astype(np.uint8)}, "got uint8["),
        (lambda x: {"x": x.astype(">f4")}, "got >f4["),
        (lambda x: {"x": x[0]}, "input x: an input does not fit: expected x float32[1,"),
        (lambda x: {"x": x[:0]}, "got float32[0,"),
        (lambda x: {"x": np.concatenate([x, x])}, "got float32[2,"),
        (lambda x: {"x": x[:, :, :-1]}, "an input does not fit"),
        (lambda x: {"x": x.tolist()}, "got list"),
        (lambda x: {"x": None}, "got NoneType"),
    ],
)
def test_inputs_that_do_not_fit(backend, session, change, message) -> None:
    x = to_layout(backend, tiny_models.image())
    with pytest.raises(InferenceError) as caught:
        session.run(change(x))
    assert message in str(caught.value)
    assert session.run({"x": x})["y"].size


def test_a_closed_session_says_so(backend: str, session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(InferenceError, match="closed"):
        session.run({"x": to_layout(backend, tiny_models.image())})


def test_info(backend: str, source: ModelSource) -> None:
    module = load_backend(backend)
    for threads in (1, 2):
        session = module.open_session(source, SessionOptions(threads=threads))
        info = session.info
        assert info.backend == backend
        assert info.engine.split()[-1] == module.version()
        assert info.threads == threads
        assert info.precision == "fp32"
        assert info.device
        session.close()


def test_threads_default_to_the_usable_cpus(backend, source, monkeypatch) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda: 1)
    session = load_backend(backend).open_session(source, SessionOptions())
    assert session.info.threads == 1
    session.close()


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_at_all(backend: str, source: ModelSource, threads: int) -> None:
    with pytest.raises(UsageError, match="threads"):
        load_backend(backend).open_session(source, SessionOptions(threads=threads))


@pytest.mark.parametrize("streams", [0, -1, True, 10_000])
def test_a_number_of_streams_that_cannot_be(backend, source, streams) -> None:
    with pytest.raises(UsageError, match="streams"):
        load_backend(backend).open_session(source, SessionOptions(threads=1, streams=streams))


@pytest.mark.parametrize("precision", ["fp32", "auto", "int8", "int8-weights"])
def test_precisions_that_every_engine_takes(backend, source, precision) -> None:
    session = load_backend(backend).open_session(source, SessionOptions(1, precision))
    assert session.info.precision in PRECISIONS
    if precision == "fp32":
        assert session.info.precision == "fp32"
    if precision.startswith("int8") and backend != "null":
        assert f"called {precision}, but computes in fp32" in session.info.notes
    session.close()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_reduced_precision_is_honoured_or_refused(backend, source, precision) -> None:
    refused = pytest.raises(UsageError, match=f"precision: .*{precision}")
    able = backend == "openvino" and precision in reduced_precisions()
    with nullcontext() if able else refused:
        session = load_backend(backend).open_session(source, SessionOptions(1, precision))
        assert session.info.precision == precision
        session.close()


def reduced_precisions() -> set[str]:
    """Ask OpenVINO in which reduced precisions this CPU computes."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {"bf16", "fp16"} & {name.lower() for name in capabilities}


def test_an_unknown_precision(backend: str, source: ModelSource) -> None:
    with pytest.raises(UsageError, match="precision"):
        load_backend(backend).open_session(source, SessionOptions(1, "fp7"))


@pytest.mark.parametrize("name", ["nonsense", "CACHE_DIR", "session.use_ort_model_bytes_directly"])
def test_an_unknown_engine_option(backend: str, source: ModelSource, name: str) -> None:
    options = SessionOptions(1, extra={name: "/tmp/somewhere"})
    with pytest.raises(UsageError, match=name):
        load_backend(backend).open_session(source, options)


@pytest.mark.parametrize("streams", [1, 2])
def test_eight_threads_get_the_same_results(
    backend: str, source: ModelSource, streams: int
) -> None:
    options = SessionOptions(threads=1, streams=streams)
    session = load_backend(backend).open_session(source, options)
    assert session.info.threads == 1
    assert session.info.streams in (streams, None)
    images = [to_layout(backend, tiny_models.image(seed)) for seed in range(8)]
    expected = [session.run({"x": image}) for image in images]

    def work(turn: int) -> None:
        for step in range(40):
            i = (turn + step) % len(images)
            for name, array in session.run({"x": images[i]}).items():
                np.testing.assert_array_equal(array, expected[i][name])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    session.close()


@pytest.mark.parametrize("streams", [1, 2])
def test_close_while_others_run(backend: str, source: ModelSource, streams: int) -> None:
    session = load_backend(backend).open_session(source, SessionOptions(threads=1, streams=streams))
    x = to_layout(backend, tiny_models.image())

    def work(_: int) -> bool:
        try:
            for _ in range(10_000_000):
                session.run({"x": x})
        except InferenceError as error:
            return "closed" in str(error)
        return False

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, i) for i in range(4)]
        session.run({"x": x})
        session.close()
        assert all(future.result() for future in running)


def test_sessions_made_side_by_side(backend: str, source: ModelSource) -> None:
    x = to_layout(backend, tiny_models.image())

    def work(_: int) -> Array:
        session = load_backend(backend).open_session(source, SessionOptions(threads=1))
        y = session.run({"x": x})["y"]
        session.close()
        return y

    with ThreadPoolExecutor(4) as pool:
        first, *rest = pool.map(work, range(12))
    for y in rest:
        np.testing.assert_array_equal(y, first)


def test_a_model_in_memory(backend: str, source: ModelSource, session: Session) -> None:
    x = to_layout(backend, tiny_models.image())
    expected = session.run({"x": x})
    views = in_memory(source)
    opened = load_backend(backend).open_session(views, SessionOptions(threads=1))
    assert opened.inputs == session.inputs
    assert opened.outputs == session.outputs
    # An archive may be closed as soon as the session is open.
    for view in views.parts.values():
        view.release()
    for name, array in opened.run({"x": x}).items():
        np.testing.assert_array_equal(array, expected[name])
    opened.close()


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 64, b"<net", b"{", b"PK\x03\x04" * 9])
@pytest.mark.parametrize("where", ["path", "memory"])
def test_a_file_that_is_no_model(backend, source, content, where) -> None:
    main = source.main
    main.write_bytes(content)
    given = source if where == "path" else in_memory(source)
    with pytest.raises(ModelLoadError) as caught:
        load_backend(backend).open_session(given, SessionOptions(threads=1))
    what = str(caught.value).splitlines()[0]
    assert main.name in what
    assert len(what) < 700
    with pytest.raises(ModelLoadError):
        probe(main, backend)


def test_a_truncated_file(backend: str, source: ModelSource) -> None:
    main = source.main
    data = main.read_bytes()
    main.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelLoadError):
        probe(main, backend)


def test_another_suffix(backend: str, source: ModelSource, tmp_path: Path) -> None:
    other = source.main.rename(tmp_path / "model.bak")
    with pytest.raises(ModelLoadError, match=r"expected \."):
        load_backend(backend).open_session(ModelSource.from_paths(other), SessionOptions())


def test_a_file_that_is_not_there(backend: str, source: ModelSource) -> None:
    source.main.unlink()
    with pytest.raises(ModelLoadError, match="no such file"):
        load_backend(backend).open_session(source, SessionOptions())


def test_companions_are_the_other_parts(backend: str, source: ModelSource) -> None:
    assert load_backend(backend).companions(source.main) == tuple(source.parts.values())[1:]


@pytest.mark.parametrize("backend", COMPUTING)
def test_a_missing_engine_names_the_extra(backend, source, monkeypatch) -> None:
    module = load_backend(backend)
    monkeypatch.setattr(module.session, "installed", lambda *names: None)
    assert module.version() is None
    with pytest.raises(BackendMissingError, match="pip install 'edgecv") as caught:
        module.open_session(source, SessionOptions())
    if module.EXTRA:
        assert f"edgecv[{module.EXTRA}]" in str(caught.value)


def test_the_probe_agrees_with_the_session(
    backend: str, source: ModelSource, session: Session
) -> None:
    report = probe(source.main, backend)
    assert report.inputs == session.inputs
    assert report.outputs == session.outputs
    assert report.metadata == session.metadata
    assert report.not_run is None


def test_asking_for_a_version_loads_no_engine() -> None:
    code = (
        "import sys\nfrom edgecv import plugins\n"
        "for name in plugins.names('backends'): assert plugins.load('backends', name).version()\n"
        "print(*(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgecv" in loaded
    assert not loaded & set(ENGINE_MODULES)


@pytest.mark.parametrize("backend", COMPUTING)
def test_nothing_is_printed(backend: str, source: ModelSource) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\nfrom edgecv import plugins\n"
        "from edgecv.types import ModelSource, SessionOptions\n"
        "source = ModelSource.from_paths(*map(Path, sys.argv[2:]))\n"
        "module = plugins.load('backends', sys.argv[1])\n"
        "s = module.open_session(source, SessionOptions())\n"
        "s.run({'x': np.zeros(s.inputs[0].shape, 'float32')})\ns.close()\n"
    )
    paths = [str(part) for part in source.parts.values()]
    done = subprocess.run(
        [sys.executable, "-c", code, backend, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    # LiteRT's own line cannot be switched off from Python; see the backend's docstring.
    lines = [line for line in done.stderr.splitlines() if "XNNPACK delegate" not in line]
    assert lines == []


SIGNALLED = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from edgecv import plugins
from edgecv.types import ModelSource, SessionOptions

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
module = plugins.load("backends", sys.argv[1])
source = ModelSource.from_paths(*map(Path, sys.argv[3:]))

def opened():
    session = module.open_session(source, SessionOptions(threads=1))
    session.run({"x": np.zeros(session.inputs[0].shape, "float32")})
    return session

def apart(task):
    thread = threading.Thread(target=task)
    thread.start()
    thread.join()

if sys.argv[2] == "first opened, first closed":
    one, other = opened(), opened()
    one.close()
    del one
    other.close()
    del other
elif sys.argv[2] == "closed in another thread":
    sessions = [opened()]
    apart(lambda: sessions.pop().close())
else:
    sessions = []
    apart(lambda: sessions.append(opened()))
    sessions.pop().close()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "order", ["first opened, first closed", "closed in another thread", "opened in another thread"]
)
def test_signals_arrive_after_sessions_were_closed(
    backend: str, source: ModelSource, order: str
) -> None:
    paths = [str(part) for part in source.parts.values()]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, backend, order, *paths], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.parametrize("backend", plugins.names("backends"))
def test_what_a_machine_lacks_is_told_without_the_engine(backend: str) -> None:
    module = load_backend(backend)
    assert module.lacks("fp32") is None
    assert module.lacks("int8") is None
    for precision in ("fp16", "bf16"):
        told = module.lacks(precision)
        assert told is None or precision in told


@pytest.mark.parametrize("backend", plugins.names("backends"))
def test_what_another_machine_lacks_depends_on_its_features_alone(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_backend(backend)
    best = ("asimdhp", "amx_bf16", "amx_fp16", "avx512_bf16")
    for here in ((), best, None):
        monkeypatch.setattr("edgecv.host.cpu_features", lambda here=here: here)
        for precision in ("fp32", "fp16", "bf16", "int8"):
            assert module.lacks(precision, best) is None
            told = module.lacks(precision, ())
            assert (told is not None) == (backend == "openvino" and precision in ("fp16", "bf16"))
