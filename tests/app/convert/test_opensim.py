"""OpenSim's inverse kinematics on a converted TRC: in an environment of its own, named by USTHAND_OPENSIM_PYTHON."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.convert.conversion import convert
from app.convert.skeleton_animation import NODE_NAMES
from tests.conftest import ROOT
from tests.support.pose_files import write_pose_file


def table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a .mot or .sto file."""
    lines = path.read_text().splitlines()
    begin = lines.index("endheader") + 1
    rows = np.array([line.split() for line in lines[begin + 1 :]], float)
    return dict(zip(lines[begin].split(), rows.T, strict=True))


@pytest.mark.slow
def test_opensims_inverse_kinematics_finds_our_angles(tmp_path: Path) -> None:
    python = os.environ.get("USTHAND_OPENSIM_PYTHON")
    if python is None:
        pytest.skip("USTHAND_OPENSIM_PYTHON names no Python that has OpenSim: docs/convert.md says how")
    poses = write_pose_file(tmp_path / "poses.npz")
    for name in ("hand.trc", "hand.npz"):
        convert(poses, tmp_path / name)
    with np.load(tmp_path / "hand.npz") as file:
        number = [str(name).split("_")[0] for name in file["hand_names"]].index("right")
        name, rows = str(file["hand_names"][number]), file["hand"] == "right"
        angles_deg = dict(zip(file["angle_names"].tolist(), file["angles_deg"][rows].T, strict=True))
        hand = {"rest_joints_m": file["rest_joints_m"][number].tolist(), "start_s": 0, "end_s": 38 / file["rate_hz"]}
    hand["markers"] = [f"{name}_{joint}" for joint in NODE_NAMES]
    (tmp_path / "hand.json").write_text(json.dumps(hand))
    script = ROOT / "tests" / "support" / "opensim_ik.py"
    done = subprocess.run(
        [python, script, tmp_path / "hand.json", tmp_path / "hand.trc", tmp_path],
        cwd=tmp_path,  # where OpenSim leaves its log
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    errors = table(next(tmp_path.glob("*marker_errors*")))
    assert errors["marker_error_RMS"].max() < 0.003  # metres; noise of 1 mm lies on the joints
    found = table(tmp_path / "found.mot")
    for finger in ("index", "middle", "ring", "little"):
        for joint in ("PIP",):
            turned = found[f"{finger}_{joint}_coord_0"]
            ours = angles_deg[f"{finger}_{joint}_flexion"][: len(turned)]
            assert np.abs(np.abs(turned) - np.abs(ours)).mean() < 4, (finger, turned[:5], ours[:5])
