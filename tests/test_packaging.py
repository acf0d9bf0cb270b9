"""The wheel: what `pip install` puts on a machine is all that the commands read there, and no more."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.conftest import PACKAGES, ROOT

NOT_PACKAGED = ("models/tools/",)
BROUGHT = (*PACKAGES, "h5py", "rerun_cli", "cuda")
"""Imports that no dependency is named after: ours, and of pynwb, rerun-sdk and cuda-python."""
LOADS_WHAT_IS_PACKAGED = """
import sys
from pathlib import Path
import app.viewer.font, models.weights
from models.hand.mesh import load_mesh
from safetensors import safe_open
assert app.viewer.font.__file__.startswith(sys.argv[1]), app.viewer.font.__file__
assert len(load_mesh().rest_vertices_m) > 500
with safe_open(models.weights.checkpoint_path("shipped"), "np") as tensors:
    assert len(tensors.keys()) > 50
for name in ("palm_detection", "hand_landmark", "pose_detection", "pose_landmark"):
    assert models.weights.mediapipe_model(name).stat().st_size > 1_000_000
from app.cli import main
sys.exit(main(["--help"]))
"""


def test_the_wheel_has_all_modules_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == {
        name for name in modules if not name.startswith(NOT_PACKAGED)
    }
    data = {name for name in names if not name.endswith(".py")}
    assert {name for name in data if not name.endswith((".md", "LICENSE"))} == {
        "app/viewer/roboto.npz",
        "models/forecast/hand_forecast.npz",
        "models/hand/hand_mesh.npz",
        "models/weights/mediapipe/hand_landmark.onnx",
        "models/weights/mediapipe/palm_detection.onnx",
        "models/weights/mediapipe/pose_detection.onnx",
        "models/weights/mediapipe/pose_landmark.onnx",
        "models/weights/small.json",
        "models/weights/live.json",
        "models/weights/live.safetensors",
        "models/weights/small.safetensors",
    }
    assert {"models/weights/MODEL_CARD.md", "models/weights/mediapipe/LICENSE"} <= data


def test_what_is_packaged_is_found_where_the_wheel_is_installed(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-c", LOADS_WHAT_IS_PACKAGED, str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0 and "usage: usthand" in done.stdout, done.stdout + done.stderr


def test_what_the_packages_import_is_declared_for_users_and_not_for_the_tests_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in ("test", "dev")}
    needs = [*project["dependencies"], *(need for extra in extras.values() for need in extra)]
    declared = {_plain(re.split(r"[\[=<>; ]", need)[0]) for need in needs}
    made_by = importlib.metadata.packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if not path.relative_to(ROOT).as_posix().startswith(NOT_PACKAGED)
        for name in _imported(path)
        if name in made_by and name not in BROUGHT and not declared & {_plain(each) for each in made_by[name]}
    }
    assert undeclared == set()


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    of_modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in plain | of_modules}


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
