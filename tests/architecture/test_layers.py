"""The shape of the house: who imports whom, what loads when, how long files get, what is said."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgecv
from edgecv import plugins

ROOT = Path(edgecv.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# From the ground up; a module may import from its own line (unless it is a plug-in) and from below.
LAYERS = [
    ["errors", "gc_pause", "plugins", "record", "types"],
    ["events", "blocking", "turns", "raw_frames", "planes", "decoded_pixels"],
    ["boxes", "geometry", "masks", "flatbuffer", "schema", "members", "host", "hints",
     "image_files", "npy", "prompts", "soft_masks", "rotated", "polygons",
     "exif", "session", "onnx_file", "onnx_metadata", "external_data", "image_header", "card",
     "map_summary", "antialias", "page"],
    ["manifest", "plan", "results", "svg"],
    ["bundle", "codecs", "foreign", "head", "truth", "metric", "sink"],
    ["bundle_writer", "preprocess", "candidates", "distances", "finished", "head_check",
     "model_inputs", "dataset", "data_yaml", "mask_truth", "outline_labels", "overlaps",
     "fingerprint",
     "average_precision", "precision_scores", "yolo_layouts", "score_parts", "keypoints",
     "pose_labels",
     "result", "probe", "class_map", "map_outputs", "map_files", "map_truth", "association",
     "motion", "pooling", "prompt_decoder"],
    ["tracker", "motchallenge", "zone_config", "source", "reconnect", "recording",
     "opencv_reader"],
    ["tracks", "track_scores", "zones", "lines", "motion_gate", "pyav_reader"],
    ["heads", "backends", "datasets", "metrics", "sources", "trackers"],
    ["engines", "describe", "head_arrays", "tuned"],
    ["variants"],
    ["model", "model_info"],
    ["loading", "output_check", "gallery", "merging", "tiles", "top_down"],
    ["prompting"],
    ["packing", "interchange", "verification", "evaluation", "drawing", "map_drawing",
     "zone_drawing"],
    ["track_evaluation"],
    ["sinks"],
    ["crew"],
    ["throughput"],
    ["counters", "outlet", "lane", "intake", "watch"],
    ["pipeline"],
    ["streaming", "streaming_async"],
    ["bench"],
    ["cli", "__main__"],
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {
    "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tensorflow", "torch", "onnx",
    "faster_coco_eval", "pycocotools", "av", "lap", "paho", "yaml", "psutil",
    "asyncssh", "pydantic", "rich", "edgecv.converters",
}  # fmt: skip
MAX_LINES = 350


def part(module: Path) -> str:
    """Return the layer's name of a module: its folder, or its own name."""
    return module.relative_to(ROOT).with_suffix("").parts[0]


def imports(module: Path) -> set[str]:
    """List every edgecv module that a module imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return {name for name in found if name == "edgecv" or name.startswith("edgecv.")}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_imports_go_down_only(module: Path) -> None:
    here = part(module)
    if here == "__init__":
        return
    assert here in LEVEL, f"{here}: say in LAYERS where it belongs"
    folder = module.parent
    for name in imports(module):
        steps = name.split(".")[1:]
        if here != "cli":
            assert steps[:1] not in (["converters"], ["targets"]), f"{here} imports {name}"
        if not steps or steps[0] not in LEVEL:
            continue
        if type_checking_only(module, name):
            continue
        there = steps[0]
        if there == here and here in plugins.FOLDERS and len(steps) > 1:
            target = folder / f"{steps[1]}.py"
            assert not target.exists() or target == module, f"{module}: a plug-in imports {name}"
        assert LEVEL[there] <= LEVEL[here], f"{here} imports {name}, which lies above it"


def type_checking_only(module: Path, name: str) -> bool:
    """Tell whether a name is imported for type checkers alone."""
    tree = ast.parse(module.read_text())
    guarded, plain = set(), set()

    def collect(node: ast.AST, into: set[str]) -> None:
        for child in ast.iter_child_nodes(node):
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if isinstance(child, ast.ImportFrom) and child.module:
                into.update({child.module, *(f"{child.module}.{a.name}" for a in child.names)})
            elif isinstance(child, ast.Import):
                into.update(a.name for a in child.names)
            collect(child, guarded if is_guard else into)

    collect(tree, plain)
    return name in guarded and name not in plain


def loaded_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import edgecv",
        "from edgecv import load, open_bundle, Model, Result, Detections, Manifest",
        "import edgecv.engines as d; [d.load_backend(n) for n in d.plugins.names('backends')]",
        "import edgecv.plugins as p; [p.load('heads', n) for n in p.names('heads')]",
        "import edgecv.preprocess, edgecv.codecs, edgecv.result",
        "import edgecv.plugins as p; [p.load('sources', n) for n in p.names('sources')]",
    ],
)
def test_importing_loads_no_engine_and_nothing_heavy(code: str) -> None:
    loaded = loaded_after(code)
    assert not loaded & HEAVY


def test_a_command_line_without_a_model_loads_no_engine() -> None:
    code = (
        "from edgecv.cli.main import cli\ntry: cli(['predict', '--help'])\nexcept SystemExit: pass"
    )
    engines = {"onnxruntime", "openvino", "ai_edge_litert", "torch", "edgecv.converters"}
    assert not loaded_after(code) & engines


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_files_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_public_names_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree), f"{module}: no docstring"
    missing = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if child.name.startswith("_"):
                continue
            if not ast.get_docstring(child):
                missing.append(f"{prefix}{child.name}")
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")

    visit(tree, "")
    assert not missing, f"{module}: without a docstring: {missing}"


def test_every_public_name_exists() -> None:
    for name in edgecv.__all__:
        assert getattr(edgecv, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        edgecv.no_such_name  # noqa: B018


@pytest.mark.parametrize("folder", plugins.FOLDERS)
def test_plugins_are_the_files_of_their_folder(folder: str) -> None:
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert set(plugins.names(folder)) == files
    for name in plugins.names(folder):
        assert plugins.load(folder, name).__doc__
    with pytest.raises(edgecv.EdgecvError, match=r"expected one of .*; got 'nope'"):
        plugins.load(folder, "nope")


def test_no_absolute_path_of_a_machine_is_in_the_code() -> None:
    homes = re.compile(r"(?<![\w.])/(home|root|work|Users)/\w")
    for module in MODULES:
        assert not homes.search(module.read_text()), module


@pytest.mark.parametrize(
    "code",
    [
        "from edgecv import load",
        "import edgecv\nedgecv.predict_all",
        "from edgecv.cli.main import cli\ncli(['predict', '--help'], standalone_mode=False)",
    ],
)
def test_numpy_is_imported_from_the_foot_of_the_stack(code: str) -> None:
    """Deeper, its import takes longer: see `edgecv.__getattr__`."""
    watch = (
        "import sys, traceback\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            for frame in traceback.extract_stack():\n"
        "                print('frame', frame.filename)\n"
        "sys.meta_path.insert(0, Watch())\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", watch + code], capture_output=True, text=True, check=True
    )
    frames = [Path(line[6:]) for line in out.stdout.splitlines() if line.startswith("frame ")]
    assert frames
    ours = {str(file.relative_to(ROOT)) for file in frames if file.is_relative_to(ROOT)}
    assert ours <= {"__init__.py", "cli/main.py"}
