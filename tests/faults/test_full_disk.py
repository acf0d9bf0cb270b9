"""Commands that write to a disk that is full: exit code 1 with the file and the reason, and nothing half-written left.

The disk is a file system in memory of a megabyte, which only root may make.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.full_disk import FULL, fill, left_on, linked
from tests.support.live_run import simulated_rig, usthand
from tests.support.pose_files import pose_arrays, write_pose_file

pytestmark = pytest.mark.slow


def said_that_it_is_full(done: subprocess.CompletedProcess, name: str) -> None:
    assert done.returncode == 1, done.stderr
    assert FULL in done.stderr
    assert name in next(line for line in done.stderr.splitlines() if FULL in line)
    assert "Traceback" not in done.stderr


def test_simulate(disk: Path) -> None:
    done = usthand("simulate", disk / "session", "--sets", "60", "--cameras", "4", "--workers", "1")
    said_that_it_is_full(done, "cam_")
    assert left_on(disk) == []


@pytest.mark.parametrize("left", [0, 4096, 400_000])
def test_replay_keeps_the_poses_that_it_can(session: Path, disk: Path, left: int) -> None:
    fill(disk, left)
    arguments = ["--estimator", "simulated", "--fast", "--no-viewer", "--no-mesh", "--poses", disk / "poses.npz"]
    done = usthand("replay", session, *arguments)
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert left > 300_000
    else:
        said_that_it_is_full(done, "poses.npz")
    names = left_on(disk)
    assert [name for name in names if name.startswith(".")] == []
    if "poses.npz" in names:
        with np.load(disk / "poses.npz") as file:
            assert np.isfinite(file["joints"]).all()


def test_label(session: Path, disk: Path) -> None:
    place = linked(session, disk)
    before = left_on(disk)
    filler = fill(disk)
    said_that_it_is_full(usthand("label", place, "--from", "openpose", _openpose(session)), "session")
    assert left_on(disk) == [*sorted([*before, "filler"])]
    filler.unlink()
    done = usthand("label", place, "--from", "openpose", _openpose(session))
    assert done.returncode == 0, done.stderr


def test_adapt(disk: Path, tmp_path: Path) -> None:
    """The hands that it has found do not fit; with room again it goes on, until the pictures of them do not."""
    session = tmp_path / "session"
    done = usthand("simulate", session, "--sets", "80", "--cameras", "3", "--fps", "10", "--seed", "71")
    assert done.returncode == 0, done.stderr
    filler = fill(disk, 12_000)
    said_that_it_is_full(usthand("adapt", session, "-o", disk / "mine", timeout=500), ".adapting-mine")
    assert [path.name for path in disk.rglob("*") if path.is_file()] == ["filler", "plan.json"]
    filler.unlink()
    done = usthand("adapt", session, "-o", disk / "mine", timeout=900)
    said_that_it_is_full(done, "crops")
    assert "goes on where it was interrupted" in done.stderr
    assert ".adapting-mine/found_0/hands.npz" in left_on(disk) and not (disk / "mine").exists()


def _openpose(session: Path) -> Path:
    from calibration.session import read_session
    from tests.support.openpose_files import write_openpose

    place = session.parent / "openpose"
    return place if place.is_dir() else write_openpose(place, read_session(session))


@pytest.mark.parametrize("ending", [".csv", ".npz", ".bvh", ".trc", ".glb", ".jsonl"])
def test_convert(disk: Path, tmp_path: Path, ending: str) -> None:
    poses = write_pose_file(tmp_path / "poses.npz", pose_arrays(200))
    out = disk / f"hands{ending}"
    out.write_text("from before")
    filler = fill(disk, 4096)
    done = usthand("convert", poses, out)
    said_that_it_is_full(done, "hands")
    assert left_on(disk) == ["filler", out.name]
    assert out.read_text() == "from before"
    filler.unlink()


def test_a_recording_keeps_what_was_written(disk: Path, tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, width=160, height=120)
    session = disk / "session"
    session.mkdir()
    place = tmp_path / "elsewhere"
    done = usthand("record", rig, place, "--seconds", "2")
    assert done.returncode == 0, done.stderr
    done = usthand("record", rig, session, "--seconds", "600", "--reserve-mb", "1", "--lossless")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in disk.rglob(".*")] == []
