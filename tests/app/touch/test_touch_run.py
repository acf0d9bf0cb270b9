"""The touch test's window on real processes: rendered touches played as live cameras."""

import os
from pathlib import Path

import pytest
import yaml

from calibration.board.board import write_board
from calibration.rig import read_rig, write_rig
from tests.support.grip_scene import BOARD
from tests.support.live_run import last_json, usthand
from tests.support.touch_scene import touch_scene


@pytest.mark.slow
def test_touches_played_as_live_cameras_are_asked_for_and_reported(tmp_path: Path, x_display: str):
    """Each is held for as long as the window asks; the plan is the one that was rendered."""
    scene = touch_scene("right", (("index", 0), ("index", 11)), sets_each=26, moving=False)
    session = scene.write(tmp_path / "session")
    write_board(tmp_path / "board.yaml", BOARD)
    write_rig(tmp_path / "rig.yaml", session.rig)
    data = yaml.safe_load((tmp_path / "rig.yaml").read_text())
    for entry in data["cameras"]:
        entry["source"] = {"kind": "recorded", "session": str(tmp_path / "session"), "camera": entry["id"]}
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(data))
    assert read_rig(tmp_path / "rig.yaml").rig_id == session.rig.rig_id
    words = ["validate", tmp_path / "rig.yaml", "--board", tmp_path / "board.yaml", "--corners", "A1", "C4"]
    words += ["--hand", "right", "--fingers", "index", "--report", tmp_path / "touch.html", "--json"]
    done = usthand(*words, env={**os.environ, "DISPLAY": x_display})
    assert done.returncode == 0, done.stderr
    figures = last_json(done.stdout)
    assert [(each["finger"], each["corner"]) for each in figures["touches"]] == [("index", "A1"), ("index", "C4")]
    assert 0 < figures["all"]["plane_mm"] < 15
    assert "<svg" in (tmp_path / "touch.html").read_text()
    (folder,) = tmp_path.glob("touches-*")
    assert (folder / "track.npz").is_file()
    assert not (tmp_path / "labels.npz").exists()


def test_without_a_screen_it_says_so(tmp_path: Path):
    scene = touch_scene("right", (("index", 0),), sets_each=1)
    write_board(tmp_path / "board.yaml", BOARD)
    write_rig(tmp_path / "rig.yaml", scene.grips[0].rig)
    words = ["validate", tmp_path / "rig.yaml", "--board", tmp_path / "board.yaml"]
    done = usthand(*words)
    assert done.returncode == 2
    assert "has no `source`" in done.stderr
    data = yaml.safe_load((tmp_path / "rig.yaml").read_text())
    for entry in data["cameras"]:
        entry["source"] = {"kind": "opencv", "device": "nowhere.mp4"}
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(data))
    done = usthand(*words, env={"DISPLAY": ""})
    assert done.returncode == 2
    assert "the touch test needs a screen" in done.stderr
    assert not list(tmp_path.glob("touches-*"))
    both = usthand(*words, "--session", tmp_path)
    assert both.returncode == 2
    assert "give either" in both.stderr
