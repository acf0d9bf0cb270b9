"""The five commands of the README, from videos without time stamps to a C3D: rendered, with encoded sound."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli import main
from app.convert.reading import read_recording
from calibration.board.board import Board, write_board
from calibration.board.rendering import BoardRenderer, Exposure
from calibration.rig import Rig, write_rig
from calibration.rotations import inverse_transform, make_transform
from calibration.session import read_session
from models.files.truth import read_truth
from models.simulation.hands import CENTRE_WORLD_M
from tests.conftest import ROOT
from tests.support.begun_videos import SOUND_HZ, heard, room_sound, write_video
from tests.support.board_scene import arc_rig, board_path

pytestmark = pytest.mark.slow
BOARD = Board(type="charuco", columns=4, rows=5, square_m=0.04, dictionary="DICT_4X4_50", marker_m=0.03)
FPS, BEGUN = 30, {"cam_0": 0, "cam_1": 17, "cam_2": 6}
"""Frames of the happening that are over when each camera begins."""
T_ARC_WORLD = np.diag([1.0, -1.0, -1.0, 1.0])
"""The arc of cameras looks down, at the middle of the hands."""
T_ARC_WORLD[:3, 3] = -T_ARC_WORLD[:3, :3] @ CENTRE_WORLD_M


def _rig() -> Rig:
    rig = arc_rig(3, distance_m=0.8, focal_px=620.0, size=(640, 480), span_deg=70.0)
    return Rig(tuple(replace(each, T_cam_world=each.T_cam_world @ T_ARC_WORLD) for each in rig.cameras))


def _with_sound(folder: Path, name: str, images: list[np.ndarray], sound: np.ndarray) -> None:
    begun = BEGUN[name]
    samples = heard(sound, int(name[-1]), begun / FPS)[: round(len(images[begun:]) / FPS * SOUND_HZ)]
    write_video(folder / f"{name}.mp4", iter(images[begun:]), FPS, samples)


def _film_board(folder: Path, rig: Rig, seconds: float) -> None:
    folder.mkdir()
    times_s = np.arange(round(seconds * FPS)) / FPS
    turns, places = board_path(BOARD, seconds, np.random.default_rng(4), reach_m=0.12, pace_s=1.5)(times_s)
    renderer = BoardRenderer(BOARD)
    for camera in rig.cameras:
        images = []
        for number, (turn, place) in enumerate(zip(turns, places, strict=True)):
            T_cam_board = camera.T_cam_world @ inverse_transform(T_ARC_WORLD) @ make_transform(turn, place)
            images.append(renderer.render(camera.camera, T_cam_board, Exposure(noise=1.0), seed=number, supersample=2))
        _with_sound(folder, camera.camera_id, images, room_sound(1))


def _film_hand(folder: Path, session: Path, rig: Rig) -> None:
    folder.mkdir()
    for name in rig.camera_ids:
        capture, images = cv2.VideoCapture(str(read_session(session).video_path(name))), []
        while (read := capture.read())[0]:
            images.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
        _with_sound(folder, name, images, room_sound(2))


def five_commands(page: str) -> list[str]:
    """What stands after `usthand` in the lines that a page gives from videos to C3D."""
    (block,) = re.findall(r"```\n(usthand import board_videos/[^`]*)```", (ROOT / page).read_text(encoding="utf-8"))
    return [line.removeprefix("usthand ") for line in block.splitlines()]


def test_five_commands_from_videos_to_a_c3d(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ezc3d = pytest.importorskip("ezc3d")
    rig = _rig()
    write_rig(tmp_path / "true.yaml", rig)
    write_board(tmp_path / "board.yaml", BOARD)
    assert main(["simulate", str(tmp_path / "true"), "--rig", str(tmp_path / "true.yaml"), "--sets", "75", "--hands",
                 "right", "--in-front", "--no-things"]) == 0  # fmt: skip
    _film_board(tmp_path / "board_videos", rig, seconds=5.0)
    _film_hand(tmp_path / "videos", tmp_path / "true", rig)
    said = []
    assert len(five_commands("README.md")) == 5 and five_commands("docs/import.md") == five_commands("README.md")
    for line in five_commands("README.md"):
        own = [str(tmp_path / word) if word.endswith("/") or "." in word else word for word in line.split()]
        code, told = main([*own, "--json"]), capsys.readouterr()
        assert code == 0, f"{line}: {told.err}"
        said.append(json.loads(told.out.splitlines()[-1]))
    for printed in (said[0], said[2]):
        assert printed["sync"]["method"] == "sound"
        begun_ms = printed["sync"]["begin_ms"]
        assert [begun_ms[name] for name in BEGUN] == pytest.approx([1e3 * each / FPS for each in BEGUN.values()], abs=1)
    assert said[1]["verdict"] in ("good", "usable")
    file = ezc3d.c3d(str(tmp_path / "hands.c3d"))
    assert file["header"]["points"]["frame_rate"] == pytest.approx(FPS, rel=0.02)
    assert _error_mm(tmp_path) < 15


def _error_mm(folder: Path) -> float:
    """The median error of joints, after the best rigid motion: the rig's world is its own."""
    truth = read_truth(folder / "true" / "truth.npz", 3)
    hand = max(read_recording(folder / "poses.npz").hands, key=lambda each: each.valid.sum())
    recording = read_recording(folder / "poses.npz")
    # The first camera began first, and the session's clock with it.
    true_m = truth.hands["right"].joints_world_m
    true_s = (truth.times_ns - truth.times_ns[0]) * 1e-9
    frames = np.flatnonzero(hand.valid)
    assert len(frames) > 30
    times_s = recording.times_ns[frames] * 1e-9
    nearest = np.abs(times_s[:, None] - true_s).argmin(1)
    a, b = hand.joints_world_m[frames].reshape(-1, 3), true_m[nearest].reshape(-1, 3)
    u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    moved = (a - a.mean(0)) @ turn + b.mean(0)
    return float(np.median(np.linalg.norm(moved - b, axis=1))) * 1e3
