"""Sources that mirror or lie on their side: what is declared of them makes their images upright everywhere."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from app.sources import make_source
from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.rig import Rig, read_rig, read_uncalibrated_rig, write_rig, write_uncalibrated_rig
from calibration.session import Session, check_session, write_session
from tests.support.source_cases import HEIGHT, WIDTH, rig_camera

TURNS = [ImageTurn(mirrored, rotate) for mirrored in (False, True) for rotate in (0, 90, 180, 270)]
QUADRANTS = np.array([[10, 60], [110, 160]])
"""Grey levels of an upright picture: top left, top right; bottom left, bottom right."""


def picture(width: int, height: int) -> np.ndarray:
    return np.repeat(np.kron(QUADRANTS, np.ones((height // 2, width // 2)))[..., None], 3, axis=2).astype(np.uint8)


def as_delivered(upright: np.ndarray, turn: ImageTurn) -> np.ndarray:
    """What the source shows, by numpy alone: turned back against the clock, then mirrored."""
    image = np.rot90(upright, turn.rotate // 90)
    return image[:, ::-1] if turn.mirrored else image


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_source_image_becomes_upright(turn: ImageTurn) -> None:
    upright = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    delivered = np.ascontiguousarray(as_delivered(upright, turn))
    out = np.zeros_like(upright)
    assert np.array_equal(turn.upright(delivered), upright)
    assert np.array_equal(turn.upright(delivered, out), upright)
    assert bool(turn) == (not np.array_equal(delivered, upright))
    assert turn.exchanged((8, 6)) == delivered.shape[1::-1]
    if turn:
        assert np.array_equal(turn.upright(delivered, out), out)


def write_still(path: Path, image: np.ndarray, frames: int = 5) -> None:
    height, width = image.shape[:2]
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}"]
    command += ["-r", "10", "-i", "-", "-c:v", "mpeg4", "-q:v", "2", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=np.ascontiguousarray(image).tobytes() * frames, check=True)


def session_of(folder: Path, turn: ImageTurn, upright: bool = False) -> Session:
    """Two cameras that show the picture, the second of them as its source delivers it."""
    folder.mkdir(parents=True)
    first = rig_camera(None)
    rig = Rig((first, replace(first, camera_id="cam_1", turn=turn)))
    shown = picture(WIDTH, HEIGHT)
    write_still(folder / "cam_0.avi", shown)
    write_still(folder / "cam_1.avi", shown if upright else as_delivered(shown, turn))
    times = dict.fromkeys(rig.camera_ids, np.arange(5) * 100_000_000)
    videos = {camera_id: f"{camera_id}.avi" for camera_id in rig.camera_ids}
    return write_session(folder, rig, videos, times, upright=["cam_1"] if upright else [])


def levels(image: np.ndarray) -> np.ndarray:
    """The quadrants' levels of a picture, to tens."""
    height, width = image.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return np.rint(np.array([[image[row, column].mean() for column in columns] for row in rows]) / 10) * 10


@pytest.mark.parametrize("turn", TURNS[1:], ids=str)
def test_a_session_is_read_and_replayed_upright(turn: ImageTurn, tmp_path: Path) -> None:
    session = check_session(session_of(tmp_path / "s", turn).path, deep=True)
    assert session.rig["cam_1"].turn == turn
    video = session.open_video("cam_1")
    assert video.grab()
    image = video.retrieve()
    video.close()
    assert image is not None and image.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(levels(image), QUADRANTS)

    rig = recorded_rig(session)
    sets = list(recorded_sets(session, rig, recorded_phases_of(session, rig)))
    assert len(sets) == 5
    assert all(np.array_equal(levels(frame.pixels), QUADRANTS) for each in sets for frame in each.frames.values())

    source, out = make_source(rig["cam_1"], rig), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mode = source.open()
    source.grab(1.0)
    source.retrieve(out)
    source.close()
    assert (mode.width, mode.height) == (WIDTH, HEIGHT)
    assert np.array_equal(levels(out), QUADRANTS)


def test_videos_that_were_recorded_upright_are_left_so(tmp_path: Path) -> None:
    session = check_session(session_of(tmp_path / "s", ImageTurn(mirrored=True, rotate=90), upright=True).path)
    assert session.upright == {"cam_1"} and session.rig["cam_1"].turn.mirrored
    assert not recorded_rig(session)["cam_1"].turn
    assert "upright: true" in (session.path / "session.yaml").read_text()
    video = session.open_video("cam_1")
    video.grab()
    image = video.retrieve()
    video.close()
    assert image is not None and np.array_equal(levels(image), QUADRANTS)


def test_a_size_that_does_not_go_with_the_turn_is_refused(tmp_path: Path) -> None:
    session = session_of(tmp_path / "s", ImageTurn(rotate=90))
    flat = as_delivered(as_delivered(picture(WIDTH, HEIGHT), ImageTurn(rotate=90)), ImageTurn(rotate=90))
    write_still(session.path / "cam_1.avi", flat)
    with pytest.raises(UserError, match=r"320x240, which with `rotate: 90` makes images of 240x320.*\[240, 320\]"):
        check_session(session.path)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_rig_yaml_keeps_it(turn: ImageTurn, tmp_path: Path) -> None:
    first = rig_camera(None)
    rig = Rig((first, replace(first, camera_id="cam_1", turn=turn)))
    write_rig(tmp_path / "rig.yaml", rig)
    assert [camera.turn for camera in read_rig(tmp_path / "rig.yaml").cameras] == [ImageTurn(), turn]
    assert [camera.turn for camera in read_uncalibrated_rig(tmp_path / "rig.yaml").cameras] == [ImageTurn(), turn]
    write_uncalibrated_rig(tmp_path / "bare.yaml", rig)
    assert [camera.turn for camera in read_uncalibrated_rig(tmp_path / "bare.yaml").cameras] == [ImageTurn(), turn]
    assert all(line in (tmp_path / "rig.yaml").read_text() for line in str(turn).split(", "))


def test_another_angle_is_refused(tmp_path: Path) -> None:
    write_rig(tmp_path / "rig.yaml", Rig((rig_camera(None), replace(rig_camera(None), camera_id="cam_1"))))
    text = (tmp_path / "rig.yaml").read_text()
    (tmp_path / "rig.yaml").write_text(text.replace("- id: cam_1\n", "- id: cam_1\n  rotate: 45\n"))
    with pytest.raises(UserError, match="rotate"):
        read_rig(tmp_path / "rig.yaml")
