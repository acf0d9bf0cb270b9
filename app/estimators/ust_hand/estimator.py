"""The estimator of the project's own network: crops around the predicted hand, two engines, a ring of clouds per hand.

A hand is found first by a finder (a `HandFinder`), then followed by its own projection: the crop of the next set lies
where its motion says. It is lost when what the views say does not fit together any more, and is then looked for again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from app.estimators.estimator import Estimate, Hand
from app.estimators.tracks import Motion
from app.estimators.ust_hand.hand_finder import Found, HandFinder
from app.estimators.ust_hand.hand_views import HandViews, errors_px, show_a_hand
from calibration.frames import FrameSet
from calibration.hand import JOINTS, Side, bone_lengths
from calibration.rig import Rig
from deploy.batches import Refined, Stage1Keypoints
from deploy.engines.engine import HandRing
from deploy.pipeline.pipeline import Pipeline
from models.hand.crop import MIRROR_X, hand_box

SIDES: tuple[Side, ...] = ("left", "right")
_MEASURED_STD_M = 0.003
_MISSES_TO_LOSE = 4
_FIND_PERIOD_NS = 150_000_000
_LOST_FOR_NS = 2_000_000_000
_SAME_HAND_M = 0.04
_DISAGREEMENT = 0.12
_SPAN_M = (0.05, 0.26)
_CERTAIN_STD_M = 0.03


@dataclass(eq=False, kw_only=True)
class _Follow:
    """A hand that is followed: its motion, its slot in the pipeline, and how many sets in a row it was not there."""

    side: Side
    track_id: int
    motion: Motion
    slot: int
    half_width_m: float
    joints_m: np.ndarray
    misses: int = 0
    views: HandViews = field(default_factory=HandViews)

    @property
    def mirror(self) -> bool:
        return self.side == "left"


class _Look(NamedTuple):
    """A hand's views in one set, and the frame that they became in its ring."""

    follow: _Follow
    views: HandViews
    ring: HandRing
    frame: int


@dataclass(kw_only=True)
class _Begun:
    """A set of which stage 1 is done: what it `heard` of the hands it looked at, and how to refine them."""

    now_ns: int
    looks: list[_Look]
    heard: Stage1Keypoints
    refine: Callable[[], Refined | None]
    stage_ms: dict[str, float]


class UstHandEstimator:
    """At most two hands of one person, one left and one right, from any two or more views of a rig.

    `finder` looks for the hands that are not followed; it is asked at most every 150 ms while one hand is followed.
    """

    name = "ust-hand"

    def __init__(self, rig: Rig, pipeline: Pipeline, finder: HandFinder) -> None:
        self.rig = rig
        self.pipeline = pipeline
        self.finder = finder
        self._follows: list[_Follow] = []
        self._lost: list[tuple[int, np.ndarray]] = []
        self._next_id = 1
        self._asked_ns: int | None = None
        self._begun_ns: int | None = None

    def estimate(self, frame_set: FrameSet) -> Estimate:
        """The hands at `frame_set.reference_time_ns`. Sets must come in order of time."""
        return self.begin(frame_set, ahead=False)()

    def begin(self, frame_set: FrameSet, ahead: bool = True) -> Callable[[], Estimate]:
        """`estimate` up to stage 1; what it returns does the rest, once, and before that of the next set.

        With `ahead` that may be in another thread while the next set begins: its crops then lie where the motion up to
        the last set that was done says.
        """
        now_ns, pipeline = frame_set.reference_time_ns, self.pipeline
        clock = time.perf_counter()
        with pipeline.lock:
            self._begun_ns = now_ns
            self._lose_missed()
            if len(frame_set.frames) < 2:
                self._miss(self._follows)
                return lambda: Estimate([])
            self._find(frame_set)
            find_ms = _since(clock)

            clock = time.perf_counter()
            for follow in self._follows:
                follow.views = self._look(follow, now_ns, frame_set)
            seen = sorted((each for each in self._follows if len(each.views.cameras) >= 2), key=lambda each: each.slot)
            self._miss([follow for follow in self._follows if follow not in seen])
            rings = [pipeline.ring(follow.slot) for follow in seen]
        stage_ms = {"find": find_ms, "crop": _since(clock)}
        if not seen:
            return lambda: Estimate([], stage_ms=stage_ms)

        clock = time.perf_counter()
        slots = [follow.slot for follow in seen]
        heard = pipeline.run_stage1(slots, [follow.views.target_world_m for follow in seen])
        stage_ms["stage1"] = _since(clock)
        looks = [_Look(follow, follow.views, ring, ring.count) for follow, ring in zip(seen, rings, strict=True)]
        refine = pipeline.refine_later(slots) if ahead else partial(pipeline.refine, slots)
        return partial(self._finish, _Begun(now_ns=now_ns, looks=looks, heard=heard, refine=refine, stage_ms=stage_ms))

    def _finish(self, begun: _Begun) -> Estimate:
        clock = time.perf_counter()
        refined = begun.refine()
        begun.stage_ms["stpt"] = _since(clock)

        clock = time.perf_counter()
        with self.pipeline.lock:
            hands = [] if refined is None else self._hands(begun, refined)
        begun.stage_ms["judge"] = _since(clock)
        used = sum(len(hand.detections_px) for hand in hands)
        return Estimate(hands, sum(len(look.views.cameras) for look in begun.looks), used, begun.stage_ms)

    def _hands(self, begun: _Begun, refined: Refined) -> list[Hand]:
        """The hands to publish; what is followed learns from them."""
        hands = []
        for index, (follow, views, ring, frame) in enumerate(begun.looks):
            if follow not in self._follows:
                continue
            joints_m = views.to_world_m(refined.joints_m[index].astype(np.float64))
            covariance_m2 = views.turn @ refined.covariance_m2[index].astype(np.float64) @ views.turn
            hand = self._judge(follow, views, begun, index, joints_m, covariance_m2)
            if hand is None:
                ring.withdraw(frame)
                follow.misses += 1
                continue
            variance = np.maximum(np.einsum("jaa->j", covariance_m2) / 3, _MEASURED_STD_M**2)
            follow.motion = follow.motion.predict(begun.now_ns).update(joints_m, variance)
            follow.joints_m, follow.misses = joints_m, 0
            follow.half_width_m += 0.2 * (hand_box(joints_m)[1] - follow.half_width_m)
            hands.append(hand)
        hands = self._one_of_each(hands)
        if begun.now_ns == self._begun_ns:  # else stage 1 of the next set is at work for the slots that there are
            self._lose_missed()
        return hands

    def close(self) -> None:
        self.finder.close()
        self.pipeline.close()

    def _find(self, frame_set: FrameSet) -> None:
        """Begin to follow what the finder finds beside the hands that are followed."""
        sides = [side for side in SIDES if side not in [follow.side for follow in self._follows]]
        if not sides:
            return
        now_ns = frame_set.reference_time_ns
        recent = self._asked_ns is not None and 0 <= now_ns - self._asked_ns < _FIND_PERIOD_NS
        if self._follows and recent:
            return
        self._asked_ns = now_ns
        self._lost = [each for each in self._lost if 0 <= now_ns - each[0] < _LOST_FOR_NS]
        followed_m, lost_m = [follow.joints_m for follow in self._follows], [joints_m for _, joints_m in self._lost]
        for found in self.finder.find(frame_set, followed_m, lost_m):
            if found.side in sides and not self._followed(found):
                sides.remove(found.side)
                _, half_width_m = hand_box(found.joints_m)
                start = Motion.start(now_ns, found.joints_m, np.full(JOINTS, 0.01**2))
                slot = self.pipeline.add_hand(MIRROR_X if found.side == "left" else np.eye(3))
                self._follows.append(
                    _Follow(
                        side=found.side,
                        track_id=self._next_id,
                        motion=start,
                        slot=slot,
                        half_width_m=half_width_m,
                        joints_m=found.joints_m,
                    )
                )
                self._next_id += 1

    def _followed(self, found: Found) -> bool:
        middle = found.joints_m.mean(0)
        return any(np.linalg.norm(follow.joints_m.mean(0) - middle) < _SAME_HAND_M for follow in self._follows)

    def _look(self, follow: _Follow, now_ns: int, frame_set: FrameSet) -> HandViews:
        motion = follow.motion.predict(now_ns)
        target_m, _ = hand_box(motion.position_m)
        velocity_m_s = motion.velocity_m_s.mean(0)
        into = self.pipeline.crops.hand(follow.slot)
        return HandViews.look(self.rig, frame_set, target_m, velocity_m_s, follow.half_width_m, follow.mirror, into)

    def _judge(
        self,
        follow: _Follow,
        views: HandViews,
        begun: _Begun,
        index: int,
        joints_m: np.ndarray,
        covariance_m2: np.ndarray,
    ) -> Hand | None:
        """The hand to publish, or None where what the views say is no hand."""
        heard, count = begun.heard, len(views.cameras)
        keypoints_px = heard.keypoints_px[index, :count].astype(np.float64)
        confidence = heard.confidence[index, :count].astype(np.float64)
        if not (np.isfinite(joints_m).all() and np.isfinite(covariance_m2).all() and show_a_hand(confidence)):
            return None
        apart = views.crop_distance(keypoints_px, joints_m) / self.pipeline.engine.shape.crop_px
        span_m = np.linalg.norm(joints_m - joints_m.mean(0), axis=1).max()
        if np.median(apart) > _DISAGREEMENT or not _SPAN_M[0] / 2 < span_m < _SPAN_M[1]:
            return None
        if bone_lengths(joints_m).max() > _SPAN_M[1] / 2:
            return None
        std_m = np.sqrt(np.einsum("jaa->j", covariance_m2))
        errors = errors_px(views, keypoints_px, confidence, joints_m)
        agree = apart < 2 * np.median(apart) + 0.02
        return Hand(
            side=follow.side,
            track_id=follow.track_id,
            capture_time_ns=begun.now_ns,
            joints_world_m=joints_m,
            covariance_m2=covariance_m2,
            confidence=agree.mean(0) / (1 + (std_m / _CERTAIN_STD_M) ** 2),
            detections_px={camera.camera_id: errors.keypoints_px[v] for v, camera in enumerate(views.cameras)},
            inliers={camera.camera_id: agree[v] for v, camera in enumerate(views.cameras)},
            reprojection_px=errors.reprojection_px[np.isfinite(errors.reprojection_px)],
            leave_one_out_px=errors.leave_one_out_px[np.isfinite(errors.leave_one_out_px)],
        )

    def _one_of_each(self, hands: list[Hand]) -> list[Hand]:
        """Two tracks in one place are one hand: the more confident one stays."""
        if len(hands) == 2:
            apart = np.linalg.norm(hands[0].joints_world_m - hands[1].joints_world_m, axis=1).mean()
            if apart < _SAME_HAND_M:
                weak = min(hands, key=lambda hand: float(hand.confidence.mean()))
                next(each for each in self._follows if each.track_id == weak.track_id).misses = _MISSES_TO_LOSE
                hands.remove(weak)
        return hands

    def _miss(self, follows: list[_Follow]) -> None:
        for follow in follows:
            follow.misses += 1
            self.pipeline.ring(follow.slot).miss()
        self._lose_missed()

    def _lose_missed(self) -> None:
        for follow in [each for each in self._follows if each.misses >= _MISSES_TO_LOSE]:
            self._follows.remove(follow)
            self._lost = [*self._lost[-1:], (self._begun_ns or 0, follow.joints_m)]
            self.pipeline.remove_hand(follow.slot)


def _since(start_s: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - start_s) * 1e3
