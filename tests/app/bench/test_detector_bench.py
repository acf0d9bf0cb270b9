"""The bench of hand detection: each engine in a process of its own, and what is said where there is no wheel."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_rig
from app.bench import detector, live
from app.bench.detector import bench
from app.bench.live import read_sets
from calibration.errors import UserError
from calibration.session import check_session, write_session
from deploy.image_engines import engines_here
from models.simulation.simulated_rig import ring_rig
from tests.support.live_run import last_json, usthand


def recorded(path: Path, write_video: Callable[..., Path], frames: int) -> Path:
    """A session in which nothing is to be seen."""
    rig = ring_rig(2, 160, 120)
    for camera_id in rig.camera_ids:
        write_video(path / f"{camera_id}.mp4", 160, 120, frames)
    rig = replace(rig, cameras=tuple(replace(camera, source=None) for camera in rig.cameras))
    times_ns = 10**9 + np.arange(frames) * 33_333_333
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in rig.camera_ids}
    return write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, times_ns)).path


def test_a_recording_without_enough_sets_is_refused(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="30 frames of a camera"):
        bench(recorded(tmp_path / "short", write_video, 30), 0.1, 1, None)


def test_a_recording_without_hands_is_compared_with_the_wheel(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"crops_per_s": 0.0, "crops_per_cpu_s": 0.0, "sets_per_s": 20.0, "sets_per_cpu_s": 10.0, "memory_mb": 200.0}
    none = dict.fromkeys(("first_hand_s", "first_hand_cpu_s", "leave_one_out_px"))
    monkeypatch.setattr(detector, "engines_here", lambda: ["openvino"])
    monkeypatch.setattr(detector, "_run", lambda _, kind, *__: {"kind": kind, **row, **none})
    result = bench(recorded(tmp_path / "dark", write_video, 31), 0.1, 1, Path("python"))
    of = result["of_wheel"]["openvino"]
    assert of["sets_per_s"] == 1.0 and of["crops_per_s"] is None


def test_a_recording_whose_images_do_not_fit_into_memory_is_refused(
    tmp_path: Path, write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = check_session(recorded(tmp_path / "long", write_video, 20))
    free = 2 * 20 * 160 * 120 * 3
    monkeypatch.setattr(live.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert len(read_sets(session, recorded_rig(session), None)) == 20
    free -= 1
    with pytest.raises(UserError, match="long: decoded, its images take"):
        read_sets(session, recorded_rig(session), None)


@pytest.fixture(scope="module")
def session(real_rig_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "session"
    done = usthand("import", real_rig_dir, path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.slow
def test_each_engine_is_measured(session: Path) -> None:
    done = usthand("bench", "detector", session, "--seconds", "0.1", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["kind"]: row for row in last_json(done.stdout)["rows"]}
    assert set(rows) == set(engines_here())
    for row in rows.values():
        assert row["first_hand_s"] > row["first_hand_cpu_s"] * 0.2 > 0
        assert row["crops_per_s"] > 0 and row["sets_per_s"] > 0 and row["memory_mb"] > 50
        assert row["sets_with_hand"] > 90 and 4 < row["leave_one_out_px"] < 8
        assert 0.9 * row["detections"] < row["detections_used"] <= row["detections"]


@pytest.mark.slow
def test_a_python_without_the_wheel_is_refused(session: Path, tmp_path: Path) -> None:
    done = usthand("bench", "detector", session, "--seconds", "0.1", "--wheel-python", tmp_path / "python")
    assert done.returncode == 2 and "cannot be started" in done.stderr
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\nexec {sys.executable} -S -E -c 'import mediapipe'\n")
    broken.chmod(0o755)
    done = usthand("bench", "detector", session, "--seconds", "0.1", "--wheel-python", broken)
    assert done.returncode == 2 and "cannot run MediaPipe's wheel" in done.stderr
