"""What is asked for next, what was seen meanwhile, and what of it counts."""

import numpy as np
import pytest

from app.evaluation.touch_figures import touch_figures
from app.evaluation.touch_targets import targets_of
from app.evaluation.touches import find_touches
from app.touch.guide import TouchGuide
from app.touch.plan import Prompt, prompt_text, touch_plan
from app.touch.recorder import TouchRecorder, read_track
from app.touch.screen import TouchScreen, draw_touch
from app.transport.messages import CameraReport
from app.wizard.tile import CameraPanel, camera_panel
from calibration.board.views import BoardView
from calibration.hand import JOINTS
from tests.app.evaluation.test_touch import hand_at
from tests.support.grip_scene import BOARD
from tests.support.touch_scene import TouchScene, touch_scene

TARGETS = targets_of(BOARD)


def hands(finger: int, place_board_m: np.ndarray | None, side: int = 1) -> np.ndarray:
    joints_m = np.full((2, JOINTS, 3), np.nan)
    if place_board_m is not None:
        joints_m[side] = place_board_m + [0.0, 0.0, -0.1]
        joints_m[side, 4 + 4 * finger] = place_board_m + [0.002, 0.0, -0.01]
    return joints_m


def times_ns(seconds: float) -> list[int]:
    return [round(1e8 * number) for number in range(round(10 * seconds))]


def test_the_plan_has_the_index_finger_everywhere_and_the_others_across():
    plan = touch_plan(("right", "left"), ("index", "thumb"), 5)
    right = [Prompt(1, 1, target) for target in range(5)] + [Prompt(1, 0, 0), Prompt(1, 0, 3)]
    assert plan == right + [prompt._replace(side=0) for prompt in right]
    assert prompt_text(plan[0], TARGETS) == "right index finger: touch corner A1 with the tip and rest there"
    assert prompt_text(plan[-1], TARGETS) == "left thumb: touch corner C4 with the tip and rest there"


def test_a_touch_is_complete_once_the_finger_asked_for_has_rested_there():
    guide = TouchGuide([Prompt(1, 1, 0), Prompt(1, 0, 3)], TARGETS)
    at = TARGETS[0].place_board_m
    assert not guide.update(0, hands(1, None))
    assert guide.state == "unseen"
    # Another finger, another corner, the other hand.
    for wrong in (hands(2, at), hands(1, TARGETS[1].place_board_m), hands(1, at, side=0)):
        assert not any(guide.update(time_ns, wrong) for time_ns in times_ns(3))
        assert guide.held == 0
    start = 10**11
    done = [time_ns for time_ns in times_ns(4) if guide.update(start + time_ns, hands(1, at))]
    assert done == [round(1.8e9)]
    assert guide.current == Prompt(1, 0, 3)
    guide.skip()
    assert guide.current is None
    assert guide.state == "done"


def test_where_sets_are_few_a_touch_is_held_for_longer():
    guide = TouchGuide([Prompt(1, 1, 0)], TARGETS)
    at = TARGETS[0].place_board_m
    assert [number for number in range(20) if guide.update(number * 5 * 10**8, hands(1, at))] == [7]


def test_a_short_loss_does_not_end_a_touch_and_a_long_one_does():
    guide = TouchGuide([Prompt(1, 1, 0)] * 2, TARGETS)
    at = TARGETS[0].place_board_m
    for time_ns in times_ns(1.5):
        assert not guide.update(time_ns, hands(1, None if time_ns in (5 * 10**8, 6 * 10**8) else at))
    assert guide.held > 0.7
    for time_ns in times_ns(0.5):
        guide.update(15 * 10**8 + time_ns, hands(1, None))
    assert guide.held == 0
    guide.back()
    assert guide.number == 0


@pytest.fixture(scope="module")
def scene() -> TouchScene:
    return touch_scene("right", (("index", 0), ("thumb", 11), ("index", 2)), sets_each=20)


def views(scene: TouchScene, number: int) -> dict[str, BoardView]:
    """The board's corners as each camera sees them, free of errors."""
    rig, T = scene.grips[0].rig, scene.T_world_board[number]
    places_m = BOARD.corners_board_m @ T[:3, :3].T + T[:3, 3]
    return {
        camera.camera_id: BoardView(
            camera_id=camera.camera_id, frame=number, time_ns=int(scene.times_ns[number]),
            corner_ids=np.arange(len(places_m)), corners_px=camera.project(places_m), std_px=0.1,
        )
        for camera in rig.cameras
    }  # fmt: skip


def test_what_was_recorded_is_the_scene_and_what_was_asked_again_does_not_count(scene, tmp_path):
    asked = [(1, 1, 0), (1, 0, 3), (1, 1, 1)]
    recorder = TouchRecorder(tmp_path, scene.grips[0].rig, BOARD, "anatomical")
    assert read_track(tmp_path) is None
    for number in range(len(scene.times_ns)):
        hand = hand_at(scene.joints_m[number], "right")
        recorder.add(int(scene.times_ns[number]), [hand], views(scene, number), asked[number // scene.sets_each])
    recorder.write()
    track = read_track(tmp_path)
    assert track is not None
    # The last set has no set after it.
    assert len(track) == len(scene.times_ns) - 1
    assert track.T_world_board == pytest.approx(scene.T_world_board[:-1], abs=1e-4)
    figures = touch_figures(track, find_touches(track, TARGETS), TARGETS)
    assert [(touch["finger"], touch["corner"]) for touch in figures["touches"]] == [
        ("index", "A1"), ("thumb", "C4"), ("index", "C1")
    ]  # fmt: skip
    assert figures["all"]["plane_mm"] < 0.2
    recorder.forget((1, 0, 3))
    recorder.write()
    track = read_track(tmp_path)
    assert track is not None
    assert [touch.finger for touch in find_touches(track, TARGETS)] == [1, 1]


def test_a_test_whose_process_died_keeps_what_it_had(scene, tmp_path):
    asked = [(1, 1, 0), (1, 0, 3), (1, 1, 1)]
    for begin, end in ((0, 30), (30, 60)):
        recorder = TouchRecorder(tmp_path, scene.grips[0].rig, BOARD, "anatomical")
        for number in range(begin, end):
            hand = hand_at(scene.joints_m[number], "right")
            recorder.add(int(scene.times_ns[number]), [hand], views(scene, number), asked[number // scene.sets_each])
        recorder.write()
    track = read_track(tmp_path)
    assert track is not None
    assert len(track) == len(scene.times_ns) - 2
    assert [(touch.finger, touch.target) for touch in find_touches(track, TARGETS)] == [(1, 0), (0, 3), (1, 1)]


def test_the_picture_shows_the_hand_and_the_corner_that_is_asked_for(scene):
    rig = scene.grips[0].rig
    dark = np.zeros((480, 640, 3), np.uint8)
    screen = TouchScreen(
        panels=[
            CameraPanel(camera_id=camera.camera_id, state="streaming", image=dark, fresh=True)
            for camera in rig.cameras
        ],
        hands_world_m=[scene.joints_m[0]], T_world_board=scene.T_world_board[0], prompt=Prompt(1, 1, 0),
        state="holding", held=0.5, done=3, total=14,
    )  # fmt: skip
    picture = draw_touch(screen, rig, BOARD, TARGETS, (1280, 720))
    screen.prompt = None
    without = draw_touch(screen, rig, BOARD, TARGETS, (1280, 720))
    assert picture.shape == (720, 1280, 3)
    # Banner, cameras and board differ.
    changed = (picture != without).any(-1)
    assert changed[:74].any() and changed[82:, :900].any() and changed[82:, 940:].any()
    unseen = [CameraPanel(camera_id=camera.camera_id) for camera in rig.cameras]
    nothing = TouchScreen(panels=unseen, hands_world_m=[], T_world_board=None, prompt=None, state="done")
    assert draw_touch(nothing, rig, BOARD, TARGETS, (960, 540)).any()


def test_an_image_that_is_not_of_now_says_so_and_has_no_hand_drawn_in(scene):
    """A camera that is lost keeps its newest image, without colours and under what is the matter."""
    rig = scene.grips[0].rig
    colour = np.full((480, 640, 3), (200, 60, 20), np.uint8)

    def first_camera(report: CameraReport, seen_s: float, hands: bool = True) -> np.ndarray:
        panels = [camera_panel(name, CameraReport(state="streaming"), (9.9, colour), 10.0) for name in rig.camera_ids]
        panels[0] = camera_panel(rig.camera_ids[0], report, (seen_s, colour), 10.0)
        screen = TouchScreen(
            panels=panels, hands_world_m=[scene.joints_m[0]] if hands else [], T_world_board=None,
            prompt=Prompt(1, 1, 0), state="away",
        )  # fmt: skip
        picture = draw_touch(screen, rig, BOARD, TARGETS, (1280, 720))
        return picture[82 + 30 : 82 + 200, 8 : 8 + 250]

    streaming = CameraReport(state="streaming")
    lost = CameraReport(state="lost", detail="unplugged")
    assert (first_camera(streaming, 9.9) == (200, 60, 20)).all(2).mean() > 0.5
    for report, seen_s in ((lost, 9.9), (lost, 2.0), (streaming, 2.0)):
        assert not (first_camera(report, seen_s) == (200, 60, 20)).all(2).any()
        assert (first_camera(report, seen_s) == first_camera(report, seen_s, hands=False)).all()
    assert (first_camera(lost, 2.0) != first_camera(streaming, 2.0)).any(), "it says which of the two it is"
    assert (first_camera(CameraReport(state="ended"), 9.9) == first_camera(streaming, 9.9)).all()
