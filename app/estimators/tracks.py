"""Hands over time: motion, which hand it is, and the lengths of its bones."""

from dataclasses import dataclass, field

import numpy as np

from calibration.hand import BONES
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain

LINKS = np.vstack([BONES, [[5, 9], [9, 13], [13, 17], [5, 17], [1, 5]]])
"""The bones and the distances across the palm, which hardly change either."""

_TYPICAL_JOINTS_M = chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m
_TYPICAL_M = np.linalg.norm(_TYPICAL_JOINTS_M[LINKS[:, 1]] - _TYPICAL_JOINTS_M[LINKS[:, 0]], axis=1)
"""The mean adult's hand stands in until the person's own lengths are known."""
_TYPICAL_SPREAD = 0.25
_ACCELERATION_PSD = 0.5
_START_SPEED_STD = 0.5
_EVIDENCE_PER_VIEW = 0.5
_EVIDENCE_LIMIT = 12.0
_LEAST_ODDS = float(np.exp(-3.0))
_KEEP_S = 0.6
_LENGTHS_KEPT = 200
_LENGTHS_NEEDED = 5
_LENGTH_STD_M = 0.002
_LENGTH_SPREAD_SHARE = 0.35


@dataclass
class Motion:
    """Each joint's position and velocity: a constant-velocity Kalman filter with white acceleration noise.

    One variance serves the three axes of a joint: `variance` (21, 2, 2) of position and velocity. Source of the noise
    model: Y. Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 6.2.2.
    """

    time_ns: int
    position_m: np.ndarray
    velocity_m_s: np.ndarray
    variance: np.ndarray

    @classmethod
    def start(cls, time_ns: int, joints_m: np.ndarray, variance_m2: np.ndarray) -> "Motion":
        variance = np.zeros((len(joints_m), 2, 2))
        variance[:, 0, 0] = variance_m2
        variance[:, 1, 1] = _START_SPEED_STD**2
        return cls(time_ns, joints_m, np.zeros_like(joints_m), variance)

    def predict(self, time_ns: int) -> "Motion":
        """The state at a later time."""
        dt = max((time_ns - self.time_ns) * 1e-9, 1e-4)
        noise = _ACCELERATION_PSD * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        # F V F' with F = [[1, dt], [0, 1]], written out.
        variance = self.variance + noise
        across, speed = dt * self.variance[:, 0, 1], dt * self.variance[:, 1, 1]
        variance[:, 0, 0] += 2 * across + dt * speed
        variance[:, 0, 1] += speed
        variance[:, 1, 0] += speed
        return Motion(time_ns, self.position_m + dt * self.velocity_m_s, self.velocity_m_s, variance)

    def velocity_gain(self, variance_m2: float) -> np.ndarray:
        """Velocity (m/s) that a metre of surprise in each joint's position adds (21,), measured with `variance_m2`."""
        return self.variance[:, 0, 1] / (self.variance[:, 0, 0] + variance_m2)

    def update(self, joints_m: np.ndarray, variance_m2: np.ndarray) -> "Motion":
        """The state after joints (21, 3) were measured with `variance_m2` (21,)."""
        gain = self.variance[:, :, 0] / (self.variance[:, 0, 0] + variance_m2)[:, None]
        surprise = joints_m - self.position_m
        variance = self.variance - gain[:, :, None] * self.variance[:, :1, :]
        return Motion(
            self.time_ns,
            self.position_m + gain[:, :1] * surprise,
            self.velocity_m_s + gain[:, 1:] * surprise,
            variance,
        )


@dataclass
class BoneLengthPrior:
    """Running median of the lengths of LINKS, as measured without a prior."""

    _samples: np.ndarray = field(default_factory=lambda: np.empty((len(LINKS), _LENGTHS_KEPT)))
    _count: int = 0

    def add(self, joints_m: np.ndarray) -> None:
        lengths = np.linalg.norm(joints_m[LINKS[:, 1]] - joints_m[LINKS[:, 0]], axis=1)
        self._samples[:, self._count % _LENGTHS_KEPT] = lengths
        self._count += 1

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and their stds in metres (L,)."""
        count = min(self._count, _LENGTHS_KEPT)
        if count < _LENGTHS_NEEDED:
            return _TYPICAL_M, _TYPICAL_SPREAD * _TYPICAL_M
        samples, middle = self._samples[:, :count], count // 2
        median = np.partition(samples, middle)[:, middle]
        spread = 1.4826 * np.partition(np.abs(samples - median[:, None]), middle)[:, middle]
        return median, np.sqrt(_LENGTH_STD_M**2 + (_LENGTH_SPREAD_SHARE * spread) ** 2 + spread**2 / count)


@dataclass(kw_only=True)
class Track:
    """A hand that is followed. `right_log_odds` is the evidence that it is a right hand; `misses` sets without it."""

    track_id: int
    motion: Motion
    right_log_odds: float = 0.0
    seen_time_ns: int = 0
    sets: int = 0
    sure: bool = False
    misses: int = 0

    def listen(self, right: np.ndarray) -> None:
        """Add the detector's probabilities (n,) that it is a right hand, one for each view."""
        # A view says 3 at the most, which is a probability of 0.95.
        share = np.maximum(right, 1e-3) / np.maximum(1 - right, 1e-3)
        odds = np.log(np.minimum(np.maximum(share, _LEAST_ODDS), 1 / _LEAST_ODDS))
        total = self.right_log_odds + _EVIDENCE_PER_VIEW * float(odds.sum())
        self.right_log_odds = min(max(total, -_EVIDENCE_LIMIT), _EVIDENCE_LIMIT)

    def alive(self, time_ns: int) -> bool:
        return (time_ns - self.seen_time_ns) * 1e-9 < _KEEP_S


def decide_sides(tracks: list[Track]) -> list[bool]:
    """Whether each track (at most two) is a right hand: two hands are one right and one left."""
    if len(tracks) == 2:
        first = tracks[0].right_log_odds >= tracks[1].right_log_odds
        return [first, not first]
    return [track.right_log_odds >= 0 for track in tracks]
