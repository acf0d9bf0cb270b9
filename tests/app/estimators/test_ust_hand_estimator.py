"""The estimator of the project's own network, with an engine that knows hands by coloured dots instead.

Every joint of a simulated hand is drawn as a dot of its own colour. Three more dots around its middle run clockwise on
a right hand and the other way on a left one, so that the engine sees, as the network does, right hands only: in
mirrored crops the left one. All that is not the network is the real thing.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

import cv2
import numpy as np
import pytest

from app.estimators import make_estimator
from app.estimators.camera_trust import CameraTrust
from app.estimators.estimator import Estimate, Hand
from app.estimators.multiview.simulated import SimulatedDetector
from app.estimators.ust_hand.estimator import UstHandEstimator
from app.estimators.ust_hand.hand_finder import DetectorFinder, Found, VolumeSearch
from app.estimators.view_watch import Sight
from calibration.camera_source import MAX_CAMERAS
from calibration.errors import UserError
from calibration.frames import Frame, FrameSet
from calibration.hand import Side, bone_lengths
from calibration.rig import Rig
from deploy.batches import Clouds, CloudWindow, EngineShape, Refined
from deploy.engines.cloud_rings import CloudRings
from deploy.pipeline.pipeline import Pipeline
from models.hand.crop import to_pixels
from models.network.config import MAX_VIEWS
from models.simulation.hands import hands_at, hands_of_people_at
from models.simulation.simulated_rig import ring_rig

RIG = ring_rig(4)
BOTH: tuple[Side, ...] = ("left", "right")
JOINTS, MARKS = 21, 24
PERIOD_NS = 33_333_333
LAGS_NS = (0, 7_000_000, -5_000_000, 2_000_000)
BLUE = {"right": 250, "left": 120}
STEP, SUM = 8, 295
"""Dot i has red 40 + 8 i, and red and green add up to 295, which no mixture with the background does."""


def draw(hands: Iterable[tuple[Side, np.ndarray]], rig: Rig, camera_number: int) -> np.ndarray:
    camera = rig.cameras[camera_number]
    image = np.zeros((camera.camera.height, camera.camera.width, 3), np.uint8)
    image[..., 0] = 190  # bright, so that crops stay as they are
    for side, joints in hands:
        dots_px = camera.project(joints)
        turn = np.array([0, 1, 2]) * 2 * np.pi / 3 * (1 if side == "right" else -1)
        dots_px = np.concatenate([dots_px, dots_px.mean(0) + 20 * np.stack([np.cos(turn), np.sin(turn)], axis=1)])
        for index, place in enumerate(dots_px):
            colour = (BLUE[side], SUM - 40 - STEP * index, 40 + STEP * index)
            u, v = (int(each) for each in np.rint(16 * place))
            cv2.circle(image, (u, v), 16 * 4, colour, -1, cv2.LINE_8, 4)
    return image


def dots(crop_rgb: np.ndarray, blue_of_hand: int) -> np.ndarray:
    """Dots (24, 2) of one of the hands in a crop, NaN for what is hidden."""
    red, green, blue = (crop_rgb[..., channel].astype(int) for channel in range(3))
    v, u = np.nonzero((np.abs(red + green - SUM) <= 2) & (np.abs(blue - blue_of_hand) <= 3))
    index = np.rint((red[v, u] - 40) / STEP).astype(int)
    places = np.full((MARKS, 2), np.nan)
    for mark in range(MARKS):
        if (index == mark).any():
            places[mark] = np.median(np.stack([u, v], axis=1)[index == mark], axis=0)
    return places


def right_hand(crops_rgb: np.ndarray) -> np.ndarray:
    """Joints (V, 21, 2) of the hand that looks like a right one in most of the crops; all NaN without one."""
    for blue in BLUE.values():
        places = np.stack([dots(crop, blue) for crop in crops_rgb])
        (u1, v1), (u2, v2) = ((places[:, mark] - places[:, 21]).T for mark in (22, 23))
        if np.nansum(np.sign(u1 * v2 - v1 * u2)) > 0:
            return places[:, :JOINTS]
    return np.full((len(crops_rgb), JOINTS, 2), np.nan)


def dlt(P: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """The point (3,) whose projections with P (V, 3, 4) are nearest to points (V, 2), by singular values."""
    rows = points_px[:, :, None] * P[:, 2:] - P[:, :2]
    rows = (rows / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)).reshape(-1, 4)
    solution = np.linalg.svd(rows)[2][-1]
    return solution[:3] / solution[3]


class DotEngine:
    """Stage 1 by dots; stage 2 passes the newest queries on. `windows` are those that it was asked to refine."""

    name = "dots"
    shape = EngineShape(crop_px=128, hypotheses=2, anchors=2, frames=5, width=4)

    places = staticmethod(right_hand)

    def __init__(self) -> None:
        self.windows: list[CloudWindow] = []
        self.views: list[int] = []

    def prepare(self, hands: Iterable[int], views: int) -> None: ...

    def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        hands, V = view_mask.shape
        assert V <= MAX_VIEWS, "no engine takes more"
        assert crops_rgb.shape == (hands, V, 128, 128, 3) and crops_rgb.dtype == np.uint8
        assert P_crop.shape == (hands, V, 3, 4) and P_crop.dtype == np.float32
        self.views.extend(view_mask.sum(1))
        queries_m = np.zeros((hands, JOINTS, 3), np.float32)
        keypoints_px = np.full((hands, V, JOINTS, 2), 63.5, np.float32)
        confidence = np.full((hands, V, JOINTS), 0.01, np.float32)
        for hand in range(hands):
            places = self.places(crops_rgb[hand])
            there = np.all(np.isfinite(places), axis=-1)
            known = there.sum(0) >= 2
            if known.sum() < 12:
                continue  # as a network that sees nothing: everything in the middle
            P = P_crop[hand].astype(np.float64)
            for joint in np.flatnonzero(known):
                queries_m[hand, joint] = dlt(P[there[:, joint]], places[there[:, joint], joint])
            queries_m[hand, ~known] = queries_m[hand, known].mean(0)
            for view in np.flatnonzero(view_mask[hand]):
                projected = to_pixels(P[view], queries_m[hand])
                keypoints_px[hand, view] = np.where(there[view, :, None], places[view], projected)
            confidence[hand] = np.where(there, 0.5, 0.01)
        spread = np.zeros((hands, 2 * JOINTS, 4), np.float32)
        return Clouds(
            anchors_m=np.tile(queries_m, (1, 2, 1)),
            anchor_features=spread,
            queries_m=queries_m,
            query_features=spread[:, :JOINTS],
            keypoints_px=keypoints_px,
            confidence=confidence,
            presence=np.minimum(confidence.mean(-1) / 0.064, 1),
            right=np.full((hands, V), 0.5, np.float32),
        )

    def refine(self, window: CloudWindow) -> Refined:
        self.windows.append(CloudWindow(*(array.copy() for array in window)))
        joints_m = window.queries_m[:, -1].copy()  # the window's memory takes the next set's
        return Refined(joints_m, np.broadcast_to(np.eye(3, dtype=np.float32) * 0.002**2, (len(joints_m), JOINTS, 3, 3)))

    def make_rings(self, hands: int, lock: AbstractContextManager) -> CloudRings:
        return CloudRings(self, hands, lock)

    def close(self) -> None: ...


class ListFinder:
    """Finds the hands in `here`, as exactly as a detector might, and counts how often it is asked."""

    views_with_hand = 0

    def __init__(self, time_s: float = 0.0) -> None:
        self.here: dict[Side, np.ndarray] = {side: joints + 0.01 for side, joints in hands_at(time_s).items()}
        self.asked = 0

    def find(
        self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        self.asked += 1
        return [Found(side, joints) for side, joints in self.here.items()]

    def close(self) -> None: ...


def frame_set(number: int, sides: Sequence[Side] = BOTH, cameras: Sequence[int] = range(4), rig: Rig = RIG) -> FrameSet:
    """Set `number`, 30 a second; each camera shows the hands when its own, somewhat other time says they were."""
    now_ns = number * PERIOD_NS
    frames = {}
    for index in cameras:
        time_ns = now_ns + LAGS_NS[index % 4]
        hands = hands_at(time_ns / 1e9)
        pixels = draw([(side, hands[side]) for side in sides], rig, index)
        camera_id = rig.cameras[index].camera_id
        frames[camera_id] = Frame(
            camera_id=camera_id,
            sequence=number,
            capture_time_ns=time_ns,
            grab_time_ns=0,
            publish_time_ns=0,
            pixels=pixels,
        )
    return FrameSet(number, now_ns, frames, 0)


def errors_mm(estimate: Estimate, number: int) -> dict[Side, float]:
    """Median over the joints, since now and then one's dot is hidden in all views but one."""
    truth = hands_at(number * PERIOD_NS / 1e9)
    return {
        hand.side: 1e3 * float(np.median(np.linalg.norm(hand.joints_world_m - truth[hand.side], axis=1)))
        for hand in estimate.hands
    }


def one(estimate: Estimate, side: Side) -> Hand:
    (hand,) = [hand for hand in estimate.hands if hand.side == side]
    return hand


def started(finder=None, newest_only: bool = False) -> tuple[UstHandEstimator, DotEngine, ListFinder]:
    engine, finder = DotEngine(), finder or ListFinder()
    return UstHandEstimator(RIG, Pipeline(engine, 4), finder, newest_only=newest_only), engine, finder


def test_both_hands_are_followed_to_the_truth_while_they_move_and_the_finder_rests() -> None:
    estimator, engine, finder = started()
    worst = {side: [] for side in BOTH}
    for number in range(60):
        estimate = estimator.estimate(frame_set(number))
        assert {hand.side: hand.track_id for hand in estimate.hands} == {"left": 1, "right": 2}
        for side, error in errors_mm(estimate, number).items():
            worst[side].append(error)
        assert list(estimate.stage_ms) == ["find", "crop", "stage1", "stpt", "judge"]
        assert estimate.detections == estimate.detections_used == 8
    assert finder.asked == 1
    for side in BOTH:
        # The first sets do not know yet how fast the hand is, and three of the four cameras are early or late.
        assert max(worst[side][5:]) < 3
        assert np.mean(worst[side][5:]) < 1.5
    hand = one(estimate, "left")
    for index, camera in enumerate(RIG.cameras):
        truth = hands_at((59 * PERIOD_NS + LAGS_NS[index]) / 1e9)["left"]
        off = np.linalg.norm(hand.detections_px[camera.camera_id] - camera.project(truth), axis=1)
        assert np.median(off) < 1
        assert hand.inliers[camera.camera_id].mean() > 0.8
    assert np.median(hand.reprojection_px) < 1 and np.median(hand.leave_one_out_px) < 2
    assert hand.covariance_m2 == pytest.approx(np.tile(np.eye(3) * 0.002**2, (JOINTS, 1, 1)))
    assert engine.windows[-1].frame_mask.all() and engine.windows[0].frame_mask.sum() == 2
    for index, follow in enumerate(estimator._tracks):
        for frame in range(5):
            there_m = engine.windows[-1].queries_m[index, frame] + engine.windows[-1].origins_m[index, frame]
            truth = hands_at((55 + frame) * PERIOD_NS / 1e9)[follow.side]
            assert np.median(np.linalg.norm(follow.views.to_world_m(there_m) - truth, axis=1)) < 0.003


def test_hands_are_followed_where_a_set_is_finished_after_the_next_has_begun() -> None:
    """Crops lie where the motion of two sets ago says; a hand that vanishes is absent from its windows all the same."""
    estimator, engine, _ = started()
    rest = estimator.begin(frame_set(0))
    thread = ThreadPoolExecutor(1)
    for number in range(1, 30):
        sides: Sequence[Side] = ["left"] if 20 <= number < 23 else BOTH
        done = thread.submit(rest)
        if number == 1:
            done.result()  # else the second set would begin with hands that do not move yet
        rest = estimator.begin(frame_set(number, sides))
        estimate = done.result()
        assert len(estimate.hands) == (1 if 20 <= number - 1 < 23 else 2)
        assert {hand.track_id for hand in estimate.hands} <= {1, 2}
        if number > 8:
            assert max(errors_mm(estimate, number - 1).values()) < 3
    thread.shutdown()
    masks = [window.frame_mask[1].tolist() for window in engine.windows]
    # Sets 20 to 22 were refined, and withdrawn when the next one was in the ring already.
    assert masks[19] == [True] * 5 and masks[24] == [False, False, False, True, True]


def test_a_hand_is_lost_and_found_again_while_sets_overlap() -> None:
    """Whenever the first part of a set may run: at once, or after the set before has been finished."""
    estimator, _, finder = started()
    random, thread = np.random.default_rng(0), ThreadPoolExecutor(1)
    rest, tracks = estimator.begin(frame_set(0)), []
    for number in range(1, 50):
        gone = 10 <= number < 20 or 30 <= number < 34
        finder.here = {side: joints for side, joints in hands_at(number * PERIOD_NS / 1e9).items() if not gone}
        done = thread.submit(rest)
        if random.random() < 0.5 or number == 1:
            done.result()
        rest = estimator.begin(frame_set(number, ["left"] if gone else BOTH))
        tracks.append({hand.side: hand.track_id for hand in done.result().hands})
    thread.shutdown()
    assert {each.get("left") for each in tracks} == {1}
    rights = [each.get("right") for each in tracks]
    assert rights[8] == 2 and set(rights[11:19]) == {None} and rights[25] == 2
    assert set(rights[36:]) == {2}


def test_a_hand_that_is_found_again_is_not_lost_by_what_an_older_set_says() -> None:
    """Each set is finished when the next one has looked for hands and comes to stage 1."""
    estimates: list[Estimate] = []

    class LateEngine(DotEngine):
        finish: Callable[[], Estimate] | None = None

        def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
            if self.finish is not None:
                estimates.append(self.finish())
            return super().run_stage1(crops_rgb, P_crop, view_mask)

    engine, finder = LateEngine(), ListFinder()
    estimator = UstHandEstimator(RIG, Pipeline(engine, 4), finder)
    for number in range(20):
        gone = 10 <= number < 14
        finder.here = {side: joints for side, joints in hands_at(number * PERIOD_NS / 1e9).items() if not gone}
        engine.finish = estimator.begin(frame_set(number, ["left"] if gone else BOTH))
    # The finder finds it in set 14, before set 13 says for the fourth time that it is not there.
    assert [len(each.hands) for each in estimates] == [2] * 10 + [1] * 4 + [2] * 5
    assert {one(each, "right").track_id for each in estimates[14:]} == {2}


def test_two_people_have_four_hands_each_with_its_slot_and_the_finder_rests() -> None:
    rig = ring_rig(6, width=1280, height=960, people=2)
    truth = [hands_of_people_at(number * PERIOD_NS / 1e9, 2) for number in range(12)]

    class FourHands(ListFinder):
        def find(self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()):
            self.asked += 1
            return [Found(side, joints_m + 0.01, side_log_odds=12.0) for side, joints_m in truth[0]]

    finder = FourHands()
    estimator = UstHandEstimator(rig, Pipeline(DotEngine(), 6, hands=4), finder)
    for number, hands in enumerate(truth):
        now_ns = number * PERIOD_NS
        frames = {
            camera.camera_id: Frame(
                camera_id=camera.camera_id,
                sequence=number,
                capture_time_ns=now_ns,
                grab_time_ns=0,
                publish_time_ns=0,
                pixels=draw(hands, rig, index),
            )
            for index, camera in enumerate(rig.cameras)
        }
        found = estimator.estimate(FrameSet(number, now_ns, frames, 0)).hands
        assert {hand.track_id: hand.side for hand in found} == {1: "left", 2: "right", 3: "left", 4: "right"}
    assert finder.asked == 1
    for hand, (side, joints_m) in zip(sorted(found, key=lambda hand: hand.track_id), hands, strict=True):
        assert hand.side == side
        assert np.median(np.linalg.norm(hand.joints_world_m - joints_m, axis=1)) < 0.005


def test_of_sixteen_cameras_the_best_eight_are_looked_at_and_one_that_shows_nothing_makes_way() -> None:
    rig, engine = ring_rig(MAX_CAMERAS), DotEngine()
    engine.shape = replace(engine.shape, upright=True)  # so that vague places are looked at once more
    estimator = UstHandEstimator(rig, Pipeline(engine, MAX_CAMERAS), ListFinder())
    names = rig.camera_ids
    for number in range(12):  # each hand tries each of the two that show nothing at least once
        frames = frame_set(number, cameras=range(MAX_CAMERAS), rig=rig)
        if number > 3:  # what was looked at shows nothing any more
            for name in (names[0], names[1]):
                frames.frames[name].pixels[:] = 0
        estimate = estimator.estimate(frames)
        assert max(engine.views[-2:]) == MAX_VIEWS
        assert max(errors_mm(estimate, number).values()) < (15 if number < 3 else 4)
    assert len(estimate.hands) == 2
    for hand in estimate.hands:
        assert len(hand.detections_px) == MAX_VIEWS and not {names[0], names[1]} & set(hand.detections_px)


def test_views_that_are_absent_for_a_while_change_little() -> None:
    estimator, engine, _ = started()
    for number in range(40):
        absent = {10: (0,), 11: (0,), 12: (0, 2), 13: (0, 3), 20: (1, 2)}.get(number, ())
        there = [index for index in range(4) if index not in absent]
        estimate = estimator.estimate(frame_set(number, cameras=there))
        assert {hand.track_id for hand in estimate.hands} == {1, 2}
        assert engine.views[-2:] == [len(there)] * 2
        if number >= 5:
            assert max(errors_mm(estimate, number).values()) < 5


def test_a_hand_keeps_its_number_where_one_of_its_views_has_no_frame_for_a_while() -> None:
    """Of three cameras one looks elsewhere, and another one brings every sixth frame only, then none any more."""
    turn = np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.radians([0.0, 45.0, 0.0]))[0]
    away = replace(RIG.cameras[1], T_cam_world=turn @ RIG.cameras[1].T_cam_world)
    rig = Rig((RIG.cameras[0], away, RIG.cameras[2]))
    estimator, _, finder = started()
    estimator.rig = rig
    for number in range(60):
        looked = number < 36 and number % 6 == 0
        finder.here = hands_at(number * PERIOD_NS / 1e9) if looked else {}
        estimate = estimator.estimate(frame_set(number, cameras=(0, 1, 2) if looked else (0, 1), rig=rig))
        assert {hand.track_id for hand in estimate.hands} == ({1, 2} if looked else set())
        unseen = {hand.track_id for hand in estimate.unseen}
        if number < 45:
            assert unseen == (set() if looked else {1, 2}), number
        if number > 50:
            assert unseen == set(), "0.6 s after the slow camera's last frame nothing is known any more"


def test_a_hand_that_vanishes_is_lost_and_found_again_with_its_number_and_an_empty_ring() -> None:
    estimator, engine, finder = started()
    for number in range(8):
        estimator.estimate(frame_set(number))
    del finder.here["right"]
    for number in range(8, 14):
        estimate = estimator.estimate(frame_set(number, ["left"]))
        assert [hand.side for hand in estimate.hands] == ["left"]
        if number == 10:
            # Its last frames are absent in its window, those before are not.
            assert engine.windows[-1].frame_mask[1].tolist() == [True, True, False, False, True]
        assert ("right" in [follow.side for follow in estimator._tracks]) == (number < 11)
    asked = finder.asked
    assert 1 < asked < 4  # every 150 ms, while the other hand is followed
    finder.here = {side: joints for side, joints in hands_at(14 * PERIOD_NS / 1e9).items() if side == "right"}
    for number in range(14, 22):
        estimate = estimator.estimate(frame_set(number))
    assert one(estimate, "left").track_id == 1
    assert one(estimate, "right").track_id == 2
    begun = [window.frame_mask.tolist() for window in engine.windows[1:] if window.frame_mask[1:, :-1].sum() == 0]
    assert [[True] * 5, [False] * 4 + [True]] in begun
    assert max(errors_mm(estimate, 21).values()) < 5


def test_a_short_absence_keeps_the_track() -> None:
    estimator, engine, finder = started()
    for number in range(16):
        estimate = estimator.estimate(frame_set(number, ["left"] if number in (8, 9, 10) else BOTH))
    assert one(estimate, "right").track_id == 2
    assert finder.asked == 1
    assert engine.windows[-5].frame_mask[1].tolist() == [True, False, False, False, True]


def test_at_a_slow_rate_hands_that_jumped_are_found_again_at_once_though_both_slots_are_taken() -> None:
    """Six sets a second, and both hands are where nothing predicts them: the finder says where, and they go on."""
    estimator, _, finder = started()
    jump_m = np.array([0.12, 0.1, 0.0])

    def slow_set(number: int, moved_m: np.ndarray) -> FrameSet:
        frames = {}
        for index, (camera_id, frame) in enumerate(frame_set(number).frames.items()):
            hands = hands_at(frame.capture_time_ns / 1e9)
            pixels = draw([(side, joints + moved_m) for side, joints in hands.items()], RIG, index)
            frames[camera_id] = replace(frame, pixels=pixels, sequence=number // 5)
        return FrameSet(number, number * PERIOD_NS, frames, 0)

    for number in range(0, 25, 5):
        finder.here = hands_at(number * PERIOD_NS / 1e9)
        assert len(estimator.estimate(slow_set(number, np.zeros(3))).hands) == 2
    for number in range(25, 40, 5):
        finder.here = {side: joints + jump_m for side, joints in hands_at(number * PERIOD_NS / 1e9).items()}
        estimate = estimator.estimate(slow_set(number, jump_m))
        assert {hand.side: hand.track_id for hand in estimate.hands} == {"left": 1, "right": 2}
        for side, truth_m in finder.here.items():
            apart_m = np.linalg.norm(one(estimate, side).joints_world_m - truth_m, axis=1)
            assert np.median(apart_m) < 0.003, (number, side)


def test_hands_that_are_seen_are_not_searched_for_where_sets_take_long() -> None:
    """Frames are skipped, so each search would make the next set later still."""
    estimator, _, finder = started(newest_only=True)
    for number in range(0, 40, 5):
        estimate = estimator.estimate(frame_set(number))
        assert {hand.side: hand.track_id for hand in estimate.hands} == {"left": 1, "right": 2}
    assert finder.asked == 1
    estimator.estimate(frame_set(40, ["left"]))  # the right hand is missed: it is searched for
    estimator.estimate(frame_set(45, ["left"]))
    assert finder.asked == 2


def test_a_quick_hand_is_not_followed_as_a_second_one_where_it_was_found_meanwhile() -> None:
    """Alone, so that the finder goes on looking for the other one: at 1.5 m/s it is 5 cm from where it was last."""
    still = hands_at(0.0)["right"]

    def at(time_s: float) -> np.ndarray:
        return still + [0.2 * np.sin(7.5 * time_s), 0, 0]

    class Quick(ListFinder):
        def find(self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()):
            self.asked += 1
            return [Found("right", at(frame_set.reference_time_ns / 1e9) + 0.004, side_log_odds=12.0)]

    estimator, _, finder = started(Quick())
    for number in range(60):
        time_s = number * PERIOD_NS / 1e9
        frames = {
            camera_id: replace(
                frame, pixels=draw([("right", at(time_s))], RIG, index), capture_time_ns=number * PERIOD_NS
            )
            for index, (camera_id, frame) in enumerate(frame_set(number, []).frames.items())
        }
        estimate = estimator.estimate(FrameSet(number, number * PERIOD_NS, frames, 0))
        assert [hand.track_id for hand in estimate.hands] == [1], number
    assert finder.asked > 10 and estimator._tracks._numbers == 1, "no other was begun"


def test_at_a_slow_rate_views_of_other_times_are_brought_to_one() -> None:
    """Six sets a second, in which the finder looks for every hand, and cameras up to 60 ms early and late."""
    estimator, _, finder = started()
    errors = []
    for number in range(0, 60, 5):
        now_ns, frames = number * PERIOD_NS, {}
        finder.here = {side: joints + 0.003 for side, joints in hands_at(now_ns / 1e9).items()}
        for index, (camera_id, frame) in enumerate(frame_set(number).frames.items()):
            time_ns = now_ns + (0, 60_000_000, -60_000_000, 30_000_000)[index]
            pixels = draw(hands_at(time_ns / 1e9).items(), RIG, index)
            frames[camera_id] = replace(frame, pixels=pixels, capture_time_ns=time_ns)
        errors.append(errors_mm(estimator.estimate(FrameSet(number, now_ns, frames, 0)), number))
    assert finder.asked == len(errors)
    for side in BOTH:
        assert np.mean([each[side] for each in errors[3:]]) < 4, errors  # of hands taken to stand still 8


def test_a_camera_that_is_somewhat_off_costs_less_than_it_would_if_it_counted_as_the_others(monkeypatch) -> None:
    """By 12 mm: too little for it to be left out."""

    def error_mm() -> float:
        estimator, engine, _ = started()
        engine.shape = replace(engine.shape, upright=True)
        turn = np.eye(4)
        turn[0, 3] = 0.012
        cameras = [replace(c, T_cam_world=turn @ c.T_cam_world) if at == 1 else c for at, c in enumerate(RIG.cameras)]
        shown = replace(RIG, cameras=tuple(cameras))
        errors = [errors_mm(estimator.estimate(frame_set(number, rig=shown)), number) for number in range(40)]
        return float(np.mean([error for each in errors[10:] for error in each.values()]))

    doubted_mm = error_mm()
    monkeypatch.setattr(CameraTrust, "std_scale", lambda self, camera_ids: np.ones(len(camera_ids)))
    assert doubted_mm < 0.85 * error_mm()


def test_a_hand_begun_on_the_wrong_side_is_turned_round_by_what_views_say() -> None:
    class EitherHand(DotEngine):
        """Finds the left hand, mirrored or not, and says which side a crop shows."""

        @staticmethod
        def places(crops_rgb: np.ndarray) -> np.ndarray:
            return np.stack([dots(crop, BLUE["left"]) for crop in crops_rgb])[:, :JOINTS]

        def run_stage1(self, crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
            found = super().run_stage1(crops_rgb, P_crop, view_mask)
            for hand, crops in enumerate(crops_rgb):
                shown = np.isfinite(right_hand(crops)).any()
                found.right[hand] = 0.97 if shown else 0.03
            return found

    finder = ListFinder()
    finder.here = {"right": finder.here["left"]}
    estimator = UstHandEstimator(RIG, Pipeline(EitherHand(), 4), finder)
    sides = []
    for number in range(12):
        estimate = estimator.estimate(frame_set(number, ["left"]))
        sides += [hand.side for hand in estimate.hands]
        assert {hand.track_id for hand in estimate.hands} <= {1}
    assert sides[0] == "right" and sides[-6:] == ["left"] * 6
    assert max(errors_mm(estimate, 11).values()) < 5


def test_of_two_people_each_missed_hand_goes_on_where_it_was() -> None:
    """The finder says the two right hands in the other order: the nearer one is the same."""

    class FourHands(ListFinder):
        def find(self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()):
            found = [Found(side, joints_m, side_log_odds=12.0) for side, joints_m in truth]
            return found[::-1] if frame_set.index else found

    rig = ring_rig(6, width=1280, height=960, people=2)
    estimator = UstHandEstimator(rig, Pipeline(DotEngine(), 6, hands=4), FourHands())
    for number in range(0, 20, 5):  # six sets a second: each set searches
        now_ns = number * PERIOD_NS
        truth = hands_of_people_at(now_ns / 1e9, 2)
        frames = {
            camera_id: replace(frame, pixels=draw(truth, rig, index), capture_time_ns=now_ns)
            for index, (camera_id, frame) in enumerate(frame_set(number, cameras=range(6), rig=rig).frames.items())
        }
        hands = {hand.track_id: hand for hand in estimator.estimate(FrameSet(number, now_ns, frames, 0)).hands}
        for track_id, (_, joints_m) in enumerate(truth, start=1):
            assert np.linalg.norm(hands[track_id].joints_world_m.mean(0) - joints_m.mean(0)) < 0.02, number


@pytest.mark.parametrize("away_m", [0.0, 2.0])
def test_of_two_people_a_missed_hand_does_not_go_on_as_another_hand(away_m: float) -> None:
    """Six sets a second, of which each searches. The first person's right hand goes. The finder takes their left hand,
    which stays, for a right one; or it finds a right hand elsewhere, 2 m away, where none can have come."""
    truth = hands_of_people_at(0.0, 2)

    class FourHands(ListFinder):
        def find(self, frame_set: FrameSet, followed_m: Sequence[np.ndarray], lost_m: Sequence[np.ndarray] = ()):
            found = [Found(side, joints_m, side_log_odds=12.0) for side, joints_m in truth]
            first = "right" if frame_set.index and not away_m else "left"
            other = [Found("right", truth[1][1] + [away_m, 0, 0])] if away_m else []
            return [Found(first, truth[0][1]), *other, *found[2:]] if frame_set.index else found

    rig = ring_rig(6, width=1280, height=960, people=2)
    estimator = UstHandEstimator(rig, Pipeline(DotEngine(), 6, hands=4), FourHands())
    for number in (0, 5, 10):
        shown = [truth[0], *truth[2:]] if number else truth
        frames = {
            camera_id: replace(frame, pixels=draw(shown, rig, index), capture_time_ns=number * PERIOD_NS)
            for index, (camera_id, frame) in enumerate(frame_set(number, cameras=range(6), rig=rig).frames.items())
        }
        hands = {h.track_id: h for h in estimator.estimate(FrameSet(number, number * PERIOD_NS, frames, 0)).hands}
        for track_id, (side, joints_m) in enumerate(truth, start=1):
            if track_id != 2 or not number:
                assert hands[track_id].side == side
                assert np.linalg.norm(hands[track_id].joints_world_m.mean(0) - joints_m.mean(0)) < 0.02
    missed_m = next(track.joints_m for track in estimator._tracks if track.track_id == 2)
    assert np.linalg.norm(missed_m.mean(0) - truth[1][1].mean(0)) < 0.02, "it is still looked for where it was"


def test_after_a_pause_of_seconds_hands_are_searched_for_and_no_joint_has_flown_away() -> None:
    engine, finder = DotEngine(), ListFinder()
    engine.shape = replace(engine.shape, upright=True)
    estimator = UstHandEstimator(RIG, Pipeline(engine, 4), finder, newest_only=True)
    for number in (*range(10), *range(90, 94), *range(210, 214)):
        if number in (90, 210):
            finder.here = hands_at(number * PERIOD_NS / 1e9)
        estimate = estimator.estimate(frame_set(number))
    assert {hand.side for hand in estimate.hands} == {"left", "right"}
    assert max(errors_mm(estimate, 213).values()) < 10


def test_what_is_known_of_a_camera_is_said_in_sets_without_hands_too() -> None:
    estimator, _, finder = started()
    finder.here = {}
    sights: dict[str, Sight] = {"cam_0": "agrees", "cam_1": "agrees", "cam_2": "elsewhere", "cam_3": "agrees"}
    for _ in range(200):
        estimator._watch.learn(sights)
    assert "cam_2" in estimator.estimate(frame_set(0, [])).notes
    assert "cam_2" in estimator.estimate(frame_set(1, [], cameras=[0])).notes


def test_in_sets_of_fewer_than_two_frames_nobody_looks_and_hands_are_predicted() -> None:
    estimator, _, _ = started()
    for number in range(5):
        assert estimator.estimate(frame_set(number)).looked
    for number in range(5, 11):
        estimate = estimator.estimate(frame_set(number, cameras=[number % 4] if number % 2 else []))
        assert (estimate.hands, estimate.looked) == ([], False)
        assert {(hand.side, hand.state) for hand in estimate.unseen} == {("left", "predicted"), ("right", "predicted")}
        truth = hands_at(number * PERIOD_NS / 1e9)
        for hand in estimate.unseen:
            off_m = np.linalg.norm(hand.joints_world_m - truth[hand.side], axis=1).mean()
            std_m = np.sqrt(np.trace(hand.covariance_m2, axis1=1, axis2=2)).mean()
            assert off_m < 3 * std_m, "what may be wrong grows with the time"
    estimate = estimator.estimate(frame_set(11))
    assert {hand.track_id for hand in estimate.hands} == {1, 2}
    estimator.estimate(frame_set(12, cameras=[0]))
    late = estimator.estimate(frame_set(12 + 160, cameras=[0]))
    assert late.unseen == [], "after five seconds nothing is known any more"


def test_two_tracks_in_one_place_become_one_the_more_confident() -> None:
    """The engine takes the right hand for a left one as well, though its views do not agree on every joint of that."""
    finder = ListFinder()
    right = hands_at(0.0)["right"]
    finder.here = {"right": right, "left": right + [0.05, 0, 0]}
    estimator, engine, _ = started(finder)
    plain = engine.run_stage1

    def see_double(crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        clouds = plain(crops_rgb, P_crop, view_mask)
        if len(view_mask) == 2:
            right_at, left_at = (follow.views for follow in estimator._tracks)
            joints_m = right_at.to_world_m(clouds.queries_m[0].astype(np.float64))
            clouds.queries_m[1] = left_at.to_hand_m(joints_m)
            clouds.keypoints_px[1, : len(left_at.P_crop)] = [to_pixels(P, clouds.queries_m[1]) for P in left_at.P_crop]
            clouds.keypoints_px[1, :, ::3] += 9
            clouds.confidence[1], clouds.presence[1] = clouds.confidence[0], clouds.presence[0]
        return clouds

    engine.run_stage1 = see_double
    for number in range(12):
        estimate = estimator.estimate(frame_set(number, ["right"]))
        assert [(hand.side, hand.track_id) for hand in estimate.hands] == [("right", 1)]
        assert len(estimator._tracks) == 1
    assert finder.asked > 1 and estimator._tracks._numbers > 2  # it was begun again and again


def test_without_a_hand_there_is_none() -> None:
    finder = ListFinder()
    finder.here = {}
    estimator, engine, _ = started(finder)
    for number in range(3):
        estimate = estimator.estimate(frame_set(number))
        assert estimate.hands == [] and set(estimate.stage_ms) == {"find", "crop"}
    assert finder.asked == 3 and engine.windows == []
    # Nor where the finder is wrong: black images, and a place that no camera sees.
    finder.here = {"right": hands_at(0.0)["right"], "left": hands_at(0.0)["left"] + [0, 0, 3]}
    for number in range(3, 12):
        assert estimator.estimate(frame_set(number, [])).hands == []


def test_a_joint_that_is_not_a_number_does_not_reach_the_track() -> None:
    estimator, engine, _ = started()
    for number in range(6):
        estimator.estimate(frame_set(number))
    plain = engine.refine
    engine.refine = lambda window: plain(window)._replace(joints_m=np.full((2, JOINTS, 3), np.nan, np.float32))
    assert estimator.estimate(frame_set(6)).hands == []
    engine.refine = plain
    estimate = estimator.estimate(frame_set(7))
    assert max(errors_mm(estimate, 7).values()) < 5
    assert engine.windows[-1].frame_mask[0].tolist() == [True, True, True, False, True]


@pytest.mark.parametrize(("stated_m", "published"), [(0.02, True), (0.002, False)])
def test_bones_that_are_known_correct_joints_that_say_they_are_unsure(stated_m: float, published: bool) -> None:
    """A fingertip 15 cm off its finger."""
    estimator, engine, _ = started()
    for number in range(8):
        estimator.estimate(frame_set(number))
    plain = engine.refine

    def torn(window: CloudWindow) -> Refined:
        joints_m, covariance_m2 = plain(window)
        joints_m[:, 12, 2] += 0.15
        return Refined(joints_m, np.broadcast_to(np.eye(3, dtype=np.float32) * stated_m**2, covariance_m2.shape))

    engine.refine = torn
    estimate = estimator.estimate(frame_set(8))
    assert len(estimate.hands) == 2 * published
    for hand in estimate.hands:
        assert bone_lengths(hand.joints_world_m).max() < 0.12
        assert errors_mm(estimate, 8)[hand.side] < 5


def test_joints_that_agree_are_no_hand_where_the_heatmaps_are_flat() -> None:
    """As a network does without a hand: the same likely pose in every view, and no peak anywhere."""
    estimator, engine, finder = started()
    plain = engine.run_stage1

    def unsure(crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        clouds = plain(crops_rgb, P_crop, view_mask)
        return clouds._replace(presence=np.full_like(clouds.presence, 0.2))

    for number in range(6):
        estimator.estimate(frame_set(number))
    engine.run_stage1 = unsure
    finder.here = {}
    for number in range(6, 10):
        assert len(estimator._tracks) == 2
        assert estimator.estimate(frame_set(number)).hands == []
    assert list(estimator._tracks) == []
    search = VolumeSearch(RIG, Pipeline(engine, 4))
    assert [search.find(frame_set(0), []) for _ in range(4)] == [[]] * 4
    engine.run_stage1 = plain
    assert VolumeSearch(RIG, Pipeline(engine, 4)).find(frame_set(0), [])


@pytest.mark.parametrize(("works", "finder"), [(True, DetectorFinder), (False, VolumeSearch)])
def test_hands_are_found_by_mediapipe_where_an_engine_runs_it(monkeypatch: pytest.MonkeyPatch, works, finder) -> None:
    def detector(engine: str = "auto") -> SimulatedDetector:
        if not works:
            raise UserError("no engine is installed")
        return SimulatedDetector(RIG)

    monkeypatch.setattr("deploy.engines.live_engines", lambda *_: iter([DotEngine()]))
    monkeypatch.setattr("app.estimators.detectors.mediapipe_hands.MediaPipeHands", detector)
    estimator = make_estimator("ust-hand", RIG)
    assert isinstance(estimator, UstHandEstimator) and type(estimator.finder) is finder


def test_a_detectors_hand_with_an_unknown_joint_is_left_out() -> None:
    truth = hands_at(0.0)
    whole, torn = started()[0].estimate(frame_set(0)).hands
    torn = replace(torn, joints_world_m=np.where(np.arange(JOINTS)[:, None] == 4, np.nan, torn.joints_world_m))

    class Detector:
        def estimate(self, _: FrameSet) -> Estimate:
            return Estimate(hands=[whole, torn])

    (found,) = DetectorFinder(Detector()).find(frame_set(0), [])  # type: ignore[arg-type]
    assert found.side == whole.side
    assert np.linalg.norm(found.joints_m - truth[found.side], axis=1).mean() < 0.02


def test_the_volume_search_finds_both_hands_and_which_is_which() -> None:
    engine = DotEngine()
    pipeline = Pipeline(engine, 4)
    search = VolumeSearch(RIG, pipeline)
    estimator = UstHandEstimator(RIG, pipeline, search)
    for number in range(20):
        estimate = estimator.estimate(frame_set(number))
        if len(estimate.hands) == 2:
            break
    assert {hand.side for hand in estimate.hands} == set(BOTH)
    for later in range(number + 1, number + 8):
        estimate = estimator.estimate(frame_set(later))
    assert max(errors_mm(estimate, later).values()) < 3


def test_a_lost_hand_is_first_searched_for_where_it_was() -> None:
    """Far from the volume's middle, where the search begins."""
    rig = ring_rig(4)
    pipeline = Pipeline(DotEngine(), 4)
    search = VolumeSearch(rig, pipeline)
    estimator = UstHandEstimator(rig, pipeline, search)
    middle = hands_at(0.0)["right"].mean(0)
    search._places = search._places[np.linalg.norm(search._places - middle, axis=1) > 0.25]
    estimator.finder = ListFinder()
    for number in range(6):
        estimator.estimate(frame_set(number))
    estimator.finder = search
    for number in range(6, 12):
        assert estimator.estimate(frame_set(number, [])).hands == []
    for number in range(12, 15):
        estimate = estimator.estimate(frame_set(number))
    assert {hand.side for hand in estimate.hands} == set(BOTH)
    for number in range(15, 20):
        estimate = estimator.estimate(frame_set(number))
    assert max(errors_mm(estimate, 19).values()) < 5
    # A hand that was lost long ago is searched for in the volume alone.
    for number in range(20, 120):
        estimator.estimate(frame_set(number, []))
    assert estimator._lost == []


def test_the_volume_search_gives_a_place_to_the_side_that_fits_better() -> None:
    """An engine that sees a right hand in mirrored crops, too, only worse."""
    engine = DotEngine()
    plain = engine.run_stage1
    truth = hands_at(0.0)["right"]

    def ambiguous(crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        mirrored = np.ascontiguousarray(crops_rgb[:, :, :, ::-1])
        found = plain(crops_rgb, P_crop, view_mask)
        flip = np.array([[-1.0, 0, 127], [0, 1, 0], [0, 0, 1]])
        other = plain(mirrored, (flip @ P_crop).astype(np.float32), view_mask)
        swapped = np.any(other.confidence > 0.1, axis=(1, 2)) & ~np.any(found.confidence > 0.1, axis=(1, 2))
        back_px = other.keypoints_px.copy()
        back_px[..., 0] = 127 - back_px[..., 0]
        back_px[..., 1] += np.where(np.arange(JOINTS) % 2, 4, -4)
        return found._replace(
            queries_m=np.where(swapped[:, None, None], other.queries_m, found.queries_m),
            keypoints_px=np.where(swapped[:, None, None, None], back_px, found.keypoints_px),
        )

    engine.run_stage1 = ambiguous
    search = VolumeSearch(RIG, Pipeline(engine, 4))
    found: list[Found] = []
    for _ in range(40):
        found += search.find(frame_set(0, ["right"]), [])
    assert found and {hand.side for hand in found} == {"right"}
    assert min(np.linalg.norm(hand.joints_m - truth, axis=1).mean() for hand in found) < 0.005


def frozen_set(number: int) -> FrameSet:
    """The set of that number, of which one view's picture has stood still since the first."""
    now, then = frame_set(number), frame_set(0)
    camera_id = RIG.cameras[1].camera_id
    stale = replace(now.frames[camera_id], pixels=then.frames[camera_id].pixels)
    return FrameSet(number, now.reference_time_ns, {**now.frames, camera_id: stale}, 0)


def followed(
    change: Callable[[int], FrameSet], sets: int, since: int = 20, trusting: bool = False
) -> tuple[list[dict[str, str]], float]:
    """What was noted in each set, and the mean error (mm) in those from `since` on."""
    estimator, engine, finder = started()
    plain = engine.run_stage1

    def of_dots_seen(crops_rgb: np.ndarray, P_crop: np.ndarray, view_mask: np.ndarray) -> Clouds:
        clouds = plain(crops_rgb, P_crop, view_mask)
        return clouds._replace(presence=np.where((clouds.confidence > 0.1).mean(-1) > 0.4, 1, 0.1))

    engine.run_stage1 = of_dots_seen
    if trusting:
        estimator._watch.left_out = lambda camera_ids: []
    noted, errors = [], []
    for number in range(sets):
        if trusting:
            for track in estimator._tracks:
                track.trust.clear()
        finder.here = hands_at(number * PERIOD_NS / 1e9)
        estimate = estimator.estimate(change(number))
        noted.append(dict(estimate.notes))
        if number >= since:
            errors += errors_mm(estimate, number).values()
    assert len(errors) > sets - since
    return noted, float(np.mean(errors))


def exchanged_set(number: int) -> FrameSet:
    """Cameras 1 and 3 each show what the other should."""
    now = frame_set(number)
    one, other = RIG.cameras[1].camera_id, RIG.cameras[3].camera_id
    pictures = {one: now.frames[other].pixels, other: now.frames[one].pixels}
    shown = {name: replace(each, pixels=pictures.get(name, each.pixels)) for name, each in now.frames.items()}
    return FrameSet(number, now.reference_time_ns, shown, 0)


def moved_set(number: int) -> FrameSet:
    """Camera 1 was turned by 4 degrees."""
    angle = np.radians(4)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[0, 3] = 0.03
    cameras = [replace(c, T_cam_world=turn @ c.T_cam_world) if at == 1 else c for at, c in enumerate(RIG.cameras)]
    return frame_set(number, rig=replace(RIG, cameras=tuple(cameras)))


def test_a_view_that_stands_still_costs_less_than_it_would_if_trusted_and_is_named() -> None:
    noted, error_mm = followed(frozen_set, 90)
    assert set().union(*noted) == {RIG.cameras[1].camera_id}
    assert error_mm < 0.75 * followed(frozen_set, 90, trusting=True)[1]


def test_a_camera_that_was_moved_is_named_and_no_other() -> None:
    noted, _ = followed(moved_set, 50)
    assert set().union(*noted) == {RIG.cameras[1].camera_id}
    assert "moved" in noted[-1][RIG.cameras[1].camera_id]


def test_two_exchanged_cameras_are_named_as_that_and_cost_their_own_views_only() -> None:
    one, other = RIG.cameras[1].camera_id, RIG.cameras[3].camera_id
    noted, error_mm = followed(exchanged_set, 70, since=50)
    assert set().union(*noted) == {one, other}
    assert noted[-1][one] == f"exchanged: it shows what {other} should, and {other} what it should"
    assert error_mm < 10, "of two views, in each of which some dots are hidden"


def test_a_camera_that_goes_away_while_it_is_put_aside_is_not_said_to_be_at_odds() -> None:
    """Its picture stands still for a moment, then there is none for two seconds."""

    def change(number: int) -> FrameSet:
        if number < 24:
            return frozen_set(number) if number >= 20 else frame_set(number)
        return frame_set(number, cameras=[0, 2, 3] if number < 84 else range(4))

    noted, _ = followed(change, 90)
    assert set().union(*noted) == set()
