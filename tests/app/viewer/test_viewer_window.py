"""The viewer's window, really opened: on a private X display, and without any display."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import psutil
import pytest

from app.run.settings import MOST_HANDS
from app.transport.messages import CameraReport, HandPose
from app.viewer import palette
from app.viewer.replay import Replay
from app.viewer.show import run_viewer
from app.viewer.skeleton import FINGER_OF_JOINT
from app.viewer.window import ViewerWindow
from calibration.errors import UserError
from calibration.hand import Side
from calibration.rotations import rotation_angle
from models.hand.mesh import load_mesh
from models.simulation.hands import hands_at
from tests.conftest import ROOT
from tests.support.viewer_scene import (
    TARGET_M,
    ListFeed,
    make_meshed_pose,
    make_pose,
    make_rig,
    make_set,
    moving_sets,
    report,
)

SIZE = (960, 540)
SECOND = 1_000_000_000
OPEN_HAND_S = 16.75
RIG = make_rig()
LIVE = {camera.camera_id: report(number) for number, camera in enumerate(RIG.cameras)}
HELPER = """
import sys
from pathlib import Path
from app.viewer.show import run_viewer
from models.simulation.hands import hands_at
from tests.support.viewer_scene import ListFeed, make_rig, moving_sets
rig = make_rig()
sets = moving_sets(rig, 12, hands_at)
"""


@pytest.fixture
def open_window(x_display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ViewerWindow]]:
    """Opens windows on the private display and closes them."""
    monkeypatch.setenv("DISPLAY", x_display)
    opened = []

    def make(feed: ListFeed, replay: Replay | None = None) -> ViewerWindow:
        opened.append(ViewerWindow(RIG, feed, size=SIZE, title="viewer test", replay=replay))
        return opened[-1]

    yield make
    for window in opened:
        window.close()
    palette.use("dark")


def show(window: ViewerWindow, feed: ListFeed, now_ns: int) -> np.ndarray:
    """One turn of the window's loop, then its picture (H, W, 3), RGB."""
    window.receive(feed.poll(), now_ns)
    window.update(now_ns)
    assert window.pump()
    return window.capture()


def hue_difference(rgb: np.ndarray, other: np.ndarray) -> float:
    """Angle between two colours' hues, degrees."""
    pair = np.array([[rgb, other]], np.float32)
    first, second = cv2.cvtColor(pair, cv2.COLOR_RGB2HSV)[0, :, 0]
    return float(abs((first - second + 180) % 360 - 180))


def test_joints_are_drawn_in_their_fingers_colours_where_the_view_projects_them(open_window):
    joints_m = hands_at(OPEN_HAND_S)["right"]
    # A giant's hand, so that joints of different fingers are far enough apart in the picture.
    joints_m = joints_m[0] + 1.8 * (joints_m - joints_m[0])
    feed = ListFeed([make_set(0, 0, [make_pose("right", joints_m)], LIVE)], ends=False)
    window = open_window(feed)
    window.toggles.cloud = False
    show(window, feed, 0)
    picture = show(window, feed, 1)
    joints_px = window.view.project(joints_m)
    compared = 0
    visible = []
    for joint, finger in enumerate(FINGER_OF_JOINT):
        apart_px = np.linalg.norm(joints_px[finger != FINGER_OF_JOINT] - joints_px[joint], axis=1).min()
        if finger >= 0 and apart_px > 8:
            x, y = np.round(joints_px[joint]).astype(int)
            assert hue_difference(picture[y, x] / 255, palette.FINGERS[finger]) < 14, joint
            visible.append((y, x))
            compared += 1
    assert compared >= 8
    window.toggles.mesh = False
    without = show(window, feed, 2)
    for place in visible:
        assert np.abs(without[place].astype(int) - picture[place]).max() > 25


def covered(window: ViewerWindow, pose: HandPose) -> np.ndarray:
    """Where a hand's mesh lies in the picture, less its edge: a mask (H, W)."""
    vertices_m = np.frombuffer(pose.vertices_world_m or b"", "<f4").reshape(-1, 3).astype(float)
    pixels = np.round(window.view.project(vertices_m)).astype(np.int32)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for triangle in load_mesh().faces:
        cv2.fillConvexPoly(mask, pixels[triangle], (1,))
    return cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0


def test_two_meshes_are_drawn_in_skin_where_they_project_and_go_when_switched_off(open_window):
    poses = [make_meshed_pose("left", TARGET_M - [0.12, 0, 0]), make_meshed_pose("right", TARGET_M + [0.12, 0, 0])]
    feed = ListFeed([make_set(0, 0, poses, LIVE)], ends=False)
    window = open_window(feed)
    window.toggles.frusta = False
    show(window, feed, 0)
    picture = show(window, feed, 1)
    masks = [covered(window, pose) for pose in poses]
    window.toggles.uncertainty = True
    by_uncertainty = show(window, feed, 2)
    window.toggles.uncertainty, window.toggles.skeleton = False, True
    both = show(window, feed, 3)
    window.toggles.mesh = window.toggles.skeleton = False
    empty = show(window, feed, 4)
    for mask, pose in zip(masks, poses, strict=True):
        assert mask.sum() > 1500, pose.hand
        hue, _, light = (cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[mask].astype(int)).T
        # Hues of skin, 0 to 50 degrees; lit from above, the light differs over the hand.
        assert ((hue < 25) & (light > 40)).mean() > 0.97, pose.hand
        assert np.ptp(np.percentile(light, [5, 95])) > 40, pose.hand
        # 2 mm of standard deviation is blue in viridis.
        blue = by_uncertainty[mask].astype(int)
        assert (blue[:, 2] > blue[:, 0]).mean() > 0.9, pose.hand
        # The skeleton shows in front of the mesh, in its fingers' colours.
        changed = np.abs(both[mask].astype(int) - picture[mask]).max(axis=1) > 25
        assert 0.1 < changed.mean() < 0.7, pose.hand
        assert empty[mask].max(axis=1).mean() < 60, pose.hand


def test_as_many_hands_as_may_be_followed_are_drawn_and_measured_and_have_trails(open_window):
    sides: list[Side] = ["left", "right"]

    def hands(x_m: float) -> list[HandPose]:
        return [
            msgspec.structs.replace(
                make_meshed_pose(sides[number % 2], TARGET_M + [x_m + 0.2 * column, 0, 0.25 * row]), track_id=number
            )
            for number, (row, column) in enumerate(itertools.product((0, 1), (-1.5, -0.5, 0.5, 1.5)))
        ]

    feed = ListFeed([make_set(0, 0, hands(x_m), LIVE) for x_m in (-0.02, 0.0)], ends=False)
    window = open_window(feed)
    window.toggles.frusta = window.toggles.images = False
    show(window, feed, 0)
    with_meshes = show(window, feed, 1)
    window.toggles.mesh = False
    with_trails = show(window, feed, 2)
    window.toggles.trail = False
    empty = show(window, feed, 3)
    assert len(hands(0.0)) == MOST_HANDS
    for number, pose in enumerate(hands(0.0)):
        mask = covered(window, pose)
        assert mask.sum() > 100
        assert (np.abs(with_meshes.astype(int) - empty).max(axis=2) > 25)[mask].mean() > 0.9
        assert (np.abs(with_trails.astype(int) - empty).max(axis=2) > 25)[mask].sum() > 10
        window.click(window.view.project(np.array(pose.joints_world_m))[9])
        assert window.measure.joints[-1] == (number, 9)


@pytest.mark.parametrize("number", [1, 3])
def test_looking_through_a_camera_shows_a_joint_where_that_camera_projects_it(open_window, number):
    camera = RIG.cameras[number - 1]
    joints_m = np.full((21, 3), np.nan)
    joints_m[12] = hands_at(0.0)["left"][12]
    feed = ListFeed([make_set(0, 0, [make_pose("left", joints_m)], LIVE)], ends=False)
    window = open_window(feed)
    window.toggles.cloud = window.toggles.frusta = False
    show(window, feed, 0)
    window.look_through(number)
    picture = show(window, feed, 1)
    window.toggles.mesh = False
    difference = np.abs(picture.astype(int) - show(window, feed, 2)).max(axis=2)[60:] > 12
    rows, columns = np.nonzero(difference)
    assert 10 < len(rows) < 2000
    found_px = np.array([columns.mean(), rows.mean() + 60])
    wanted_px = (camera.project(joints_m[12]) + 0.5) * SIZE[0] / 1280 - 0.5
    assert np.linalg.norm(found_px - wanted_px) < 2
    # The camera's own image lies behind.
    y, x = 450, 120
    assert picture[y, x].tolist() == pytest.approx([60, 60 + 40 * (number - 1), 60], abs=2)


def test_a_pose_that_grew_old_is_grey_then_gone_and_the_text_line_says_so(open_window):
    joints_m = hands_at(0.0)["right"]
    feed = ListFeed([make_set(0, 0, [make_pose("right", joints_m)], LIVE)], ends=False)
    window = open_window(feed)
    window.toggles.cloud = window.toggles.frusta = False
    show(window, feed, 0)
    fresh = show(window, feed, 1)
    stale = show(window, feed, 1_000_000_000)
    gone = show(window, feed, 4_000_000_000)
    x, y = np.round(window.view.project(joints_m[16])).astype(int)
    saturation = [np.ptp(picture[y, x].astype(int)) for picture in (fresh, stale)]
    assert saturation[0] > 80 and saturation[1] < 40
    assert np.abs(stale[y, x].astype(int) - gone[y, x]).max() > 25
    assert np.abs(fresh[:38].astype(int) - stale[:38]).max() > 100
    # Its images are grey as well.
    tiles = slice(SIZE[1] - 40, SIZE[1] - 12)
    assert np.ptp(fresh[tiles, 260:460].astype(int), axis=2).min() > 30
    assert np.ptp(stale[tiles, 260:460].astype(int), axis=2).max() < 10


def test_toggles_help_and_pause_change_the_picture(open_window):
    sets = moving_sets(RIG, 3, lambda time_s: hands_at(20 * time_s))
    feed = ListFeed(sets, at_once=False, ends=False)
    window = open_window(feed)
    show(window, feed, 0)
    picture = show(window, feed, 1)[40:]
    for name in ("mesh", "cloud", "frusta", "images", "help"):
        window.toggles.flip(name)
        changed = np.abs(show(window, ListFeed([], ends=False), 1)[40:].astype(int) - picture).max(axis=2) > 20
        assert changed.sum() > 60, name
        window.toggles.flip(name)
        assert (show(window, ListFeed([], ends=False), 1)[40:] == picture).mean() > 0.999, name
    window.shown.toggle_pause(2)
    paused = show(window, feed, 3)[40:]
    assert not feed.waiting
    assert (paused == picture).mean() > 0.999
    window.shown.toggle_pause(4)
    again = ListFeed(moving_sets(RIG, 1, lambda _: hands_at(9.0)), ends=False)
    assert (show(window, again, 5)[40:] == picture).mean() < 0.99


def test_a_lost_camera_turns_its_frustum_red(open_window):
    lost = {**LIVE, "cam_2": CameraReport(state="lost", detail="unplugged")}
    feed = ListFeed([make_set(0, 0, [], LIVE), make_set(0, 0, [], lost)], at_once=False, ends=False)
    window = open_window(feed)
    show(window, feed, 0)

    def red(picture: np.ndarray) -> int:
        part = picture[60 : SIZE[1] - 160].astype(int)
        return int(((part[..., 0] > 120) & (part[..., 1] < 100) & (part[..., 2] < 100)).sum())

    before = red(show(window, ListFeed([], ends=False), 1))
    assert red(show(window, feed, 2)) > before + 30


def test_keys_reach_the_window_and_q_quits(x_display, tmp_path):
    code = HELPER + "feed = ListFeed(sets, at_once=False, ends=False)\n"
    code += "print(run_viewer(rig, feed, size=(640, 360), title='quit me', snapshot=Path(sys.argv[1])))"
    picture = tmp_path / "last.png"
    environment = {**os.environ, "DISPLAY": x_display}
    viewer = subprocess.Popen(
        [sys.executable, "-c", code, str(picture)], cwd=ROOT, env=environment, stdout=-1, text=True
    )
    try:
        focus = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "quit me", "windowfocus", "--sync"]
        subprocess.run(
            [*focus, "key", "h", "key", "m", "key", "u", "key", "s"], env=environment, check=True, timeout=60
        )
        time.sleep(1)
        assert viewer.poll() is None
        subprocess.run([*focus, "key", "q"], env=environment, check=True, timeout=60)
        output, _ = viewer.communicate(timeout=60)
    finally:
        viewer.kill()
    assert output.split() == ["quit"] and viewer.returncode == 0
    shown = np.asarray(cv2.imread(str(picture)))
    assert shown.shape == (360, 640, 3)
    card = np.array(palette.bgr(palette.BAR))
    assert np.abs(shown[100:260, 140:180] - card).max(axis=2).mean() < 40


def press(display: str, window: ViewerWindow, *command: str) -> None:
    """Let xdotool act on the window, and the window hear of it."""
    search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "viewer test", "windowfocus", "--sync"]
    subprocess.run([*search, *command], env={**os.environ, "DISPLAY": display}, check=True, timeout=60)
    for _ in range(5):
        window.update(3)
        assert window.pump()


def test_a_window_that_is_made_tiny_stays_open(open_window, x_display):
    feed = ListFeed([make_set(0, 0, [], LIVE)], ends=False)
    window = open_window(feed)
    show(window, feed, 0)
    press(x_display, window, "windowsize", "20", "10")
    feed.waiting.append(make_set(2, 0, [], LIVE))
    show(window, feed, 2)
    assert (window.view.width, window.view.height) == (20, 10)


def test_the_mouse_measures_and_turns_and_keys_keep_views_and_change_the_theme(open_window, x_display):
    poses = [make_meshed_pose("left", TARGET_M - [0.12, 0, 0]), make_meshed_pose("right", TARGET_M + [0.12, 0, 0])]
    poses = [msgspec.structs.replace(pose, track_id=number) for number, pose in enumerate(poses)]
    feed = ListFeed([make_set(0, 0, poses, LIVE)], ends=False)
    window = open_window(feed)
    show(window, feed, 0)
    dark = show(window, feed, 1)
    for track, joint in ((0, 8), (1, 8)):
        x, y = np.round(window.view.project(np.array(poses[track].joints_world_m[joint]))).astype(int)
        press(x_display, window, "mousemove", "--window", "%1", str(x), str(y), "click", "1")
    assert window.measure.joints == [(0, 8), (1, 8)]
    measured = show(window, feed, 3).astype(int)
    yellow = np.array(palette.WARNING) * 255
    assert (np.abs(measured - yellow).max(axis=2) < 20).sum() > (np.abs(dark - yellow).max(axis=2) < 20).sum() + 300

    before = window.view
    press(x_display, window, "key", "shift+9")
    press(x_display, window, "mousemove", "300", "250", "mousedown", "1")
    press(x_display, window, "mousemove", "400", "250", "mouseup", "1")
    centre_m = np.concatenate([pose.joints_world_m for pose in poses]).mean(axis=0)
    assert window.view.project(centre_m) == pytest.approx(before.project(centre_m), abs=0.1)
    turn = window.view.T_view_world[:3, :3] @ before.T_view_world[:3, :3].T
    assert rotation_angle(turn) == pytest.approx(np.pi * 100 / SIZE[1], abs=0.02)
    assert len(window.measure.joints) == 2, "a drag is no click"
    press(x_display, window, "click", "4")
    assert np.linalg.norm(window.view.eye_world_m - centre_m) < np.linalg.norm(before.eye_world_m - centre_m)
    press(x_display, window, "key", "9")
    assert window.view.T_view_world == pytest.approx(before.T_view_world, abs=1e-6)
    press(x_display, window, "key", "2")
    assert window.camera_number == 2
    press(x_display, window, "key", "ctrl+3")
    assert window.camera_number == 3
    press(x_display, window, "key", "0", "key", "l")
    assert window.camera_number == 0
    assert show(window, feed, 4).mean() > dark.mean() + 60


def test_the_followed_hand_stays_in_its_place_of_the_picture(open_window):
    joints_m = hands_at(0.0)["right"]
    sets = [make_set(0, 0, [make_pose("right", joints_m + [0.004 * number, 0, 0])], LIVE) for number in range(40)]
    feed = ListFeed(sets, at_once=False, ends=False)
    window = open_window(feed)
    show(window, feed, 0)
    window.toggles.follow = True
    place_px = None
    for number in range(1, 40):
        window.receive(feed.poll(), number * 10**8)
        window.update(number * 10**8)
        centre_px = window.view.project(joints_m.mean(axis=0) + [0.004 * number, 0, 0])
        place_px = centre_px if place_px is None else place_px
        assert np.linalg.norm(centre_px - place_px) < 12
    window.toggles.follow = False
    still = window.view.project(joints_m.mean(axis=0))
    window.update(10**10)
    assert window.view.project(joints_m.mean(axis=0)) == pytest.approx(still)


def test_the_trail_has_the_sets_between_two_redraws_and_none_while_paused(open_window):
    sets = [make_set(0, 0, [make_pose("right", hands_at(number / 5)["right"])], LIVE) for number in range(12)]
    all_at_once, one_by_one = (open_window(ListFeed([])) for _ in range(2))
    pictures = []
    for window, feed in ((all_at_once, ListFeed(sets, ends=False)), (one_by_one, ListFeed(sets, False, ends=False))):
        window.toggles.frusta = window.toggles.images = False
        for now_ns in range(len(sets)):
            window.receive(feed.poll(), now_ns)
        window.reset_view()
        pictures.append(show(window, ListFeed([], ends=False), 99)[60:])
    assert (pictures[0] == pictures[1]).all()
    window = one_by_one
    window.shown.toggle_pause(100)
    window.receive(ListFeed(sets[:5], ends=False).poll(), 101)
    assert (show(window, ListFeed([], ends=False), 102)[60:] == pictures[1]).all()
    window.toggles.trail = False
    assert (show(window, ListFeed([], ends=False), 103)[60:] != pictures[1]).any(axis=2).sum() > 100


class Held:
    """A worker of a replay that is told what it is told."""

    def __init__(self) -> None:
        self.speeds: list[float] = []

    def play(self, speed: float, time_ns: int | None = None) -> None:
        self.speeds.append(speed)


def test_a_drag_on_the_time_line_shows_again_what_was_there(open_window, x_display):
    sets = []
    for number in range(30):
        pose = make_pose("right", hands_at(number / 10)["right"])
        lost = {**LIVE, "cam_1": CameraReport(state="streaming")} if number == 10 else LIVE
        pose_set = msgspec.structs.replace(make_set(0, 0, [pose], lost), reference_time_ns=number * SECOND // 30)
        sets.append(pose_set)
    worker, feed = Held(), ListFeed(sets, at_once=False, ends=False)
    window = open_window(feed, Replay(worker, 0, 2 * SECOND, SECOND // 30))
    window.toggles.frusta = False
    pictures = [show(window, feed, number) for number in range(30)]
    # The line reaches from 150 to 810 of 960 pixels, above the strip of images.
    y = SIZE[1] - 147 - 17
    place = ["mousemove", "--window", "%1", str(150 + round(660 * 10.5 / 60)), str(y)]
    press(x_display, window, *place[:3], "500", str(y), "mousedown", "1")
    press(x_display, window, *place, "mouseup", "1")
    assert window.shown.pose_set == sets[10] and worker.speeds == [0.0]
    again = show(window, feed, 10 * SECOND)
    scene = np.s_[110 : SIZE[1] - 190, 60 : SIZE[0] - 60]
    assert (again[scene] == pictures[10][scene]).mean() > 0.999 > (again[scene] == pictures[29][scene]).mean()
    # Each camera's image, of its own colour, is of that moment, or there is none.
    rows = slice(SIZE[1] - 90, SIZE[1] - 20)
    tiles = [again[rows, 240 * number + 30 : 240 * number + 210].astype(int) for number in range(4)]
    colours = [np.array([60, 60 + 40 * number, 60]) for number in range(4)]
    own = [float((np.abs(tile - rgb).max(axis=2) < 8).mean()) for tile, rgb in zip(tiles, colours, strict=True)]
    assert min(own[0], own[2], own[3]) > 0.5 and own[1] < 0.01
    press(x_display, window, "key", "Right", "key", "Right")
    assert window.shown.pose_set == sets[12]
    press(x_display, window, "key", "End", "key", "space")
    assert window.shown.pose_set == sets[29] and worker.speeds == [0.0, 1.0]


def without_display() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_headless_without_a_display_draws_every_set_once(tmp_path):
    code = HELPER + "import msgspec\n"
    code += "sets.insert(5, msgspec.structs.replace(sets[4], hands=[], hops_ns={'published': 1}))  # a heartbeat\n"
    code += "print(run_viewer(rig, ListFeed(sets), headless=Path(sys.argv[1]), size=(640, 360), every_set=True,"
    code += " snapshot=Path(sys.argv[2])))"
    video, picture = tmp_path / "out.mp4", tmp_path / "last.png"
    command = [sys.executable, "-c", code, str(video), str(picture)]
    done = subprocess.run(command, cwd=ROOT, env=without_display(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["end"]), done.stderr
    frames = decode(video)
    assert len(frames) == 12 and frames[0].shape == (360, 640, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.png", "out.mp4"]
    # The same scene: the last frame is the snapshot but for the video's compression, and it shows fingers.
    last = cv2.cvtColor(np.asarray(cv2.imread(str(picture))), cv2.COLOR_BGR2RGB)
    assert np.abs(frames[-1].astype(int) - last).mean() < 4
    scene = cv2.cvtColor(last[40:230], cv2.COLOR_RGB2HSV)
    assert (scene[..., 1:] > 110).all(axis=2).sum() > 300


def test_interrupted_headless_video_is_whole_and_a_killed_one_leaves_no_process(tmp_path):
    code = HELPER + (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "feed = ListFeed(sets, at_once=False, ends=False)\n"
        "plain, polls = feed.poll, iter(range(10**9))\n"
        "def poll():\n"
        "    if next(polls) == 20:\n"
        "        print('pictures are coming', flush=True)\n"
        "    return plain()\n"
        "feed.poll = poll\n"
        "run_viewer(rig, feed, headless=Path(sys.argv[1]), size=(640, 360))"
    )
    running = []
    try:
        for name in ("interrupted.mp4", "killed.mp4"):
            command = [sys.executable, "-c", code, str(tmp_path / name)]
            running.append(
                subprocess.Popen(
                    command, cwd=ROOT, env=without_display(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            )
        for process in running:
            assert process.stdout.readline()
        # Rendering without a screen starts nothing that could be left behind.
        assert [psutil.Process(process.pid).children() for process in running] == [[], []]
        running[0].send_signal(signal.SIGINT)
        running[1].kill()
        for process in running:
            process.wait(30)
    finally:
        for process in running:
            process.kill()
    assert decode(tmp_path / "interrupted.mp4")
    assert not (tmp_path / "killed.mp4").exists()


def test_no_screen_and_unusable_files_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match="--headless"):
        run_viewer(RIG, ListFeed([]))
    with pytest.raises(UserError, match=r"\.mp4"):
        run_viewer(RIG, ListFeed([]), headless=tmp_path / "out.avi")
    with pytest.raises(UserError, match="no directory"):
        run_viewer(RIG, ListFeed([]), headless=tmp_path / "missing" / "out.mp4")
    assert list(tmp_path.iterdir()) == []
