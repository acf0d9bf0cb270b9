"""The bench of hand detection: each engine in a process of its own, and what is said where there is no wheel."""

import sys
from pathlib import Path

import pytest

from deploy.image_engines import engines_here
from tests.support.live_run import last_json, usthand


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
