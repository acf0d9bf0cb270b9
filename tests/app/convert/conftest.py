"""One recording for all formats."""

from pathlib import Path

import pytest

from app.convert.conversion import prepare
from app.convert.hand_recording import HandRecording
from app.convert.reading import read_recording
from tests.support.arm_files import KNOWN, write_arm_file
from tests.support.pose_files import write_pose_file


@pytest.fixture(scope="session")
def pose_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_file(tmp_path_factory.mktemp("poses") / "poses.npz")


@pytest.fixture(scope="session")
def recording(pose_file: Path) -> HandRecording:
    """Both hands, fitted, in 40 frames; the short gap of the left one is filled, the long one stays."""
    return prepare(read_recording(pose_file), fill_ms=100)


@pytest.fixture(scope="session")
def arm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose file with an arm of each hand, in the frames of tests.support.arm_files.KNOWN."""
    return write_arm_file(tmp_path_factory.mktemp("arm_poses") / "poses.npz", KNOWN)


@pytest.fixture(scope="session")
def with_arms(arm_file: Path) -> HandRecording:
    """Both hands, fitted, with their arms."""
    return prepare(read_recording(arm_file))
