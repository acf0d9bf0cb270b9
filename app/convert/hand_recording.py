"""Recorded hands on one time axis, as every file format takes them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.hand import JOINTS, Definition, Side

NANO = 9
"""Decimals of a time in seconds: how far a difference of two is to be trusted, before it is compared."""
Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""(3, 3): from the rig's world, z up, to the axes of BVH, glTF and OpenSim, y up: (x, y, z) becomes (x, z, -y)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedHand:
    """The built-in hand fitted to one hand in F frames; NaN in gaps."""

    shape: np.ndarray
    """(21,): bone lengths in metres, in the order of calibration.hand.BONES, and the thickness."""
    hinges_rad: np.ndarray
    """(F, 21), as of models.hand.skeleton."""
    T_world_hand: np.ndarray
    """(F, 4, 4)"""
    joints_world_m: np.ndarray
    """(F, 21, 3) of the posed hand."""
    angles_rad: np.ndarray
    """(F, 22), in the order of models.hand.joint_angles."""
    angles_std_rad: np.ndarray
    """(F, 22)"""


ARM_POINTS = ("elbow", "shoulder")


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedArm:
    """The arm of one hand in F frames; NaN where it is not known."""

    side: Side
    """By the body, as most frames say."""
    points_world_m: np.ndarray
    """(F, 2, 3), in the order of ARM_POINTS."""
    covariance_m2: np.ndarray
    """(F, 2, 3, 3)"""
    wrist_rad: np.ndarray
    """(F, 2), in the order of models.hand.wrist_angles.WRIST_ANGLE_NAMES; not known before the hand is fitted."""
    wrist_std_rad: np.ndarray
    """(F, 2)"""


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedHand:
    """One hand, followed under one number, in F frames."""

    side: Side
    track_id: int
    joints_world_m: np.ndarray
    """(F, 21, 3), NaN in frames without this hand: gaps."""
    covariance_m2: np.ndarray
    """(F, 21, 3, 3), NaN in gaps."""
    confidence: np.ndarray
    """(F, 21) in [0, 1]; 0 in gaps and where joints are interpolated."""
    filled: np.ndarray
    """(F,) bool: interpolated."""
    fitted: FittedHand | None = None
    arm: RecordedArm | None = None

    @property
    def name(self) -> str:
        """Such as "right_1"."""
        return f"{self.side}_{self.track_id}"

    @cached_property
    def valid(self) -> np.ndarray:
        """(F,) bool: the hand is there, measured or interpolated."""
        return np.asarray(np.isfinite(self.joints_world_m).all(axis=(1, 2)))

    @cached_property
    def posed(self) -> np.ndarray:
        """(F,) bool: the hand is there, and the built-in hand fits its joints, so that a skeleton has a pose."""
        return self.valid & np.isfinite(self.fit.hinges_rad).all(axis=1)

    @property
    def span(self) -> tuple[int, int]:
        """First frame, and one past the last, in which the hand is there."""
        there = np.flatnonzero(self.valid)
        return int(there[0]), int(there[-1]) + 1

    def gaps(self) -> list[tuple[int, int]]:
        """First frame, and one past the last, of each gap between frames in which the hand is there."""
        return gaps_in(self.valid)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """What `points_world_m` has besides the joints."""
        return ARM_POINTS if self.arm is not None else ()

    @property
    def points_world_m(self) -> np.ndarray:
        """(F, 21, 3) joints; (F, 23, 3) with elbow and shoulder, of a hand with an arm."""
        if self.arm is None:
            return self.joints_world_m
        return np.concatenate([self.joints_world_m, self.arm.points_world_m], axis=1)

    def arm_at(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """What is known of the arm in a frame, from the elbow on: (n, 3) and covariances (n, 3, 3); n is 0, 1 or 2."""
        if self.arm is None:
            return np.zeros((0, 3)), np.zeros((0, 3, 3))
        known = np.isfinite(self.arm.points_world_m[frame]).all(axis=1)
        count = int(np.cumprod(known).sum())
        return self.arm.points_world_m[frame, :count], self.arm.covariance_m2[frame, :count]

    @property
    def points_covariance_m2(self) -> np.ndarray:
        """(F, 21 or 23, 3, 3)"""
        if self.arm is None:
            return self.covariance_m2
        return np.concatenate([self.covariance_m2, self.arm.covariance_m2], axis=1)

    @property
    def fit(self) -> FittedHand:
        assert self.fitted is not None, "convert fits every hand before it writes"
        return self.fitted


def gaps_in(there: np.ndarray) -> list[tuple[int, int]]:
    """First frame, and one past the last, of each gap between frames in which something is there (F,)."""
    frames = np.flatnonzero(there)
    after = np.flatnonzero(np.diff(frames) > 1)
    return [(int(frames[i]) + 1, int(frames[i + 1])) for i in after]


def held(there: np.ndarray) -> np.ndarray:
    """(F,): the frame whose pose each frame shows: its own where it is there (F,), else the last before, else the first
    that is."""
    frames = np.where(there, np.arange(len(there)), -1)
    frames = np.maximum.accumulate(frames)
    return np.where(frames < 0, np.argmax(there), frames)


def arm_bones(count: int) -> list[tuple[int, int]]:
    """The bones of so many points of an arm, which follow a hand's joints: from the wrist on to elbow and shoulder."""
    return [(JOINTS + number - 1 if number else 0, JOINTS + number) for number in range(count)]


@dataclass(frozen=True, kw_only=True, eq=False)
class HandRecording:
    """All hands of a pose file, in F frames of one rate."""

    times_ns: np.ndarray
    """(F,) int64 of the recording's clock: as measured, or where the frame would be in frames without any hand."""
    rate_hz: float
    definition: Definition
    """Where on the hand the joints lie; those of the fitted hand are anatomical."""
    hands: tuple[RecordedHand, ...]
    fill_ms: float = 0.0
    smoothed: bool = False
    up_in_rig: str = "z"
    """The axis of the rig's world that is z here, as `--up` says."""

    @property
    def axes(self) -> str:
        if self.up_in_rig == "z":
            return "right-handed world axes of the rig, z up where its origin board lay flat"
        return f"right-handed, z up: the world axes of the rig, of which {self.up_in_rig} points up, turned"

    @property
    def frames(self) -> int:
        return len(self.times_ns)

    @property
    def times_s(self) -> np.ndarray:
        """(F,) from the first frame on."""
        return (self.times_ns - self.times_ns[0]) / 1e9

    @property
    def frame_times_s(self) -> np.ndarray:
        """(F,) from the first frame on, evenly spaced at `rate_hz`, for formats that have a rate and no times."""
        return np.arange(self.frames) / self.rate_hz

    def notes(self) -> dict[str, str | float | int | bool]:
        """What each format that has a place for notes writes of the recording."""
        return {
            "program": "usthand convert",
            "rate_hz": self.rate_hz,
            "first_time_ns": int(self.times_ns[0]),
            "axes": self.axes,
            "up_in_rig": self.up_in_rig,
            "definition": self.definition,
            "filled_gaps_up_to_ms": self.fill_ms,
            "smoothed": self.smoothed,
            "angles": "ISB (Wu et al. 2005): flexion to the palm, abduction to the little finger's side, rotation "
            "as in pronation; both hands alike; zero is the flat hand with closed fingers",
        }
