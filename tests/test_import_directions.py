"""The house's import rules, read from the source.

Packages: app -> deploy -> models -> calibration. Folders: none imports back into one that imports it. Libraries: one
owner each.
"""

import ast
import fnmatch
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up: a package imports itself and those before it.
PACKAGES = ("calibration", "models", "deploy", "app")
CALIBRATION_LIBRARIES = {"numpy", "scipy", "cv2", "yaml", "msgspec", "tomli_w"}
OWNERS = {
    "av": (
        "app/recording/*",
        "app/sources/*",
        "app/syncing/signals.py",
        "app/viewer/video.py",
        "calibration/video.py",
        "models/simulation/recording.py",
    ),
    "matplotlib": ("calibration/report/*",),
    "zmq": ("app/transport/*",),
    "open3d": ("app/viewer/*", "models/simulation/raycasting.py"),
    "mediapipe": ("app/bench/mediapipe_wheel.py",),
    "pypylon": ("app/sources/pylon*.py",),
    "onnxruntime": ("deploy/engines/*", "models/tools/*"),
    "openvino": ("deploy/engines/*",),
    "tensorrt": ("deploy/tensorrt/library.py",),
    "tensorrt_rtx_bindings": ("deploy/tensorrt/library.py",),
    "tensorrt_rtx_libs": ("deploy/tensorrt/library.py",),
    "cuda": ("deploy/tensorrt/cuda.py",),
    "ezc3d": ("app/convert/c3d.py",),
    "viser": ("app/web/*",),
    "rerun": ("app/rerun_view/*", "app/convert/rerun_file.py"),
    "mcap": ("app/convert/mcap_file.py",),
    "pyarrow": ("app/convert/tables.py", "app/batch/summary.py"),
    "dask": ("app/batch/dask_engine.py",),
    "distributed": ("app/batch/dask_engine.py",),
    "ray": ("app/batch/ray_engine.py",),
    "submitit": ("app/batch/slurm_engine.py",),
    "fsspec": ("app/batch/storage.py",),
    "pxr": ("app/convert/usd.py",),
    "pynwb": ("app/convert/nwb.py",),
    "ndx_pose": ("app/convert/nwb.py",),
    "pythonosc": ("app/streams/osc.py",),
    "pylsl": ("app/streams/lsl.py", "app/bench/stream_receivers.py"),
    "websockets": ("app/streams/websocket.py", "app/web/*", "app/bench/stream_receivers.py"),
    "paho": ("app/streams/mqtt.py", "app/bench/stream_receivers.py"),
}
NO_TORCH = ("app", "calibration")
# Imported only where a run asks for this engine; test_worker_torch.py looks at the processes of the others.
TORCH_ENGINE = "deploy.engines.torch_engine"
PROCESS_MODULES = (
    "app.capture.grabber",
    "app.latency.led_process",
    "app.latency.process",
    "app.recording.encoder",
    "app.recording.process",
    "app.rerun_view.process",
    "app.run.supervisor",
    "app.streams.process",
    "app.viewer.process",
    "app.web.process",
    "app.wizard.process",
    "app.worker.process",
)


def find_violations(root: Path) -> list[str]:
    """One line for each broken rule in the packages under `root`, naming the file and what it imports."""
    modules = {
        _module_name(root, path): path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))
    }
    imports = {name: list(_imports(name, path, modules)) for name, path in modules.items()}
    found = []
    for name, path in modules.items():
        file = path.relative_to(root).as_posix()
        for imported in imports[name]:
            found += [f"{file} imports {imported}: {rule}" for rule in _broken_rules(file, imported)]
    graph = {name: {found for found in imported if found in modules} for name, imported in imports.items()}
    without_torch = {name: reached - {TORCH_ENGINE} for name, reached in graph.items()}
    found += [f"{' -> '.join(cycle)}: a cycle" for cycle in _cycles(graph)]
    found += [f"{' -> '.join(cycle)}: folders that import back" for cycle in _cycles(_folder_graph(graph, modules))]
    for name in modules:
        reached = _reachable(graph, name)
        if name in PROCESS_MODULES:
            others = sorted((reached - {name}) & set(PROCESS_MODULES))
            found += [f"{name} imports {other}: process modules share messages, not code" for other in others]
        if name.startswith("app."):
            models = {module for module in _reachable(without_torch, name) if module.startswith("models")}
            found += [
                f"{name} reaches {module}, which imports torch: live processes run without it"
                for module in sorted(models)
                if any(_top(imported) == "torch" for imported in imports[module])
            ]
    return found


def _broken_rules(file: str, imported: str) -> Iterator[str]:
    package, library = file.split("/")[0], _top(imported)
    if library in PACKAGES:
        if PACKAGES.index(library) > PACKAGES.index(package):
            yield f"imports go app -> deploy -> models -> calibration, never from {package} to {library}"
        return
    if library == "tests":
        yield "product code does not import tests"
    owned = any(fnmatch.fnmatch(file, owner) for owner in OWNERS.get(library, ()))
    if library in OWNERS and not owned:
        yield f"only {' and '.join(OWNERS[library])} may use {library}"
    if library in ("torch", "torchvision") and package in NO_TORCH:
        yield f"{package} runs without torch"
    if package == "calibration" and not owned and library not in CALIBRATION_LIBRARIES | sys.stdlib_module_names:
        yield f"calibration stands on {', '.join(sorted(CALIBRATION_LIBRARIES))} and the standard library alone"


def _folder_graph(graph: dict[str, set[str]], modules: dict[str, Path]) -> dict[str, set[str]]:
    """Which folder imports which. A folder's `__init__.py` is its front door, a room of its own: it may show what lies
    deeper, so that nothing below may look back at it."""

    def room(module: str) -> str:
        return f"{module}/" if modules[module].name == "__init__.py" else module.rpartition(".")[0]

    rooms: dict[str, set[str]] = {room(module): set() for module in modules}
    for module, imported in graph.items():
        rooms[room(module)] |= {room(other) for other in imported} - {room(module)}
    return rooms


def _top(module: str) -> str:
    return module.split(".")[0]


def _module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """What a file imports anywhere in it, also inside functions: whole module names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = (
                [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
                if node.level
                else [node.module]
            )
            module = ".".join(part for part in base if part)
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield submodule if submodule in modules else module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = graph[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Each group of modules that import one another, once."""
    reached = {name: set().union(*(_reachable(graph, target) for target in graph[name])) for name in graph}
    seen: set[str] = set()
    for name in sorted(graph):
        if name in reached[name] and name not in seen:
            cycle = sorted(other for other in reached[name] if name in reached[other])
            seen |= set(cycle)
            yield cycle


def test_the_repository_keeps_the_rules() -> None:
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} >= set(PACKAGES)
    assert find_violations(ROOT) == []


GOOD = {
    "calibration/board/board.py": "from calibration.rig import Rig\n",
    "calibration/board/views.py": "",
    "calibration/solve/fit.py": "from calibration.board.board import Board\nfrom calibration import rig\n",
    "models/hand/__init__.py": "from models.hand.hands import hands_of\nfrom models.hand.mesh import mesh\n",
    "models/hand/mesh.py": "from models.network.net import Net\n",
    "calibration/rig.py": "import json\nimport numpy as np\nfrom scipy import optimize\nimport cv2.fisheye\n",
    "models/hand/hands.py": "from calibration.rig import Rig\nfrom calibration import rig\n",
    "models/network/net.py": "import torch\n",
    "deploy/engines/engine.py": "from models.network import net\nimport torch\n",
    "deploy/tensorrt/library.py": "import tensorrt\nimport importlib\nimportlib.import_module('tensorrt_rtx_libs')\n",
    "app/transport/sockets.py": "import zmq\n",
    "app/viewer/scene.py": "import open3d as o3d\n",
    "app/viewer/process.py": "from app.viewer import scene\n",
    "models/simulation/raycasting.py": "from open3d.t.geometry import RaycastingScene\n",
    "app/sources/pylon.py": "def f():\n    from pypylon import pylon\n",
    "app/bench/mediapipe_wheel.py": "import mediapipe\n",
    "app/capture/grabber.py": "from app.transport import sockets\n",
    "app/worker/process.py": "from ..transport.sockets import Subscriber\nfrom models.hand.hands import hands_at\n",
    "app/run/supervisor.py": "COMMAND = ['python', '-m', 'app.capture.grabber']\n",
}

PLANTED = {
    "up from calibration": ("calibration/rig.py", "import models.hand.hands", "never from calibration to models"),
    "up from models": ("models/hand/hands.py", "from app.worker.process import main", "never from models to app"),
    "up from deploy": ("deploy/engines/engine.py", "import app", "never from deploy to app"),
    "up, lazily": ("models/hand/hands.py", "def f():\n    import deploy.engines.engine", "never from models to deploy"),
    "up, by name": (
        "models/hand/hands.py",
        "import importlib\nimportlib.import_module('app.worker.process')",
        "from models to app",
    ),
    "library in calibration": ("calibration/rig.py", "import tqdm", "calibration stands on"),
    "matplotlib elsewhere": ("calibration/rig.py", "import matplotlib", "only calibration/report/* may use"),
    "zmq elsewhere": ("app/worker/process.py", "import zmq.auth", "only app/transport/* may use zmq"),
    "zmq, lazily": (
        "app/worker/process.py",
        "class A:\n    def f(self):\n        from zmq import Context",
        "may use zmq",
    ),
    "open3d elsewhere": (
        "app/worker/process.py",
        "from open3d import geometry",
        "only app/viewer/* and models/simulation/",
    ),
    "open3d beside its owner": ("models/simulation/renderer.py", "import open3d", "raycasting.py may use open3d"),
    "mediapipe elsewhere": ("app/worker/process.py", "import mediapipe as mp", "may use mediapipe"),
    "pypylon elsewhere": ("app/sources/opencv.py", "from pypylon import pylon", "may use pypylon"),
    "tensorrt in app": (
        "app/worker/process.py",
        "import tensorrt as trt",
        "only deploy/tensorrt/library.py may use tensorrt",
    ),
    "onnxruntime elsewhere": (
        "deploy/batches.py",
        "import onnxruntime as ort",
        "may use onnxrun",
    ),
    "openvino in app": ("app/worker/process.py", "from openvino import Core", "only deploy/engines/* may use openvino"),
    "tensorrt in models": ("models/hand/hands.py", "import tensorrt_rtx_bindings", "only deploy/tensorrt/library.py"),
    "tensorrt beside its owner": (
        "deploy/engines/engine.py",
        "import tensorrt",
        "only deploy/tensorrt/library.py may use",
    ),
    "cuda beside its owner": (
        "deploy/engines/engine.py",
        "from cuda.bindings import runtime",
        "tensorrt/cuda.py may use cuda",
    ),
    "torch in app": ("app/worker/process.py", "import torch.nn as nn", "app runs without torch"),
    "torch in calibration": ("calibration/rig.py", "import torch", "calibration runs without torch"),
    "torch through models": (
        "app/worker/process.py",
        "from models.network import net",
        "models.network.net, which imports torch",
    ),
    "a process in a process": (
        "app/run/supervisor.py",
        "from app.capture import grabber",
        "app.run.supervisor imports app.capture.grabber",
    ),
    "a process, relatively": (
        "app/viewer/process.py",
        "from ..worker.process import main",
        "process imports app.worker.process",
    ),
    "a process, indirectly": (
        "app/transport/sockets.py",
        "import app.worker.process",
        "app.capture.grabber imports app.worker.process",
    ),
    "a folder imports back": (
        "models/network/net.py",
        "import models.hand.mesh",
        "models.hand -> models.network: folders",
    ),
    "a folder imports back, lazily": (
        "calibration/board/board.py",
        "def f():\n    from calibration.solve import fit",
        "calibration.board -> calibration.solve: folders",
    ),
    "the ground imports back": (
        "calibration/rig.py",
        "import calibration.board.views",
        "calibration -> calibration.board: folders",
    ),
    "below a front door": (
        "models/hand/hands.py",
        "from models.hand import hands_of",
        "models.hand -> models.hand/: folders",
    ),
    "a cycle": ("app/viewer/scene.py", "from app.viewer import process", "app.viewer.process -> app.viewer.scene"),
    "tests": ("app/worker/process.py", "from tests.conftest import ROOT", "does not import tests"),
}


def _write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in {path.parent for path in root.rglob("*.py")}:
        (folder / "__init__.py").touch()


def test_a_tree_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    _write_tree(tmp_path, GOOD)
    assert find_violations(tmp_path) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found(planted: str, tmp_path: Path) -> None:
    file, line, expected = PLANTED[planted]
    _write_tree(tmp_path, {**GOOD, file: GOOD.get(file, "") + line + "\n"})
    assert any(expected in violation for violation in find_violations(tmp_path)), find_violations(tmp_path)
