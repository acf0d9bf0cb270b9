"""The runtimes send nothing and leave nothing behind outside of this program's cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED_AND_RUN = """
import importlib.util, sys, time
from pathlib import Path
import numpy as np
from deploy.image_engines import load_image_network
for package, engine in (("onnxruntime", "onnxruntime"), ("openvino", "openvino")):
    if importlib.util.find_spec(package):
        network = load_image_network(Path(sys.argv[1]), (224, 224, 3), engine)
        network([np.zeros((224, 224, 3), np.uint8)])
time.sleep(2)
"""


def _run(tmp_path: Path, *arguments: object) -> tuple[list[str], list[str]]:
    """The addresses that a Python program connects to, and the files that it leaves in its home."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the library that notes connections cannot be built")
    library, noted, home = tmp_path / "connections.so", tmp_path / "noted", tmp_path / "home"
    home.mkdir(exist_ok=True)
    source = ROOT / "tests/support/connections.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    # Where a build runs, telemetry is off by itself.
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "LD_PRELOAD": str(library)}
    subprocess.run(
        [sys.executable, "-c", *map(str, arguments)],
        env=environment | {"CONNECTIONS": str(noted), "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=250,
    )
    files = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return noted.read_text().split() if noted.exists() else [], files


def test_connections_and_files_are_noted(tmp_path: Path) -> None:
    program = """
import socket, pathlib
pathlib.Path.home().joinpath("left").touch()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.2", 9))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.3", 9))
"""
    assert _run(tmp_path, program) == (["127.0.0.2", "127.0.0.3"], ["left"])


def test_runtimes_send_and_leave_nothing(tmp_path: Path) -> None:
    connections, files = _run(tmp_path, LOADED_AND_RUN, ROOT / "models/weights/mediapipe/hand_landmark.onnx")
    assert connections == []
    assert [name for name in files if not name.startswith("cache/usthand/")] == []
