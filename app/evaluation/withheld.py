"""The withheld view: a method's hands, found without one camera, against what a detector sees in that camera alone.

Agreement of a method's own keypoints over views is no truth: views that err alike agree. Here nothing of the image that
judges has entered the result, and every hand that the detector sees there counts, given or missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from app.estimators.estimator import Hand
from calibration.hand import JOINTS, Definition, hand_size_px
from calibration.rig import RigCamera
from calibration.solve.corner_tracks import read_track
from models.hand.definition import convert


@dataclass(frozen=True, kw_only=True)
class WithheldSettings:
    """What counts as a hand that was seen, and as the same hand.

    `least_presence`: a detection that is less sure is none; MediaPipe's own default.
    `farthest_of_size`: a given hand whose joints are farther off than this share of the seen hand's size, in the
    median, is another hand or none. Sizes are twice the root mean square spread of the keypoints.
    `longest_gap_s`: between sets farther apart than this a hand's motion is not known; it is taken as it is.
    """

    least_presence: float = 0.5
    farthest_of_size: float = 1.0
    longest_gap_s: float = 0.45


class GivenHand(NamedTuple):
    """A hand as a method gave it: joints (21, 3) in world metres at a time, where a detector of 2D keypoints puts them.
    `track` stays while it is followed."""

    track: int
    time_ns: int
    joints_m: np.ndarray

    @classmethod
    def of(cls, hand: Hand, definition: Definition) -> "GivenHand":
        """With the joints moved to where the detector's keypoints lie, from the method's definition of them."""
        joints_m = convert(hand.joints_world_m, definition, "detector", hand.side == "right")
        return cls(hand.track_id, hand.capture_time_ns, joints_m)


@dataclass(frozen=True)
class WithheldErrors:
    """Of H hands that the detector saw: distances (H, 21) in pixels, NaN for a hand that the method did not give, and
    the sizes (H,) of the hands in the image."""

    px: np.ndarray
    size_px: np.ndarray

    @property
    def given(self) -> np.ndarray:
        return np.all(np.isfinite(self.px), axis=1)

    @classmethod
    def join(cls, parts: "Sequence[WithheldErrors]") -> "WithheldErrors":
        px, size_px = [each.px for each in parts], [each.size_px for each in parts]
        return cls(np.concatenate([np.zeros((0, JOINTS)), *px]), np.concatenate([np.zeros(0), *size_px]))


def withheld_errors(
    camera: RigCamera,
    times_ns: Sequence[int | None],
    seen_px: Sequence[np.ndarray],
    given: Sequence[Sequence[GivenHand]],
    settings: WithheldSettings,
) -> WithheldErrors:
    """Compare, set by set, the hands seen in a camera with those that a method gave without it.

    `times_ns`: when the camera took each set's frame, None where it has none; `seen_px`: the hands (n, 21, 2) that the
    detector sees in it, distorted pixels; `given`: the method's hands of each set.
    """
    at_time_m = joints_at(given, times_ns, settings.longest_gap_s)
    parts = []
    for time_ns, keypoints_px, joints_m in zip(times_ns, seen_px, at_time_m, strict=True):
        if time_ns is not None and len(keypoints_px):
            parts.append(_matched(keypoints_px, camera.project(joints_m), settings.farthest_of_size))
    return WithheldErrors.join(parts)


def _matched(seen_px: np.ndarray, projected_px: np.ndarray, farthest_of_size: float) -> WithheldErrors:
    """Seen hands (n, 21, 2) with given ones (m, 21, 2), one to one, so that the distances are the least in sum."""
    size_px = hand_size_px(seen_px)
    apart_px = np.linalg.norm(seen_px[:, None] - projected_px[None], axis=-1)
    # Joints behind the camera are infinitely far.
    apart_px = np.nan_to_num(apart_px, nan=np.inf)
    share = np.median(apart_px, axis=-1) / size_px[:, None]
    cost = np.minimum(share, 2 * farthest_of_size)
    px = np.full(seen_px.shape[:2], np.nan)
    for row, column in zip(*linear_sum_assignment(cost), strict=True):
        if share[row, column] <= farthest_of_size and np.isfinite(apart_px[row, column]).all():
            px[row] = apart_px[row, column]
    return WithheldErrors(px, size_px)


def joints_at(
    given: Sequence[Sequence[GivenHand]], times_ns: Sequence[int | None], longest_gap_s: float
) -> list[np.ndarray]:
    """The hands (m, 21, 3) of each set at another time than the set's own, along their own motion through the sets.

    A hand is where it was given where the sets before and after do not have it, or the time is None.
    """
    moved = [[hand.joints_m for hand in hands] for hands in given]
    places: dict[int, list[tuple[int, int]]] = {}
    for number, hands in enumerate(given):
        for index, hand in enumerate(hands):
            if times_ns[number] is not None:
                places.setdefault(hand.track, []).append((number, index))
    start_ns = min((hand.time_ns for hands in given for hand in hands), default=0)
    for of_track in places.values():
        hands = [given[number][index] for number, index in of_track]
        own_s = np.array([hand.time_ns - start_ns for hand in hands]) * 1e-9
        wanted_s = np.array([(times_ns[number] or 0) - start_ns for number, _ in of_track]) * 1e-9
        order = np.argsort(own_s, kind="stable")
        period_s = float(np.median(np.diff(own_s[order]))) if len(own_s) > 1 else longest_gap_s
        track_m = np.stack([hands[index].joints_m for index in order])
        at_m = read_track(own_s[order], track_m, wanted_s, period_s, min(longest_gap_s, 2.5 * period_s))[0]
        for (number, index), joints_m in zip(of_track, at_m, strict=True):
            if np.isfinite(joints_m).all():
                moved[number][index] = joints_m
    return [np.stack(hands) if hands else np.zeros((0, JOINTS, 3)) for hands in moved]


def withheld_figures(errors: WithheldErrors) -> dict[str, float | int | list[float | None] | None]:
    """What is reported: medians over all joints of the hands that were given, and the share of hands missed.

    `withheld_hand_px_median` is the median over hands of the mean over their joints.
    """
    given, hands = errors.given, len(errors.px)
    px, percent = errors.px[given], 100 * errors.px[given] / errors.size_px[given, None]
    return {
        "withheld_hands": hands,
        "withheld_missed": float(1 - given.mean()) if hands else None,
        "withheld_px_median": _median(px),
        "withheld_percent_median": _median(percent),
        "withheld_px_median_without_wrist_thumb_base": _median(px[:, 2:]),
        "withheld_percent_median_without_wrist_thumb_base": _median(percent[:, 2:]),
        "withheld_hand_px_median": _median(px.mean(1)),
        "withheld_px_median_by_joint": [_median(each) for each in px.T],
        "withheld_percent_median_by_joint": [_median(each) for each in percent.T],
    }


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None
