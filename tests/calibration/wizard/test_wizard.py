"""The wizard's step machine, its coverage, hints, journal and recorder, without cameras."""

import json
import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from app.wizard.recorder import JOURNAL, Recorder, encode_jpeg
from calibration.board.board import Board
from calibration.board.rendering import BoardRenderer
from calibration.board.session_scan import detect_session
from calibration.board.views import BoardView
from calibration.errors import UserError
from calibration.image_cells import cells_of
from calibration.rig import Rig
from calibration.rotations import make_transform, rotation_from_vector
from calibration.session import check_session
from calibration.solve.calibrate import calibrate
from calibration.wizard.coverage import CameraCoverage, Coverage, placement
from calibration.wizard.hints import Enough, camera_needs, suggest
from calibration.wizard.journal import Journal, read_journal
from calibration.wizard.wizard import Capture, Wizard, WizardStep
from tests.support.board_scene import arc_rig

BOARD = Board(type="charuco", columns=5, rows=7, square_m=0.04, dictionary="DICT_4X4_50", marker_m=0.03)
FRAME_NS = 33_333_333


def image_sizes(rig: Rig) -> dict[str, tuple[int, int]]:
    return {camera.camera_id: (camera.camera.width, camera.camera.height) for camera in rig.cameras}


def seen(
    rig: Rig, T_world_board: np.ndarray, time_ns: int, noise_px: float = 0.0, seed: int = 0
) -> dict[str, BoardView]:
    """The board in every camera that has at least eight corners of it in its image."""
    random = np.random.default_rng([seed, time_ns])
    views = {}
    points = BOARD.corners_board_m @ T_world_board[:3, :3].T + T_world_board[:3, 3]
    for camera in rig.cameras:
        pixels = camera.project(points) + random.normal(0, noise_px, (len(points), 2))
        facing = (camera.T_cam_world[:3, :3] @ T_world_board[:3, 2])[2] > 0.3
        inside = ((pixels > 5) & (pixels < [camera.camera.width - 6, camera.camera.height - 6])).all(axis=1)
        ids = np.flatnonzero(inside)
        if facing and len(ids) >= 8:
            views[camera.camera_id] = BoardView(
                camera_id=camera.camera_id, frame=-1, time_ns=time_ns, corner_ids=ids, corners_px=pixels[ids]
            )
    return views


def board_at(place_m: Sequence[float] | np.ndarray, turn: Sequence[float]) -> np.ndarray:
    """`T_world_board` with the board's middle at a place."""
    R = rotation_from_vector(np.asarray(turn, dtype=float))
    return make_transform(R, np.asarray(place_m) - R @ BOARD.corners_board_m.mean(axis=0))


class Hand:
    """Feeds the machine what cameras at 30 frames a second would see of a board that is held or moved."""

    def __init__(self, rig: Rig, noise_px: float = 0.1) -> None:
        self.rig, self.noise_px = rig, noise_px
        self.wizard = Wizard(BOARD, image_sizes(rig))
        self.time_ns = 5_000_000_000

    def step(self, T_world_board: np.ndarray | None) -> WizardStep:
        self.time_ns += FRAME_NS
        views = {} if T_world_board is None else seen(self.rig, T_world_board, self.time_ns, self.noise_px)
        return self.wizard.step(views, self.time_ns)

    def hold(self, place_m, turn=(0, 0, 0), seconds: float = 1.0) -> list[Capture]:
        """Put the board somewhere, out of sight on the way, and hold it; returns what was captured."""
        self.step(None)
        steps = [self.step(board_at(place_m, turn)) for _ in range(round(seconds * 30))]
        return [step.capture for step in steps if step.capture is not None]


@pytest.fixture
def hand() -> Hand:
    return Hand(arc_rig(4))


def test_a_still_board_is_captured_once_and_a_tilted_one_again(hand):
    (first,) = hand.hold((0, 0, 0), seconds=3)
    assert set(first.views) == {"cam_0", "cam_1", "cam_2", "cam_3"}
    assert first.reasons == ("first view of cam_0, cam_1, cam_2, cam_3", "6 pairs together")
    assert hand.step(board_at((0, 0, 0), (0, 0, 0))).note == "This pose adds nothing new: move on."
    (tilted,) = hand.hold((0, 0, 0), (0.6, 0, 0))
    assert tilted.number == 2


def test_a_board_that_moves_is_not_captured_until_it_stops(hand):
    """30 cm a second at about one metre is a fifth of an image width a second."""
    for number in range(60):
        step = hand.step(board_at((-0.3 + 0.01 * number, 0, 0), (0, 0, 0)))
        assert step.capture is None
        assert step.state == "moving"
        assert number == 0 or max(step.speed.values()) == pytest.approx(0.21, abs=0.08)
    states = [hand.step(board_at((0.29, 0, 0), (0, 0, 0))) for _ in range(10)]
    assert [step.state for step in states[:4]] == ["holding"] * 4
    assert sum(step.capture is not None for step in states) == 1


def test_a_jolt_in_one_camera_stops_the_hold(hand):
    """A board close to one camera moves there first."""
    still = seen(hand.rig, board_at((0, 0, 0), (0, 0, 0)), 0)
    for number in range(40):
        hand.time_ns += FRAME_NS
        views = {
            camera_id: BoardView(
                camera_id=camera_id,
                frame=-1,
                time_ns=hand.time_ns,
                corner_ids=view.corner_ids,
                corners_px=view.corners_px + (3.0 * number if camera_id == "cam_1" else 0),
            )
            for camera_id, view in still.items()
        }
        assert hand.wizard.step(views, hand.time_ns).state == "moving"


def test_the_capture_keeps_the_frames_before_it_in_order(hand):
    for turn in ((0, 0, 0), (0.6, 0, 0), (0, 0.6, 0)):
        hand.hold((0, 0, 0), turn)
    detections = hand.wizard.detections()
    assert [len(capture.sets) for capture in hand.wizard.captures] == [5, 5, 5]
    for views in detections.views.values():
        assert [view.frame for view in views] == list(range(len(views)))
        assert (np.diff([view.time_ns for view in views]) > 0).all()
    steps = np.diff([view.time_ns for view in detections.views["cam_0"]])
    assert np.median(steps) == FRAME_NS


def test_undo_takes_all_of_the_last_capture_back(hand):
    hand.hold((0, 0, 0))
    heat = hand.wizard.coverage.cameras["cam_1"].heat.copy()
    shared, hint = dict(hand.wizard.coverage.shared), hand.wizard.suggestion()
    (capture,) = hand.hold((0.1, 0.05, 0), (0, 0.7, 0))
    assert (hand.wizard.coverage.cameras["cam_1"].heat != heat).any()
    assert hand.wizard.undo() is capture
    assert (hand.wizard.coverage.cameras["cam_1"].heat == heat).all()
    assert hand.wizard.coverage.shared == shared
    assert hand.wizard.suggestion() == hint
    assert hand.hold((0.1, 0.05, 0), (0, 0.7, 0)) == [], "what was undone is not captured again in its place"
    assert len(hand.hold((-0.1, 0, 0), (0, -0.7, 0))) == 1
    for _ in range(2):
        hand.wizard.undo()
    assert hand.wizard.undo() is None
    assert hand.wizard.suggestion().text == "Hold the board still where several cameras see it."


def test_space_captures_whatever_is_seen_but_not_nothing(hand):
    assert hand.wizard.capture_now() is None
    hand.step(board_at((0, 0, 0), (0, 0, 0)))
    capture = hand.wizard.capture_now()
    assert capture is not None and capture.reasons == ("asked for",)
    assert hand.wizard.capture_now() is None, "the same frames are not captured twice"


def operator(rig: Rig, wizard: Wizard, seed: int) -> Iterator[np.ndarray]:
    """A person who does what the wizard suggests, roughly: where it says, tilted at random, nearer or farther."""
    random = np.random.default_rng(seed)
    while True:
        hint = wizard.suggestion()
        camera = rig[hint.camera_ids[-1]] if hint.camera_ids else rig.cameras[0]
        row, column = hint.region or (1, 1)
        width, height = camera.camera.width, camera.camera.height
        target = np.array([(column + 0.5) / 3 * width, (row + 0.5) / 3 * height]) + random.normal(0, 30, 2)
        depth = random.uniform(0.55, 1.15)
        ray = np.append(camera.camera.undistort(target), 1.0)
        place = camera.T_cam_world[:3, :3].T @ (ray * depth - camera.T_cam_world[:3, 3])
        if len(hint.camera_ids) == 2:
            place = random.normal(0, 0.12, 3)
        towards = camera.T_cam_world[:3, :3].T @ rotation_from_vector(random.uniform(-0.75, 0.75, 3))
        middle = BOARD.corners_board_m.mean(axis=0)
        yield make_transform(towards, place - towards @ middle)


def guided(seed: int) -> Hand:
    hand = Hand(arc_rig(4, span_deg=100), noise_px=0.2)
    poses = operator(hand.rig, hand.wizard, seed)
    for _ in range(150):
        if hand.wizard.complete:
            break
        hand.step(None)
        pose = next(poses)
        for _ in range(8):
            hand.step(pose)
    return hand


def test_following_the_suggestions_ends_and_calibrates_to_the_truth():
    hand = guided(3)
    assert hand.wizard.complete, hand.wizard.suggestion()
    assert hand.wizard.suggestion().text.startswith("This is enough. Press c")
    result = calibrate(hand.wizard.detections(), BOARD)
    for camera in hand.rig.cameras:
        assert result.rig[camera.camera_id].camera.focal_px == pytest.approx(camera.camera.focal_px, rel=0.003)
    for (first, second), distance_m in result.distances_m.items():
        truth = np.linalg.norm(hand.rig[first].centre_world_m - hand.rig[second].centre_world_m)
        assert distance_m == pytest.approx(truth, abs=0.002)


def test_the_machine_is_deterministic():
    first, second = (guided(5).wizard for _ in range(2))
    assert [capture.time_ns for capture in first.captures] == [capture.time_ns for capture in second.captures]
    assert [capture.reasons for capture in first.captures] == [capture.reasons for capture in second.captures]


def face_on(rig: Rig, camera_id: str, x_m: float, y_m: float, z_m: float, turn=(0, 0, 0)) -> np.ndarray:
    """`T_world_board` of a board in front of a camera, in that camera's axes."""
    T_cam_board = board_at((x_m, y_m, z_m), turn)
    return np.linalg.inv(rig[camera_id].T_cam_world) @ T_cam_board


def test_the_placement_tells_tilt_and_size():
    rig = arc_rig(2)
    size = image_sizes(rig)["cam_0"]

    def placed(x_m, z_m, turn):
        return placement(seen(rig, face_on(rig, "cam_0", x_m, 0, z_m, turn), 1)["cam_0"], BOARD, size)

    flat, left, right = placed(0, 0.8, (0, 0, 0)), placed(0, 0.8, (0, 0.6, 0)), placed(0, 0.8, (0, -0.6, 0))
    assert left.normals[:, 0] == pytest.approx(np.sin(0.6), abs=0.06)
    assert right.normals[:, 0] == pytest.approx(-np.sin(0.6), abs=0.06)
    assert abs(flat.normals[0, 0]) < 0.15
    assert flat.distance(left) == pytest.approx(flat.distance(right), abs=0.08)
    assert left.distance(right) > 0.6
    assert placed(0, 0.8, (0, 0, 0)).log_size - placed(0, 1.6, (0, 0, 0)).log_size == pytest.approx(1, abs=0.03)
    assert flat.distance(flat) == 0
    assert flat.distance(placed(0.2, 0.8, (0, 0, 0))) > 0.1


def test_a_sliver_of_the_board_counts_for_its_cells_but_not_for_tilt_and_distance():
    rig = arc_rig(2)
    size = image_sizes(rig)["cam_0"]
    camera = CameraCoverage()
    for z_m in (0.4, 1.0):
        view = seen(rig, face_on(rig, "cam_0", 0, 0, z_m, (0, 0.6, 0)), 1)["cam_0"]
        one_row = BoardView(
            camera_id="cam_0", frame=0, time_ns=1, corner_ids=view.corner_ids[:4], corners_px=view.corners_px[:4]
        )
        camera.add(one_row, placement(one_row, BOARD, size), size)
    assert (camera.views, camera.heat.sum()) == (2, 8)
    assert camera.size_ratio == 1 and camera.tilted(0, 20) == 0


def test_cells_follow_the_pixels():
    corners = np.array([[0, 0], [1279, 0], [0, 719], [1279, 719], [159.4, 119.4], [159.6, 119.6]])
    assert cells_of(corners, (1280, 720)).tolist() == [0, 7, 40, 47, 0, 9]


def coverage_of(rig: Rig, poses: list[np.ndarray], enough: Enough = Enough()) -> Coverage:  # noqa: B008
    return Coverage(BOARD, image_sizes(rig), [seen(rig, pose, 1) for pose in poses])


def test_the_hint_names_a_camera_without_views_and_the_pair_without_a_link():
    rig = arc_rig(3, span_deg=160)
    alone = [face_on(rig, camera_id, 0, 0, 0.3) for camera_id in ("cam_0", "cam_1")]
    coverage = coverage_of(rig, alone)
    hint = suggest(coverage, Enough())
    assert "cam_2" in hint.camera_ids and "Show the board to cam_2" in hint.text
    assert "cam_2" not in suggest(coverage, Enough(), absent={"cam_2"}).text
    coverage = coverage_of(rig, [*alone, face_on(rig, "cam_2", 0, 0, 0.3)])
    linked = suggest(coverage, Enough(shared=4))
    assert len(linked.camera_ids) == 2
    assert "both see it, in 4 more poses" in linked.text
    assert len(coverage.groups(1)) == 3


def test_the_hint_sends_the_board_to_the_empty_part_of_the_image():
    """One camera lacks the upper left third of its image, and all else is there."""
    rig = arc_rig(2)
    enough = Enough(views=4, share=1.0, tilted=0, size_ratio=1.0, shared=0)
    reach = [(x, y) for x in (-0.42, -0.14, 0.14, 0.42) for y in (-0.22, 0.0, 0.22)]
    poses = [face_on(rig, "cam_0", x, y, 0.75) for x, y in reach if not (x < 0 and y < 0)]
    coverage = Coverage(BOARD, {"cam_0": image_sizes(rig)["cam_0"]})
    for pose in poses:
        views = seen(rig, pose, 1)
        coverage.add({"cam_0": views["cam_0"]})
    hint = suggest(coverage, enough)
    assert hint.region == (0, 0)
    assert hint.text == "Move the board to the upper left of cam_0's image."


def test_needs_grow_with_tilt_and_distance():
    rig = arc_rig(2)
    size = image_sizes(rig)["cam_0"]
    camera = CameraCoverage()

    def add(z_m, turn):
        view = seen(rig, face_on(rig, "cam_0", 0, 0, z_m, turn), 1)["cam_0"]
        camera.add(view, placement(view, BOARD, size), size)
        return {need.name: need.done for need in camera_needs(camera, Enough(tilted=1))}

    assert add(0.9, (0, 0, 0))["tilt"] == 0
    assert add(0.9, (0, 0.6, 0))["tilt"] == 0.5
    needs = add(0.9, (0.6, 0, 0))
    assert needs["tilt"] == 1 and needs["distance"] < 0.4
    assert add(0.45, (0, 0, 0))["distance"] == 1


def test_the_journal_gives_back_what_was_captured(hand, tmp_path):
    path = tmp_path / JOURNAL
    journal = Journal(path, BOARD, hand.wizard.image_size)
    for turn in ((0, 0, 0), (0.6, 0, 0), (0, 0.6, 0)):
        (capture,) = hand.hold((0, 0, 0), turn)
        journal.capture(capture, {"legacy": None})
    journal.undo(hand.wizard.undo())
    with path.open("ab") as file:
        file.write(b'{"capture":{"number":3,"time_ns":77')
    Journal(path, BOARD, hand.wizard.image_size)
    assert path.read_bytes().endswith(b"\n"), "a torn line is cut off before going on"
    content = read_journal(path)
    assert content.board == BOARD and content.image_size == hand.wizard.image_size
    again = Wizard(BOARD, content.image_size)
    again.restore(content.captures)
    assert [capture.number for capture in again.captures] == [1, 2]
    for before, after in zip(hand.wizard.captures, again.captures, strict=True):
        assert after.reasons == before.reasons
        for views_before, views_after in zip(before.sets, after.sets, strict=True):
            for camera_id, view in views_before.items():
                assert (views_after[camera_id].corners_px == view.corners_px).all()
                assert (views_after[camera_id].corner_ids == view.corner_ids).all()
                assert views_after[camera_id].frame == view.frame
    assert again.suggestion() == hand.wizard.suggestion()
    for camera_id, coverage in hand.wizard.coverage.cameras.items():
        assert (again.coverage.cameras[camera_id].heat == coverage.heat).all()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b""), "not a line of a wizard's journal"),
        (lambda path: path.write_bytes(path.read_bytes() + b'{"undo":1}\n'), "line 2"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":9')), "version is 9"),
    ],
)
def test_a_bad_journal_is_refused_in_words(tmp_path, spoil, expected):
    path = tmp_path / JOURNAL
    Journal(path, BOARD, {"a": (640, 480), "b": (640, 480)})
    spoil(path)
    with pytest.raises(UserError, match=expected):
        read_journal(path)


def test_another_board_or_other_cameras_cannot_go_on(tmp_path):
    path = tmp_path / JOURNAL
    Journal(path, BOARD, {"a": (640, 480), "b": (640, 480)})
    with pytest.raises(UserError, match="another board"):
        Journal(path, Board(type="chessboard", columns=5, rows=7, square_m=0.04), {"a": (640, 480), "b": (640, 480)})
    with pytest.raises(UserError, match="b 640x480; the rig has a 640x480, c 640x480"):
        Journal(path, BOARD, {"a": (640, 480), "c": (640, 480)})


@pytest.fixture
def small() -> tuple[Rig, list[tuple[Capture, list[dict[str, bytes]]]]]:
    """Three captures of rendered images from two small cameras, one of which misses the last."""
    rig = arc_rig(2, size=(640, 360), focal_px=450, span_deg=40)
    renderer = BoardRenderer(BOARD)
    captures = []
    frame = {"cam_0": 0, "cam_1": 0}
    for number, turn in enumerate(((0, 0, 0), (0.5, 0, 0), (0, 0.5, 0))):
        T_world_board = board_at((0, 0, 0), turn)
        views, images = {}, {}
        for camera in rig.cameras[: 1 if number == 2 else 2]:
            name, T_cam_board = camera.camera_id, camera.T_cam_world @ T_world_board
            image = renderer.render(camera.camera, T_cam_board, supersample=2)
            images[name] = encode_jpeg(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            corners = renderer.corners_px(camera.camera, T_cam_board)
            time_ns = 1_000_000_000 * (number + 1)
            views[name] = BoardView(
                camera_id=name,
                frame=frame[name],
                time_ns=time_ns,
                corner_ids=np.arange(len(corners)),
                corners_px=corners,
            )
            frame[name] += 1
        captures.append((Capture(number + 1, 1_000_000_000 * (number + 1), (views,)), [images]))
    return rig, captures


def test_the_folder_of_captures_is_a_session_with_the_same_corners(tmp_path, small):
    rig, captures = small
    recorder = Recorder(tmp_path / "captures", rig, BOARD)
    for capture, images in captures:
        recorder.add(capture, images, {})
    with pytest.raises(UserError, match="not calibrated"):
        check_session(tmp_path / "captures")
    session = check_session(tmp_path / "captures", deep=True, calibrated=False)
    assert session.camera_ids == rig.camera_ids
    detections = detect_session(session, BOARD)
    assert [len(detections.views[name]) for name in rig.camera_ids] == [3, 2]
    for capture, _ in captures:
        for name, truth in capture.views.items():
            (view,) = (view for view in detections.views[name] if view.time_ns == truth.time_ns)
            assert view.frame == truth.frame
            assert np.abs(view.corners_px - truth.corners_px[view.corner_ids]).max() < 0.4


def test_captures_of_more_than_half_a_gigabyte_are_gone_on_with(tmp_path, small):
    rig, captures = small
    folder = tmp_path / "captures"
    recorder = Recorder(folder, rig, BOARD)
    for capture, images in captures[:2]:
        recorder.add(capture, images, {})
    first, second = (images[0]["cam_0"] for _, images in captures[:2])
    with (folder / "cam_0.mjpeg").open("wb") as file:
        file.write(first[:-2])
        file.seek(520_000_000, os.SEEK_CUR)  # a hole, which the disk does not have
        file.write(first[-2:] + second)
        whole = file.tell()
        file.write(second[:100])
    resumed = Recorder(folder, rig, BOARD)
    assert [capture.number for capture in resumed.captures] == [1, 2]
    assert (folder / "cam_0.mjpeg").stat().st_size == whole
    resumed.undo(resumed.captures[-1])
    assert (folder / "cam_0.mjpeg").stat().st_size == whole - len(second)


def test_what_a_crash_left_is_cut_off_and_undo_takes_images_back(tmp_path, small):
    rig, captures = small
    folder = tmp_path / "captures"
    recorder = Recorder(folder, rig, BOARD)
    for capture, images in captures[:2]:
        recorder.add(capture, images, {"legacy": False})
    whole = (folder / "cam_0.mjpeg").read_bytes()
    # A crash while the third capture was written: one image is whole, the other torn, the journal's line is torn.
    third = captures[2][1][0]["cam_0"]
    (folder / "cam_0.mjpeg").write_bytes(whole + third)
    with (folder / "cam_1.mjpeg").open("ab") as file:
        file.write(third[:1000])
    with (folder / JOURNAL).open("ab") as file:
        file.write(json.dumps({"capture": 3}).encode())
    resumed = Recorder(folder, rig, BOARD)
    assert (folder / "cam_0.mjpeg").read_bytes() == whole
    assert [capture.number for capture in resumed.captures] == [1, 2]
    assert resumed.facts == {"legacy": False}
    check_session(folder, deep=True, calibrated=False)
    resumed.undo(resumed.captures[-1])
    resumed.add(captures[2][0].__class__(2, 3_000_000_000, captures[2][0].sets), captures[2][1], {})
    assert check_session(folder, deep=True, calibrated=False).frame_times_ns("cam_0").tolist() == [
        1_000_000_000,
        3_000_000_000,
    ]
    assert len(check_session(folder, calibrated=False).frame_times_ns("cam_1")) == 1
    (folder / "cam_1.mjpeg").write_bytes(b"")
    with pytest.raises(UserError, match=r"cam_1.mjpeg: has 0 images; the journal has 1"):
        Recorder(folder, rig, BOARD)
