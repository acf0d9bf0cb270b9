"""What an estimator does: frame sets in, hands out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from calibration.frames import FrameSet
from calibration.hand import Definition, Side
from models.hand.bone_lengths import BoneLengths


@dataclass(kw_only=True)
class Hand:
    """One hand in the world at `capture_time_ns`.

    `joints_world_m` (21, 3), `covariance_m2` (21, 3, 3), `confidence` (21,) in [0, 1]; `detections_px` maps each camera
    whose detection was matched to this hand to its keypoints (21, 2), distorted pixels; `inliers` maps the same
    cameras to a mask (21,) of the joints that the robust triangulation kept. `leave_one_out_px` (n,) holds, for each
    joint and camera that saw it, the distance in that camera between its detection and the joint triangulated without
    it; `reprojection_px` (n,) the distances to the joint as published. `right_log_odds` is the evidence,
    over time, that it is a right hand; `bones` is what is learnt of its bones.
    """

    side: Side
    track_id: int
    capture_time_ns: int
    joints_world_m: np.ndarray
    covariance_m2: np.ndarray
    confidence: np.ndarray
    detections_px: dict[str, np.ndarray]
    inliers: dict[str, np.ndarray]
    reprojection_px: np.ndarray = field(default_factory=lambda: np.empty(0))
    leave_one_out_px: np.ndarray = field(default_factory=lambda: np.empty(0))
    right_log_odds: float = 0.0
    bones: BoneLengths | None = None


@dataclass(frozen=True, kw_only=True)
class UnseenHand:
    """A hand that is followed and was not measured in a set: its joints (21, 3) where its motion says, with what may be
    wrong of that (21, 3, 3). It is `held` where the views looked and did not find it, `predicted` where nobody looked.
    """

    side: Side
    track_id: int
    state: Literal["held", "predicted"]
    seen_time_ns: int
    joints_world_m: np.ndarray
    covariance_m2: np.ndarray


@dataclass(kw_only=True)
class Estimate:
    """The hands of one frame set. `detections` counts the hands found in images, `detections_used` those matched;
    `views_with_hand` the views in which a hand of one side was found, of that side of which more did.

    `looked`: there were two views or more to look at. Else that no hand was seen says nothing. `notes` are what the
    user should know of cameras.
    """

    hands: list[Hand]
    looked: bool = True
    unseen: list[UnseenHand] = field(default_factory=list)
    notes: Mapping[str, str] = field(default_factory=dict)
    detections: int = 0
    detections_used: int = 0
    views_with_hand: int = 0
    stage_ms: Mapping[str, float] = field(default_factory=dict)


class Estimator(Protocol):
    """Built with a rig; called from one thread, or two as of `begin`, with frame sets in order of time.

    `definition` says where on the hand the joints lie that it gives.
    """

    name: str
    definition: Definition

    def estimate(self, frame_set: FrameSet) -> Estimate:
        """The hands at `frame_set.reference_time_ns`, from any two or more of its views."""
        ...

    def begin(self, frame_set: FrameSet) -> Callable[[], Estimate]:
        """`estimate` in two parts, of which another thread may do the second while the next set begins: in order."""
        ...

    def close(self) -> None: ...
