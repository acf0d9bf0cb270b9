"""The most cameras that a rig may have, through every process of a run; one more is refused."""

from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError
from models.simulation.simulated_rig import random_rig
from tests.support.live_run import last_json, simulated_rig, usthand


@pytest.mark.parametrize("command", ["demo", "bench soak", "bench load", "bench viewer", "live"])
@pytest.mark.parametrize("cameras", [1, MAX_CAMERAS + 1])
def test_one_too_many_is_refused_in_one_line(command: str, cameras: int, tmp_path: Path, capsys) -> None:
    arguments = ["--cameras", str(cameras)]
    if command == "live":
        arguments = [str(simulated_rig(tmp_path / "rig.yaml", cameras=cameras))]
    assert main([*command.split(), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert f"a rig has 2 to {MAX_CAMERAS}" in lines[0]
    assert "cameras" in lines[0] and str(cameras) in lines[0]


def test_random_rigs_have_as_many_at_most() -> None:
    assert len(random_rig(1, "dome", MAX_CAMERAS).cameras) == MAX_CAMERAS
    with pytest.raises(UserError, match=f"{MAX_CAMERAS + 1} cameras; a rig has 2 to {MAX_CAMERAS}"):
        random_rig(1, "dome", MAX_CAMERAS + 1)


@pytest.mark.slow
def test_sixteen_cameras_are_recorded_live_and_replayed(tmp_path: Path) -> None:
    """Slowly: sixteen grabbers and encoders share what the machine has."""
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=MAX_CAMERAS, width=160, height=120, fps=4)
    arguments = ["--estimator", "simulated", "--no-viewer", "--no-mesh", "--json"]
    live = usthand("live", rig, *arguments, "--seconds", "5", "--record", tmp_path / "session")
    assert live.returncode == 0, live.stderr
    summary = last_json(live.stdout)
    assert len(summary["cameras"]) == MAX_CAMERAS
    assert all(camera["frames"] > 0 for camera in summary["cameras"].values())
    assert len(list((tmp_path / "session").glob("*.mkv"))) == MAX_CAMERAS
    replay = usthand("replay", tmp_path / "session", *arguments, "--fast", "--poses", tmp_path / "poses.npz")
    assert replay.returncode == 0, replay.stderr
    with np.load(tmp_path / "poses.npz") as poses:
        assert poses["views"].shape[1] == poses["set_views"].shape[1] == MAX_CAMERAS
        assert poses["set_views"].any(0).all(), "each camera took part"
        # The recording has them all, so that a simulated detector sees the hands in each.
        assert poses["views"].any(0).all()
        assert len(poses["joints"]) > 0
