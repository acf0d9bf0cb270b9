"""`usthand simulate` and the demo's rendered loop: what is written is what was simulated, and reads back."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli import main
from app.sources import make_source
from app.sources.source import SourceError
from calibration.camera_source import SimulatedSource
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera, write_rig
from calibration.session import Session, check_session
from models.data.session_cache import cache_session
from models.files.labels import read_labels
from models.files.truth import Truth, read_truth
from models.simulation.hands import LOOP_S, hands_at
from models.simulation.recording import Timing, record_session
from models.simulation.rendered_loop import RenderedLoop, cached_loop, loop_files, loop_sets, render_loop
from models.simulation.renderer import render
from models.simulation.rendering_pool import RenderingPool, SceneSpec
from models.simulation.simulated_rig import random_rig, ring_rig
from models.simulation.simulated_scene import SceneSettings, demo_scene, random_scene
from tests.support.source_cases import new_image

SMALL = ("--size", "160x120", "--workers", "1")


@pytest.fixture(scope="module")
def session_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulate") / "session"
    faults = ("--offset-ms", "15", "--jitter-ms", "3", "--drop-rate", "0.2")
    command = [
        "simulate",
        path,
        "--sets",
        "20",
        "--cameras",
        "3",
        "--seed",
        "3",
        "--labels",
        "perfect",
        *faults,
        *SMALL,
    ]
    assert main([str(word) for word in command]) == 0
    return path


@pytest.fixture(scope="module")
def session(session_dir: Path) -> Session:
    return check_session(session_dir, deep=True)


@pytest.fixture(scope="module")
def truth(session_dir: Path) -> Truth:
    return read_truth(session_dir / "truth.npz", 3)


def images(session: Session, camera_id: str) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(session.video_path(camera_id)))
    while (read := capture.read())[0]:
        yield read[1]
    capture.release()


def test_the_session_has_the_times_and_the_faults_that_were_asked_for(session: Session, truth: Truth) -> None:
    assert len(truth.times_ns) == 20
    np.testing.assert_allclose(np.diff(truth.times_ns), 1e9 / 30, atol=1)
    frames = 0
    for camera in session.rig.cameras:
        times_ns = session.frame_times_ns(camera.camera_id) - camera.time_offset_ns
        frames += len(times_ns)
        off_ns = np.abs(times_ns[:, None] - truth.times_ns).min(axis=1)
        assert 0.5e6 < off_ns.std() + off_ns.mean() < 10e6
        assert off_ns.max() < 0.45e9 / 30 + 1
    assert 30 < frames < 60
    assert len({camera.time_offset_ns for camera in session.rig.cameras}) == 3


def test_the_videos_show_the_scene_of_the_seed_at_the_frames_times(session: Session) -> None:
    scene = random_scene(session.rig, 30_000)
    camera = session.rig.cameras[1]
    times_ns = session.frame_times_ns(camera.camera_id) - camera.time_offset_ns
    for frame, image in list(enumerate(images(session, camera.camera_id)))[::5]:
        shown, later = (render(camera, scene.state(t / 1e9)).image for t in (times_ns[frame], times_ns[frame] + 2e9))
        hands = np.abs(shown.astype(int) - later).max(axis=2) > 60
        assert hands.sum() > 50
        # What JPEG loses, at most; the other moment differs by over 60 there.
        assert np.abs(shown.astype(int) - image)[hands].mean() < 12


def test_truth_and_labels_are_of_the_same_hands(session: Session, session_dir: Path, truth: Truth) -> None:
    scene = random_scene(session.rig, 30_000)
    labels = read_labels(session_dir / "labels.npz", 3)
    assert len(labels) > 60
    assert set(truth.hands) == {"left", "right"}
    for side, hand in truth.hands.items():
        for index in (0, 13):
            np.testing.assert_allclose(
                hand.joints_world_m[index], scene.hands(truth.times_ns[index] / 1e9)[side].joints_world_m, atol=1e-9
            )
        np.testing.assert_array_equal(hand.shape, scene.actors[side].shape)
        assert 0.2 < hand.visible.mean() < 1
    for row in range(0, len(labels), 7):
        camera = session.rig.cameras[labels.camera[row]]
        side = "right" if labels.right[row] else "left"
        joints = scene.hands(labels.time_ns[row] / 1e9)[side].joints_world_m
        # "perfect" labels are the truth, to float32.
        np.testing.assert_allclose(labels.keypoints_px[row], camera.project(joints), atol=1e-3)
        stamps = session.frame_times_ns(camera.camera_id) - camera.time_offset_ns
        assert labels.time_ns[row] in stamps


def test_several_processes_write_the_same_session(session: Session, session_dir: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    spec = SceneSpec(session.rig, 30_000)
    with RenderingPool(2) as pool:
        record_session(again, spec, Timing(20, 30.0, 3.0, 0.2), pool, "perfect")
    for name in ("frames.csv", "cam_0.mp4", "cam_2.mp4", "truth.npz"):
        assert (again / name).read_bytes() == (session_dir / name).read_bytes(), name


def test_sessions_with_their_own_hands_and_rigs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "many"
    command = f"simulate {out} --sets 5 --sessions 2 --cameras 2 --hands left --layout dome --seed 1 --json"
    assert main([*command.split(), *SMALL]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["sets"], summary["images"]) == (5, 10)
    sessions = [check_session(Path(path), deep=True) for path in summary["sessions"]]
    assert [len(session.frame_times_ns("cam_0")) for session in sessions] == [3, 2]
    assert sessions[0].rig.rig_id != sessions[1].rig.rig_id
    one, other = (read_truth(session.path / "truth.npz", 2).hands["left"].shape for session in sessions)
    assert not np.allclose(one, other)


def test_a_rig_of_ones_own(tmp_path: Path) -> None:
    rig = random_rig(7, "desk", 2, 128, 96, 25.0)
    write_rig(tmp_path / "rig.yaml", rig)
    out = tmp_path / "session"
    command = f"simulate {out} --rig {tmp_path / 'rig.yaml'} --sets 2 --workers 1 --in-front --no-things"
    assert main(command.split()) == 0
    session = check_session(out)
    assert session.rig.rig_id == rig.rig_id
    assert np.diff(session.frame_times_ns("cam_0"))[0] == 40_000_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--sets 5 --cameras 0", "0 cameras"),
        ("--sets 5 --cameras 1", "1 cameras"),
        ("--sets 5 --cameras 17", "17 cameras"),
        ("--sets 5 --size 20x20", "20x20"),
        ("--sets 5 --layout pyramid", "unknown layout `pyramid`; known: ring, dome, desk"),
        ("--sets 0", "at least 1"),
        ("--sets 2 --sessions 3", "each needs at least one"),
        ("--sets 2 --workers 0", "at least 1"),
        ("--sets 2 --seed -1", "from 0"),
        ("--contact-sheet {tmp}/hands.png --seed -1", "from 0"),
        ("--sets 2 --fps 1e-9", "from 1 to 1000"),
        ("--sets 1000000000000", "Give more `--sessions`"),
        ("--hours 1e308", "Give more `--sessions`"),
        ("--sets 2 --rig {tmp}/away.yaml", "0 of 2 cameras look at the simulated hands"),
        ("--sets 2 --drop-rate 1", "below 1"),
        ("--sets 2 --touching --hands left", "two hands are needed"),
        ("--sets 2 --backgrounds {tmp}", "no background image"),
        ("--sets 2 --rig {tmp}/none.yaml", "none.yaml"),
        ("--sets 2 --rig {tmp}/rig.yaml --cameras 3", "has 2"),
        ("--sets 2 --rig {tmp}/rig.yaml --size 640x480", "Leave one of them out"),
        ("", "--sets N"),
    ],
)
def test_bad_input_is_named_and_nothing_is_left(
    arguments: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rig = ring_rig(2)
    write_rig(tmp_path / "rig.yaml", rig)
    turned = np.diag([1.0, -1, -1, 1])
    away = tuple(replace(camera, T_cam_world=turned @ camera.T_cam_world) for camera in rig.cameras)
    write_rig(tmp_path / "away.yaml", replace(rig, cameras=away))
    before = sorted(tmp_path.iterdir())
    assert main(["simulate", str(tmp_path / "out"), *arguments.format(tmp=tmp_path).split()]) == 2
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments", ["--size 640", "--sets 5 --hours 1", "--hours -1", "--offset-ms 1e9", "--labels best"]
)
def test_bad_usage(arguments: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(tmp_path / "out"), *arguments.split()])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--cameras 1", "2 to 16 cameras"),
        ("--seed -1", "from 0"),
        ("--headless hands.avi", "must end in `.mp4`"),
        ("--drawn --estimator mediapipe", "Leave `--drawn` out"),
    ],
)
def test_a_demo_that_cannot_be_is_told(arguments: str, told: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["demo", *arguments.split()]) == 2
    assert told in capsys.readouterr().err


def test_what_is_there_already_stays(session_dir: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in session_dir.iterdir()}
    assert main(["simulate", str(session_dir), "--sets", "3"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in session_dir.iterdir()} == before


def test_a_camera_inside_a_hand_is_told_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rig = ring_rig(3, 64, 48)
    joint_m = random_scene(rig, 0, SceneSettings(things=False)).hands(1.0)["right"].joints_world_m[9]
    T = rig.cameras[0].T_cam_world.copy()
    T[:3, 3] = -T[:3, :3] @ joint_m
    inside = RigCamera(camera_id="cam_0", camera=rig.cameras[0].camera, T_cam_world=T)
    write_rig(tmp_path / "rig.yaml", Rig((inside, *rig.cameras[1:]), rig.sync))
    command = f"simulate {tmp_path / 'out'} --rig {tmp_path / 'rig.yaml'} --sets 1 --no-things --workers 1"
    assert main(command.split()) == 2
    assert "`cam_0` is inside a hand" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["rig.yaml"]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, Path]:
    """A loop of 8 images a camera."""
    rig = ring_rig(2, 160, 120, fps=1.0)
    return rig, cached_loop(rig, tmp_path_factory.mktemp("cache"), lambda rig, folder: render_loop(rig, folder, 1))


def test_the_loop_is_rendered_once(loop: tuple[Rig, Path]) -> None:
    rig, folder = loop
    assert loop_sets(rig) == 8

    def fail(rig: Rig, folder: Path) -> None:
        raise AssertionError("rendered again")

    def give_up(rig: Rig, folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    assert cached_loop(rig, folder.parent, fail) == folder
    loop_files(folder, rig)["cam_1"].rename(folder.parent / "taken")
    with pytest.raises(AssertionError, match="rendered again"):
        cached_loop(rig, folder.parent, fail)
    (folder.parent / "taken").rename(loop_files(folder, rig)["cam_1"])
    before = set(folder.parent.iterdir())
    with pytest.raises(KeyboardInterrupt):
        cached_loop(ring_rig(3), folder.parent, give_up)
    assert set(folder.parent.iterdir()) == before


def test_a_simulated_camera_plays_the_loop_with_the_hands_of_its_capture_time(loop: tuple[Rig, Path]) -> None:
    rig, folder = loop
    scene = demo_scene(rig)
    for camera in rig.cameras:
        assert isinstance(camera.source, SimulatedSource)
        # Three frames a second: none lies midway between two images of the loop, which are a second apart.
        played = SimulatedSource(fps=3.0, images=str(loop_files(folder, rig)[camera.camera_id]))
        source = make_source(
            RigCamera(camera_id=camera.camera_id, camera=camera.camera, T_cam_world=camera.T_cam_world, source=played),
            rig,
        )
        mode = source.open()
        image = new_image(mode.width, mode.height)
        stamp = source.grab(2.0)
        source.retrieve(image)
        source.close()
        nearest_s = round(stamp.capture_time_ns / 1e9)
        here, later = (render(camera, scene.state(time_s)).image.astype(int) for time_s in (nearest_s, nearest_s + 3.0))
        hands = np.abs(here - later).max(axis=2) > 60
        assert hands.sum() > 50
        assert np.abs(here - image)[hands].mean() < 12


def test_the_loops_hands_are_those_of_hands_at() -> None:
    scene = demo_scene(ring_rig(2, 64, 48))
    for time_s in (0.0, 3.3, LOOP_S + 1.7):
        hands = scene.hands(time_s)
        for side, joints_m in hands_at(time_s).items():
            np.testing.assert_allclose(hands[side].joints_world_m, joints_m, atol=1e-9)


def test_a_loop_that_does_not_fit_is_told(loop: tuple[Rig, Path], tmp_path: Path) -> None:
    rig, folder = loop
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"bad\.npz: cannot be read as a rendered loop"):
        RenderedLoop(tmp_path / "bad.npz")
    wide = ring_rig(2, 320, 240).cameras[0]
    images = str(loop_files(folder, rig)["cam_0"])
    for path, told in ((images, "160x120"), (str(tmp_path / "none.npz"), "none.npz")):
        camera = RigCamera(
            camera_id="cam_0", camera=wide.camera, T_cam_world=wide.T_cam_world, source=SimulatedSource(images=path)
        )
        with pytest.raises(SourceError, match=told):
            make_source(camera, rig).open()


@pytest.mark.slow
def test_the_contact_sheet_and_a_name_that_is_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["simulate", "--contact-sheet", str(tmp_path / "hands.gif")]) == 2
    assert "must end in `.png`" in capsys.readouterr().err
    assert main(["simulate", "--contact-sheet", str(tmp_path / "hands.png"), "--seed", "5"]) == 0
    assert np.asarray(cv2.imread(str(tmp_path / "hands.png"))).std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ["hands.png"]


def test_two_people_have_four_hands_that_no_cache_of_labels_mixes_up(tmp_path: Path) -> None:
    rig = random_rig(5, cameras=2, width=128, height=96, people=2)
    settings = SceneSettings(things=False, anywhere=False, people=2)
    with RenderingPool(1) as pool:
        record_session(tmp_path / "two", SceneSpec(rig, 5, settings), Timing(6), pool, labels="perfect")
    truth = read_truth(tmp_path / "two" / "truth.npz", 2)
    assert set(truth.hands) == {"left", "right", "left_2", "right_2"}
    ways_m = {name: hand.joints_world_m[0, 9, :2] - hand.joints_world_m[0, 0, :2] for name, hand in truth.hands.items()}
    for side in ("left", "right"):
        # They sit opposite one another, and are not of one size.
        assert ways_m[side] @ ways_m[f"{side}_2"] < 0
        assert np.abs(truth.hands[side].shape - truth.hands[f"{side}_2"].shape).max() > 1e-3
    labels = read_labels(tmp_path / "two" / "labels.npz", 2)
    _, counts = np.unique(np.stack([labels.camera, labels.right, labels.time_ns]), axis=1, return_counts=True)
    assert counts.max() == 2
    with pytest.raises(UserError, match="do not tell several people's hands apart"):
        cache_session(tmp_path / "two", tmp_path / "cache")
