"""`--body` of replay and live: a real recording's arms in the file that is asked for, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import build_parser, main
from app.commands.common import body_of
from calibration.errors import UserError
from calibration.importers import import_recording


@pytest.mark.parametrize("command", [["replay", "session/"], ["live", "rig.yaml"]])
def test_a_simulated_detector_sees_no_arms(command: list[str]) -> None:
    parser = build_parser(command[0])
    assert not body_of(parser.parse_args(command))
    assert body_of(parser.parse_args([*command, "--body"]))
    with pytest.raises(UserError, match="the estimator simulated looks at no image"):
        body_of(parser.parse_args([*command, "--body", "--estimator", "simulated"]))


@pytest.mark.slow
def test_a_replay_writes_the_arms_of_a_real_recording(
    real_rig_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The right forearm of the man in it is about 29 cm long, and his wrist is bent back at first."""
    import_recording(real_rig_dir, tmp_path / "session")
    out = tmp_path / "hands.csv"
    flags = ["--fast", "--no-viewer", "--no-mesh", "--sets", "12", "--body", "--json", "--poses", str(out)]
    assert main(["replay", str(tmp_path / "session"), *flags]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stage_ms"]["body"] > 0
    rows = [row for row in csv.DictReader(out.open()) if row["hand"] == "right"]
    places = {
        joint: {r["frame"]: [float(r[f"{axis}_m"]) for axis in "xyz"] for r in rows if r["joint"] == joint and r["x_m"]}
        for joint in ("wrist", "elbow", "shoulder")
    }
    assert len(places["elbow"]) >= 8
    forearms = [np.subtract(place, places["wrist"][frame]) for frame, place in places["elbow"].items()]
    np.testing.assert_allclose(np.linalg.norm(forearms, axis=1), 0.29, atol=0.04)
    bent = [float(row["flexion_deg"]) for row in rows if row["joint"] == "wrist" and row["flexion_deg"]]
    assert -70 < np.median(bent) < -10
