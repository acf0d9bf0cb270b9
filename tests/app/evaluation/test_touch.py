"""The touch test on rendered hands that touch a rendered board: its figures are the method's true errors."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.estimators import make_estimator
from app.estimators.estimator import Estimate, Hand
from app.evaluation.evaluation import Recording
from app.evaluation.touch_figures import touch_figures
from app.evaluation.touch_report import report_html
from app.evaluation.touch_targets import corner_names, targets_of
from app.evaluation.touch_track import TouchTrack, touch_track, track_of
from app.evaluation.touches import find_touches
from calibration.board.board import Board
from calibration.errors import UserError
from calibration.hand import FINGERS, JOINTS, Definition, Side
from calibration.session import check_session
from calibration.solve.board_in_rig import PosedInRig
from tests.support.exact_footage import make_session
from tests.support.grip_scene import BOARD
from tests.support.touch_scene import PAD_MM, TouchScene, touch_scene

TOUCHED = (("index", 0), ("index", 11), ("thumb", 4), ("thumb", 9), ("little", 2), ("index", 4))
TARGETS = targets_of(BOARD)
Move = Callable[[np.ndarray, int], np.ndarray]


def hand_at(joints_m: np.ndarray, side: Side) -> Hand:
    return Hand(
        side=side, track_id=1, capture_time_ns=0, joints_world_m=joints_m, covariance_m2=np.zeros((JOINTS, 3, 3)),
        confidence=np.ones(JOINTS), detections_px={}, inliers={},
    )  # fmt: skip


class KnownHands:
    """Gives the true hands, moved; None where `lost` says so."""

    name = "known"
    definition: Definition = "anatomical"

    def __init__(self, scene: TouchScene, errors_m: np.ndarray, lost: np.ndarray | None = None) -> None:
        self.scene, self.errors_m = scene, errors_m
        self.lost = np.zeros(len(errors_m), bool) if lost is None else lost

    def hands(self, number: int) -> list[Hand]:
        if self.lost[number]:
            return []
        return [hand_at(self.scene.joints_m[number] + self.errors_m[number], self.scene.grips[0].side)]

    def estimate(self, frame_set) -> Estimate:
        return Estimate(hands=self.hands(int(np.argmin(np.abs(self.scene.times_ns - frame_set.reference_time_ns)))))

    def begin(self, frame_set):
        estimate = self.estimate(frame_set)
        return lambda: estimate

    def close(self) -> None: ...


def in_board(scene: TouchScene, vectors_m: np.ndarray) -> np.ndarray:
    """World vectors (S, ..., 3) in the board's axes."""
    return np.einsum("sba,s...b->s...a", scene.T_world_board[:, :3, :3], vectors_m)


def exact_track(scene: TouchScene, method: KnownHands, known: np.ndarray | None = None) -> TouchTrack:
    poses = [PosedInRig(T, 0.1) if known is None or known[n] else None for n, T in enumerate(scene.T_world_board)]
    hands = [method.hands(number) for number in range(len(poses))]
    return track_of("anatomical", scene.times_ns.tolist(), hands, poses, np.full((len(poses), 3), -1))


def measured(track: TouchTrack) -> dict:
    return touch_figures(track, find_touches(track, TARGETS), TARGETS)


def true_errors(scene: TouchScene, method: KnownHands, track: TouchTrack) -> dict[str, float]:
    """The mean true errors of the touching tips in the very sets that count, along the board and its normal."""
    plane, normal = [], []
    for touch in find_touches(track, TARGETS):
        error_mm = 1e3 * in_board(scene, method.errors_m)[touch.rows, (4, 8, 12, 16, 20)[touch.finger]]
        plane.append(np.linalg.norm(error_mm[:, :2], axis=1))
        normal.append((touch.finger, error_mm[:, 2]))
    constant = {f: np.median([np.median(each) for g, each in normal if g == f]) for f, _ in normal}
    several = [f for f in constant if sum(g == f for g, _ in normal) > 1]
    away = [np.abs(each - constant[finger]) for finger, each in normal if finger in several]
    return {"plane_mm": float(np.concatenate(plane).mean()), "normal_mm": float(np.concatenate(away).mean())}


@pytest.fixture(scope="module")
def still() -> TouchScene:
    return touch_scene("right", TOUCHED, sets_each=14, moving=False)


@pytest.fixture(scope="module")
def recording(still, tmp_path_factory) -> Recording:
    folder = tmp_path_factory.mktemp("touch") / "session"
    still.write(folder)
    session = check_session(folder)
    rig = recorded_rig(session)
    return Recording(session, rig, recorded_phases_of(session, rig))


def noise(scene: TouchScene, seed: int, bias_mm: float, jitter_mm: float) -> np.ndarray:
    """Errors (S, 21, 3): of each touch and joint a constant one, and one that is new in each set."""
    random = np.random.default_rng(seed)
    sets = len(scene.times_ns)
    bias = np.repeat(random.normal(0, bias_mm, (len(scene.grips), JOINTS, 3)), scene.sets_each, axis=0)
    return 1e-3 * (bias + random.normal(0, jitter_mm, (sets, JOINTS, 3)))


def test_corners_are_named_as_printed():
    board = Board(type="charuco", columns=4, rows=5, square_m=0.03, dictionary="DICT_4X4_50", marker_m=0.02)
    assert corner_names(board) == ["A1", "B1", "C1", "A2", "B2", "C2", "A3", "B3", "C3", "A4", "B4", "C4"]
    assert [target.name for target in targets_of(board)] == ["A1", "C1", "A4", "C4", "B2"]
    assert targets_of(board, ["b3", "C1"])[0].place_board_m == pytest.approx([0.06, 0.09, 0.0])
    with pytest.raises(UserError, match="`--corners D1`: the board has the corners A1 to C4"):
        targets_of(board, ["A1", "D1"])
    with pytest.raises(UserError, match="two or more corners"):
        targets_of(board, ["A1", "a1"])
    wide = Board(type="chessboard", columns=30, rows=3, square_m=0.03)
    assert corner_names(wide)[25:29] == ["Z1", "AA1", "AB1", "AC1"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_touches_are_found_as_they_are_and_exact_hands_have_no_error(side):
    scene = touch_scene(side, (("index", 0), ("thumb", 4), ("ring", 11), ("little", 2), ("middle", 9)), sets_each=14)
    track = exact_track(scene, KnownHands(scene, np.zeros((70, JOINTS, 3))))
    figures = measured(track)
    found = [(touch["hand"], touch["finger"], touch["corner"]) for touch in figures["touches"]]
    assert found == [(side, FINGERS[finger], corner_names(BOARD)[corner]) for finger, corner in scene.truth]
    assert figures["all"]["plane_mm"] == pytest.approx(0, abs=1e-3)
    assert figures["jitter_mm"] == pytest.approx(0, abs=1e-6)
    assert figures["dropouts"] == 0
    assert [each["pad_mm"] for each in figures["fingers"].values()] == pytest.approx([PAD_MM] * 5, abs=1e-3)
    # One touch a finger says nothing of the normal.
    assert figures["all"]["normal_mm"] is None


def test_figures_of_rendered_touches_are_the_true_errors(still, recording):
    """The board is measured in the pictures, in which hands hide parts of it; the method errs by 4 mm and by 1 mm."""
    method = KnownHands(still, noise(still, 3, 4.0, 1.0))
    track = touch_track(recording, BOARD, lambda rig: method)
    figures, truth = measured(track), true_errors(still, method, track)
    assert len(figures["touches"]) == len(TOUCHED)
    assert figures["all"]["plane_mm"] == pytest.approx(truth["plane_mm"], rel=0.1)
    assert figures["all"]["normal_mm"] == pytest.approx(truth["normal_mm"], rel=0.1)
    assert figures["jitter_mm"] == pytest.approx(np.sqrt(3), rel=0.1)
    assert figures["board"]["noise_mm"] < 0.5
    low, high = figures["all"]["plane_mm_ci95"]
    assert low < truth["plane_mm"] < high


def test_constant_offsets_of_a_finger_are_told_apart(still):
    """A method that puts tips 6 mm too far along the finger, and 3 mm too high."""
    joints_m = still.joints_m
    bones_m = joints_m[:, [4, 8, 12, 16, 20]] - joints_m[:, [3, 7, 11, 15, 19]]
    flat = in_board(still, bones_m)
    flat[..., 2] = 0
    offset = 0.006 * flat / np.linalg.norm(flat, axis=-1, keepdims=True) - [0, 0, 0.003]
    errors_m = np.zeros_like(joints_m)
    errors_m[:, [4, 8, 12, 16, 20]] = np.einsum("sab,sfb->sfa", still.T_world_board[:, :3, :3], offset)
    figures = measured(exact_track(still, KnownHands(still, errors_m)))
    assert figures["all"]["plane_mm"] == pytest.approx(6, abs=0.01)
    assert figures["all"]["along_mm"] == pytest.approx(6, abs=0.6)
    assert figures["fingers"]["right index"]["plane_mm_without_constant"] < 1
    assert figures["fingers"]["right index"]["pad_mm"] == pytest.approx(PAD_MM + 3, abs=0.01)
    assert figures["all"]["normal_mm"] == pytest.approx(0, abs=0.01)


def test_lost_hands_are_dropouts_and_a_hidden_board_is_filled(still):
    sets = len(still.times_ns)
    lost = np.zeros(sets, bool)
    lost[5::14] = True
    known = np.ones(sets, bool)
    known[7::14] = False
    method = KnownHands(still, noise(still, 1, 1.0, 0.2), lost)
    track = exact_track(still, method, known)
    figures = measured(track)
    assert len(figures["touches"]) == len(TOUCHED)
    # Trimmed by two of fourteen sets at both ends.
    assert figures["dropouts"] == pytest.approx(1 / 10, abs=1e-6)
    assert track.measured.sum() == known.sum()
    assert np.isfinite(track.T_world_board).all()


def test_a_session_without_board_hand_or_touch_is_refused(still, recording, tmp_path, write_video):
    """A board that is not in the pictures is found before the method runs."""
    sets = len(still.times_ns)
    none = KnownHands(still, np.zeros((sets, JOINTS, 3)), np.ones(sets, bool))
    with pytest.raises(UserError, match="no hand is found in two views"):
        touch_track(recording, BOARD, lambda rig: none)
    with pytest.raises(UserError, match="the board of `--board` is not seen by two cameras"):
        touch_track(make_session(tmp_path / "session", write_video), BOARD, lambda rig: pytest.fail("it runs"))
    away = KnownHands(still, np.full((sets, JOINTS, 3), 0.15))
    with pytest.raises(UserError, match=r"no touch was found: the nearest .* was \d+ mm"):
        measured(exact_track(still, away))


def test_touches_are_found_where_sets_are_few(still):
    """On a slow machine a set comes every half second: no set between two says that the finger was elsewhere."""
    method = KnownHands(still, noise(still, 2, 2.0, 0.5))
    track = exact_track(still, method)
    slow = TouchTrack(**{**track.__dict__, "times_ns": 5 * track.times_ns})
    assert [(touch.finger, touch.target) for touch in find_touches(slow, TARGETS)] == [
        (touch.finger, touch.target) for touch in find_touches(track, TARGETS)
    ]


def test_a_fingertip_that_passes_by_is_no_touch(still):
    """It stays in the corner's neighbourhood for a second and a half, but moves all the time."""
    errors_m = np.zeros((len(still.times_ns), JOINTS, 3))
    errors_m[:, :, 0] = np.tile(np.linspace(-0.016, 0.016, still.sets_each), len(still.grips))[:, None]
    with pytest.raises(UserError, match="no touch was found"):
        measured(exact_track(still, KnownHands(still, errors_m)))


def test_asked_for_touches_are_of_the_finger_asked_for(still):
    """Where the viewer asks, a neighbour's tip that is given nearer to the corner does not take the touch."""
    sets = len(still.times_ns)
    errors_m = np.zeros((sets, JOINTS, 3))
    aside = in_board(still, still.joints_m[:, [8]] - still.joints_m[:, [12]])
    errors_m[:, 12] = np.einsum("sab,sfb->sfa", still.T_world_board[:, :3, :3], aside)[:, 0]
    shift = np.einsum("sab,b->sa", still.T_world_board[:, :3, :3], np.array([0.005, 0.0, 0.0]))
    errors_m[:, 8] = shift
    track = exact_track(still, KnownHands(still, errors_m))
    asked = np.repeat(
        [[1, finger, [0, 2, 9, 11, 4].index(corner)] for finger, corner in still.truth], still.sets_each, 0
    )
    told = TouchTrack(**{**track.__dict__, "asked": asked})
    fingers = [(touch.finger, touch.target) for touch in find_touches(told, TARGETS)]
    assert fingers == [tuple(each) for each in asked[:: still.sets_each, 1:]]
    assert any(touch.finger == 2 for touch in find_touches(track, TARGETS))


def test_the_report_says_the_figures_and_loads_nothing(still):
    method = KnownHands(still, noise(still, 5, 4.0, 1.0))
    track = exact_track(still, method)
    figures = measured(track)
    page = report_html(
        {
            "date": "2026-01-31", "method": "known", "definition": "anatomical", "data": "session <a>",
            "rig_id": "0123", "cameras": 4, "sets": len(track), "sets_with_board": len(track), "capture_mm": 19.1,
            "latency_ms": {"p50": 41.0, "p99": 63.0}, "command": "usthand validate --session <a>", **figures,
        },
        BOARD,
    )  # fmt: skip
    whole = figures["all"]
    for value in (whole["plane_mm"], whole["normal_mm"], *(each["pad_mm"] for each in figures["fingers"].values())):
        assert f"{value:.1f}" in page
    assert f"{figures['jitter_mm']:.2f}" in page
    for corner in ("A1", "B2", "C4"):
        assert f">{corner}<" in page
    assert "99 %: 63 ms" in page
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=\"(?!#)|<script|@import|url\(\s*[\"']?http", page)
    assert "<a>" not in page


@pytest.mark.slow
def test_mediapipes_figures_on_rendered_touches_are_its_true_errors(still, recording):
    """From the pictures alone: the report's figure is the true distance of MediaPipe's fingertips, within 10 %."""
    track = touch_track(recording, BOARD, lambda rig: make_estimator("mediapipe", rig))
    touches = find_touches(track, TARGETS)
    assert [(touch.finger, TARGETS[touch.target].name) for touch in touches] == [
        (finger, corner_names(BOARD)[corner]) for finger, corner in still.truth
    ]
    plane, heights = [], {}
    for touch in touches:
        truth_m = still.joints_m[touch.rows] - still.T_world_board[touch.rows, None, :3, 3]
        truth_board_m = np.einsum("sba,sjb->sja", still.T_world_board[touch.rows, :3, :3], truth_m)
        error_mm = 1e3 * (track.joints_board_m[touch.rows, touch.side] - truth_board_m)
        tip_mm = error_mm[:, (4, 8, 12, 16, 20)[touch.finger]]
        plane.append(np.linalg.norm(tip_mm[:, :2], axis=1))
        heights.setdefault(touch.finger, []).append(tip_mm[:, 2])
    normal = [
        np.abs(each - np.median([np.median(other) for other in of_finger]))
        for of_finger in heights.values()
        if len(of_finger) > 1
        for each in of_finger
    ]
    figures = touch_figures(track, touches, TARGETS)
    assert figures["all"]["plane_mm"] == pytest.approx(np.concatenate(plane).mean(), rel=0.1)
    assert figures["all"]["normal_mm"] == pytest.approx(np.concatenate(normal).mean(), rel=0.1)
