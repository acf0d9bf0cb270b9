"""Fixtures that more than one test file uses."""

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.bench.virtual_display import virtual_display

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "calibration", "deploy", "models")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, and so would every command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_rig_dir() -> Path:
    """The recording of a real four-camera rig, which is kept outside the repository."""
    data = Path(os.environ.get("USTHAND_TEST_DATA") or ROOT.parent / "shared" / "data")
    found = data / "real_rig"
    if not (found / "camera_array.toml").is_file():
        pytest.skip(f"no real recording at {found}; set USTHAND_TEST_DATA to the directory that holds real_rig/")
    return found


@pytest.fixture(scope="session")
def calibration_cases_dir() -> Path:
    """Rendered recordings with exact truth, and foreign files, which are kept outside the repository."""
    found = Path(os.environ.get("USTHAND_TEST_DATA") or ROOT.parent / "shared" / "data") / "calibration_cases"
    if not found.is_dir():
        pytest.skip(f"no calibration cases at {found}; set USTHAND_TEST_DATA to the directory that holds them")
    return found


@pytest.fixture
def write_video() -> Callable[..., Path]:
    """Writes a small MPEG-4 video: write_video(path, width, height, frames, fps)."""

    def write(path: Path, width: int = 64, height: int = 48, frames: int = 5, fps: float = 30.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        for number in range(frames):
            writer.write(np.full((height, width, 3), 20 * number % 256, np.uint8))
        writer.release()
        return path

    return write


@pytest.fixture(scope="session")
def x_display() -> Iterator[str]:
    """A private X display."""
    with virtual_display() as name:
        yield name


@pytest.fixture(scope="session", autouse=True)
def _own_log_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes to the user's logs."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _own_log_handlers() -> Iterator[None]:
    """No command that ran within a test goes on writing to what was standard error then."""
    yield
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of this source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "-w", folder, source], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built
