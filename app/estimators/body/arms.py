"""The arm of each hand that is followed: shoulder and elbow in the world, carried from look to look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from app.estimators.body.arm_matching import ArmView, match_arms
from app.estimators.body.body_views import BodiesSeen
from app.estimators.body.point_motion import PointMotion
from app.estimators.body.segments import ArmLengths
from app.estimators.body.settings import BODY, BodySettings
from calibration.hand import Side
from calibration.rig import Rig
from calibration.triangulation import Observations, Triangulation, triangulate

SHOULDER, ELBOW = 0, 1
_POINTS = 2


class FollowedHand(Protocol):
    """What is asked of a hand: its side, its number, and its joints (21, 3), of which the wrist is the first."""

    @property
    def side(self) -> Side: ...

    @property
    def track_id(self) -> int: ...

    @property
    def joints_world_m(self) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """The arm of a hand at the time that was asked for.

    `side` is the arm's, by the body, with its probability of being the right one; `elbow_world_m` (3,) and its
    covariance (3, 3); the same of the shoulder where it is known. `seen_time_ns` is when it was measured last, in the
    views `views`.
    """

    side: Side
    right_probability: float
    seen_time_ns: int
    views: tuple[str, ...]
    elbow_world_m: np.ndarray
    elbow_covariance_m2: np.ndarray
    shoulder_world_m: np.ndarray | None = None
    shoulder_covariance_m2: np.ndarray | None = None


@dataclass(eq=False, kw_only=True)
class _FollowedArm:
    """Motions of shoulder and elbow, None where they were not seen yet."""

    lengths: ArmLengths
    points: list[PointMotion | None] = field(default_factory=lambda: [None] * _POINTS)
    seen_ns: list[int] = field(default_factory=lambda: [0] * _POINTS)
    right_log_odds: float = 0.0
    views: tuple[str, ...] = ()


class Arms:
    """Fed with the people of each look, and the hands at that time; says each hand's arm at any time after.

    Of `one_person`, a hand that comes back soon has the arm whose lengths were learnt.
    """

    def __init__(self, rig: Rig, one_person: bool, settings: BodySettings = BODY) -> None:
        self._cameras = {camera.camera_id: camera for camera in rig.cameras}
        self.settings, self._one_person = settings, one_person
        self._arms: dict[int, _FollowedArm] = {}
        self._known: dict[Side, ArmLengths] = {}

    def see(self, seen: BodiesSeen, hands: Sequence[FollowedHand]) -> None:
        """The people of a look, and the hands at that look's time."""
        wrists = np.array([hand.joints_world_m[0] for hand in hands]).reshape(-1, 3)
        views = match_arms(self._cameras, seen.bodies, wrists, self.settings)
        for hand, of_hand in zip(hands, views, strict=True):
            if of_hand:
                self._measure(self._followed(hand, seen.time_ns), hand.joints_world_m[0], of_hand, seen.time_ns)
        oldest_ns = seen.time_ns - round(self.settings.forget_s * 1e9)
        self._arms = {track: arm for track, arm in self._arms.items() if max(arm.seen_ns) >= oldest_ns}

    def at(self, track_id: int, time_ns: int) -> Arm | None:
        """The arm of a hand at a time, None where no elbow is known well enough."""
        arm = self._arms.get(track_id)
        if arm is None:
            return None
        shoulder, elbow = (self._point(arm, number, time_ns) for number in range(_POINTS))
        if elbow is None:
            return None
        return Arm(
            side="right" if arm.right_log_odds > 0 else "left",
            right_probability=1 / (1 + math.exp(-arm.right_log_odds)),
            seen_time_ns=arm.seen_ns[ELBOW],
            views=arm.views,
            elbow_world_m=elbow.point_m,
            elbow_covariance_m2=elbow.covariance_m2,
            shoulder_world_m=None if shoulder is None else shoulder.point_m,
            shoulder_covariance_m2=None if shoulder is None else shoulder.covariance_m2,
        )

    def _followed(self, hand: FollowedHand, time_ns: int) -> _FollowedArm:
        if hand.track_id not in self._arms:
            lengths = ArmLengths(self.settings, time_ns)
            if self._one_person:
                lengths = self._known.setdefault(hand.side, lengths)
            self._arms[hand.track_id] = _FollowedArm(lengths=lengths)
        return self._arms[hand.track_id]

    def _point(self, arm: _FollowedArm, number: int, time_ns: int) -> PointMotion | None:
        motion = arm.points[number]
        if motion is None or time_ns - arm.seen_ns[number] > self.settings.forget_s * 1e9:
            return None
        motion = motion.predict(time_ns)
        return motion if motion.sd_m <= self.settings.largest_sd_m else None

    def _measure(self, arm: _FollowedArm, wrist_m: np.ndarray, views: Mapping[str, ArmView], time_ns: int) -> None:
        settings = self.settings
        said = sum(1 if view.side == "right" else -1 for view in views.values())
        limit = settings.evidence_limit
        arm.right_log_odds = min(max(arm.right_log_odds + settings.evidence_per_view * said, -limit), limit)
        measured = self._triangulate(views)
        known = (measured.inliers[0].sum(-1) >= 2) & np.isfinite(measured.points_m[0]).all(-1)
        shoulder_m, elbow_m = measured.points_m[0]
        sds_m = np.sqrt(np.trace(measured.covariance_m2[0], axis1=1, axis2=2) / 3)
        forearm_m, upper_m = float(np.linalg.norm(elbow_m - wrist_m)), float(np.linalg.norm(elbow_m - shoulder_m))
        known[ELBOW] = known[ELBOW] and arm.lengths.fits(forearm_m, sds_m[ELBOW], time_ns)
        if not known[ELBOW]:
            return
        arm.views = tuple(np.array(list(views))[measured.inliers[0, ELBOW]].tolist())
        for number in np.flatnonzero(known).tolist():
            covariance = settings.lasting * measured.covariance_m2[0, number]
            arm.points[number] = self._moved(arm, number, time_ns, measured.points_m[0, number], covariance)
            arm.seen_ns[number] = time_ns
        if sds_m[ELBOW] < settings.learnt_sd_m:
            arm.lengths.forearm.add(forearm_m)
            if known[SHOULDER] and sds_m[SHOULDER] < settings.learnt_sd_m:
                arm.lengths.upper_arm.add(upper_m)
        self._hold_together(arm, wrist_m)

    def _hold_together(self, arm: _FollowedArm, wrist_m: np.ndarray) -> None:
        """What the lengths of forearm and upper arm say of the elbow."""
        shoulder, elbow = arm.points
        assert elbow is not None
        elbow = elbow.at_distance(wrist_m, arm.lengths.forearm.length_m, arm.lengths.forearm.sd_m)
        if shoulder is not None and arm.seen_ns[SHOULDER] == arm.seen_ns[ELBOW]:
            upper_arm = arm.lengths.upper_arm
            sd_m = float(np.hypot(upper_arm.sd_m, shoulder.sd_m))
            elbow = elbow.at_distance(shoulder.point_m, upper_arm.length_m, sd_m)
        arm.points[ELBOW] = elbow

    def _moved(
        self, arm: _FollowedArm, number: int, time_ns: int, point_m: np.ndarray, covariance_m2: np.ndarray
    ) -> PointMotion:
        motion, settings = arm.points[number], self.settings
        if motion is None or time_ns - arm.seen_ns[number] > settings.forget_s * 1e9:
            # What has been seen once is as certain as that.
            alone = covariance_m2 / settings.lasting
            return PointMotion.start(time_ns, point_m, alone, settings.start_speed_sd_m_s, settings.acceleration_psd)
        return motion.predict(time_ns).update(point_m, covariance_m2)

    def _triangulate(self, views: Mapping[str, ArmView]) -> Triangulation:
        """Shoulder and elbow, one group (1, 2, V)."""
        cameras = [self._cameras[camera_id] for camera_id in views]
        T_cam_world = np.stack([camera.T_cam_world for camera in cameras])
        points = np.stack([c.camera.undistort(v.points_px) for c, v in zip(cameras, views.values(), strict=True)], 1)
        error = [
            self.settings.point_error * view.crop_side_px / camera.camera.focal_px
            for camera, view in zip(cameras, views.values(), strict=True)
        ]
        visible = np.stack([view.visibility for view in views.values()], 1) >= self.settings.least_visibility
        P = np.broadcast_to(T_cam_world[:, :3], (1, _POINTS, len(views), 3, 4))
        std = np.broadcast_to(np.array(error), (1, _POINTS, len(views)))
        return triangulate(Observations(P, points[None], std, visible[None]))
