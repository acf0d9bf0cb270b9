"""How images are turned goes over into the rig that `usthand calibrate --session` writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.commands.calibrate_session import _rig_to_keep, _turn_notes
from calibration.camera_source import OpenCvSource
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, write_rig
from calibration.session import Session, write_session
from models.simulation.simulated_rig import ring_rig

MIRRORED = ImageTurn(mirrored=True)


def with_turn(turn: ImageTurn, source: OpenCvSource | None = None) -> Rig:
    first, second = ring_rig(2, 64, 48).cameras
    return Rig((replace(first, source=None), replace(second, source=source, turn=turn)))


def session_of(folder: Path, turn: ImageTurn, upright: bool = False) -> Session:
    rig = with_turn(turn)
    videos, times = {name: f"{name}.mp4" for name in rig.camera_ids}, dict.fromkeys(rig.camera_ids, np.arange(3))
    return write_session(folder, rig, videos, times, upright=["cam_1"] if upright else [])


def kept(output: Path, session: Session) -> tuple[ImageTurn, list[str]]:
    rig = _rig_to_keep(output, session)
    return rig["cam_1"].turn, _turn_notes(rig, session)


def test_of_the_session_where_nothing_was_written_before(tmp_path: Path) -> None:
    assert kept(tmp_path / "rig.yaml", session_of(tmp_path / "s", MIRRORED)) == (MIRRORED, [])


def test_of_the_session_where_the_rig_before_opens_nothing(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", with_turn(ImageTurn()))
    assert kept(tmp_path / "rig.yaml", session_of(tmp_path / "s", MIRRORED)) == (MIRRORED, [])


@pytest.mark.parametrize("turn", [ImageTurn(), ImageTurn(rotate=180)], ids=str)
def test_of_the_source_that_the_rig_before_opens(tmp_path: Path, turn: ImageTurn) -> None:
    write_rig(tmp_path / "rig.yaml", with_turn(turn, OpenCvSource(device=1)))
    found, notes = kept(tmp_path / "rig.yaml", session_of(tmp_path / "s", MIRRORED))
    assert found == turn
    assert len(notes) == 1 and "cam_1 are turned upright by `mirrored: true`" in notes[0]


def test_videos_that_were_recorded_upright_say_nothing_against_their_source(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", with_turn(MIRRORED, OpenCvSource(device=1)))
    session = session_of(tmp_path / "s", MIRRORED, upright=True)
    assert kept(tmp_path / "rig.yaml", session) == (MIRRORED, [])
