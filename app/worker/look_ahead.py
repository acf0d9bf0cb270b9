"""`--predict`: where hands will be some milliseconds after their images, and how sure that is.

The built-in hand is fitted to the joints, which takes noise away that they do not share. How it goes on is said by the
network of models/forecast, from the last fifth of a second. Where that is not known, or the forecast is farther than
the network's, each joint's Kalman filter says it, whose velocity is an Ornstein-Uhlenbeck process: driven by white
acceleration, it fades, as hands stop and turn (G. Uhlenbeck and L. Ornstein, "On the theory of the Brownian motion",
Phys. Rev. 36, 1930). `usthand bench predict` compares them.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.estimators.estimator import Hand, UnseenHand
from app.transport.messages import AheadPose
from calibration.hand import Definition, Side
from models.forecast.hand_forecast import HISTORY, HORIZONS_MS, STEP_S, Forecast, PoseHistory, forecast
from models.hand import definition as joint_definition
from models.hand.fit import PoseFit
from models.hand.fitter import HandFitter

log = logging.getLogger(__name__)

_REACH_S = (HISTORY - 1) * STEP_S - 1e-3
"""How far the network's history goes back, but for a clock's jitter."""


@dataclass(frozen=True, kw_only=True)
class LookAheadSettings:
    """How hands move, as the forecast takes it: the best of those that `usthand bench predict` compares."""

    fade_s: float = 0.12
    """Of a velocity, to the e-th part: half of a quick move of a finger."""
    acceleration_psd: float = 0.3
    """m2/s3, of the joints' white acceleration."""
    fits: bool = True
    """Whether the built-in hand is fitted first."""
    learnt: bool = True
    """Whether the network is asked."""
    longest_gap_s: float = 0.1
    """Between two poses of which the network's history is made: interpolated in a longer one, it is no motion."""
    fitted_share: float = 0.6
    """Of a measured joint's standard deviation, what is left of it in the fitted hand."""
    least_sd_m: float = 0.001
    """The least error that a joint is believed to have."""
    farthest_m: float = 0.25
    """A hand that is found so far from where it was expected begins anew."""


@dataclass(kw_only=True)
class FadingMotion:
    """Each joint's position (21, 3) and velocity at a time; `variance` (21, 2, 2) of the two, alike in all axes."""

    time_ns: int
    position_m: np.ndarray
    velocity_m_s: np.ndarray
    variance: np.ndarray
    settings: LookAheadSettings

    @classmethod
    def start(
        cls, time_ns: int, joints_m: np.ndarray, variance_m2: np.ndarray, settings: LookAheadSettings
    ) -> "FadingMotion":
        variance = np.zeros((len(joints_m), 2, 2))
        variance[:, 0, 0] = variance_m2
        variance[:, 1, 1] = settings.acceleration_psd * settings.fade_s / 2  # as of one that was long so
        velocity = np.zeros_like(joints_m)
        return cls(time_ns=time_ns, position_m=joints_m, velocity_m_s=velocity, variance=variance, settings=settings)

    def at(self, time_ns: int) -> "FadingMotion":
        """The state at a later time."""
        tau, psd = self.settings.fade_s, self.settings.acceleration_psd
        dt = max(time_ns - self.time_ns, 0) * 1e-9
        left = np.exp(-dt / tau)
        way_s = tau * (1 - left)
        F = np.array([[1.0, way_s], [0.0, left]])
        position = psd * tau**2 * (dt - 2 * way_s + tau / 2 * (1 - left**2))
        mixed, velocity = psd * way_s**2 / 2, psd * tau / 2 * (1 - left**2)
        return FadingMotion(
            time_ns=time_ns,
            position_m=self.position_m + way_s * self.velocity_m_s,
            velocity_m_s=left * self.velocity_m_s,
            variance=F @ self.variance @ F.T + np.array([[position, mixed], [mixed, velocity]]),
            settings=self.settings,
        )

    def seen(self, joints_m: np.ndarray, variance_m2: np.ndarray) -> "FadingMotion":
        """The state after joints (21, 3) were measured with variances (21,)."""
        gain = self.variance[:, :, 0] / (self.variance[:, 0, 0] + variance_m2)[:, None]
        surprise = joints_m - self.position_m
        return FadingMotion(
            time_ns=self.time_ns,
            position_m=self.position_m + gain[:, :1] * surprise,
            velocity_m_s=self.velocity_m_s + gain[:, 1:] * surprise,
            variance=self.variance - gain[:, :, None] * self.variance[:, :1, :],
            settings=self.settings,
        )


@dataclass(kw_only=True)
class _Followed:
    side: Side
    seen_time_ns: int
    motion: FadingMotion
    fitter: HandFitter
    covariance_m2: np.ndarray
    """(21, 3, 3) of the joints as seen last."""
    poses: deque[tuple[int, PoseFit]]
    """Times and fits of the last poses, newest last."""


class LookAhead:
    """Forecasts the hands of each set, in order of time."""

    def __init__(self, ahead_ms: float, settings: LookAheadSettings = LookAheadSettings()) -> None:
        self._ahead_ns, self._settings = round(ahead_ms * 1e6), settings
        self._followed: dict[int, _Followed] = {}

    def of(
        self, hands: Sequence[Hand], unseen: Sequence[UnseenHand], now_ns: int, definition: Definition
    ) -> list[AheadPose]:
        """All hands of a set at `now_ns` as they will be later, their joints where the `definition` puts them."""
        followed = {hand.track_id: self._see(hand, definition) for hand in hands}
        for hand in unseen:
            known = self._followed.get(hand.track_id)
            if known is not None and known.side == hand.side:
                followed[hand.track_id] = known
        self._followed = followed
        return [self._forecast(track_id, known, now_ns, definition) for track_id, known in followed.items()]

    def _see(self, hand: Hand, definition: Definition) -> _Followed:
        settings, known = self._settings, self._followed.get(hand.track_id)
        if known is not None and known.side != hand.side:
            known = None
        poses = known.poses if known else deque[tuple[int, PoseFit]]()
        fitter = known.fitter if known else HandFitter(hand.side, hand.bones, definition)
        variance_m2 = np.trace(hand.covariance_m2, axis1=1, axis2=2) / 3
        fit = fitter.fit(hand.joints_world_m, hand.covariance_m2) if settings.fits else None
        if fit is None:
            joints_m = fitter.anatomical(hand.joints_world_m)
        else:
            joints_m, variance_m2 = fit.joints_world_m, settings.fitted_share**2 * variance_m2
        variance_m2 = np.maximum(variance_m2, settings.least_sd_m**2)
        motion = known.motion.at(hand.capture_time_ns) if known else None
        if motion is None or np.linalg.norm((motion.position_m - joints_m).mean(0)) > settings.farthest_m:
            motion = FadingMotion.start(hand.capture_time_ns, joints_m, variance_m2, settings)
            poses.clear()
        else:
            motion = motion.seen(joints_m, variance_m2)
        if fit is not None:
            _remember(poses, hand.capture_time_ns, fit)
        return _Followed(
            side=hand.side,
            seen_time_ns=hand.capture_time_ns,
            motion=motion,
            fitter=fitter,
            covariance_m2=hand.covariance_m2,
            poses=poses,
        )

    def _forecast(self, track_id: int, known: _Followed, now_ns: int, definition: Definition) -> AheadPose:
        time_ns = now_ns + self._ahead_ns
        motion = known.motion.at(time_ns)
        joints_m = motion.position_m
        more_m2 = np.maximum(motion.variance - known.motion.variance, 0)[:, 0, 0]
        ahead_ms = (time_ns - known.seen_time_ns) / 1e6
        history = pose_history(known.poses, self._settings.longest_gap_s) if self._settings.learnt else None
        if history is not None and known.poses[-1][0] == known.seen_time_ns and ahead_ms <= HORIZONS_MS[-1]:
            way_m, std_m = _at(forecast(history, known.side), ahead_ms)
            joints_m, more_m2 = history.joints_world_m[0] + way_m, std_m**2
        return AheadPose(
            hand=known.side,
            track_id=track_id,
            time_ns=time_ns,
            seen_time_ns=known.seen_time_ns,
            joints_world_m=joint_definition.convert(joints_m, "anatomical", definition, known.side == "right").tolist(),
            # Whatever the filter or the fit take away from it, a forecast is not surer than what it is made of.
            covariance_m2=(known.covariance_m2 + more_m2[:, None, None] * np.eye(3)).tolist(),
        )


def pose_history(poses: Sequence[tuple[int, PoseFit]], longest_gap_s: float) -> PoseHistory | None:
    """The network's steps back from the newest pose, linearly interpolated; None where they are not known."""
    if not poses:
        return None
    times_ns = np.array([time_ns - poses[-1][0] for time_ns, _ in poses])
    times_s = times_ns / 1e9
    if times_s[0] > -_REACH_S or np.diff(times_ns).max() / 1e9 > longest_gap_s:
        return None
    steps_s = -STEP_S * np.arange(HISTORY)
    after = np.clip(np.searchsorted(times_s, steps_s), 1, len(times_s) - 1)
    share = np.clip((steps_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1]), 0, 1)

    def at(values: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - part) * values[after - 1] + part * values[after]

    joints = np.array([fit.joints_world_m for _, fit in poses])
    hinges = np.array([fit.angles_rad for _, fit in poses])
    return PoseHistory(at(joints), at(hinges), poses[-1][1].T_world_hand)


def _remember(poses: deque[tuple[int, PoseFit]], time_ns: int, fit: PoseFit) -> None:
    """So many as the network's history takes."""
    poses.append((time_ns, fit))
    while len(poses) > 1 and time_ns - poses[1][0] >= _REACH_S * 1e9:
        poses.popleft()


def _at(said: Forecast, ahead_ms: float) -> tuple[np.ndarray, np.ndarray]:
    """Way (21, 3) and deviation (21,) at a time between the forecast's."""
    known_ms = (0.0, *HORIZONS_MS)
    after = int(np.clip(np.searchsorted(known_ms, ahead_ms), 1, len(HORIZONS_MS)))
    share = (ahead_ms - known_ms[after - 1]) / (known_ms[after] - known_ms[after - 1])
    way_m, std_m = (np.concatenate([np.zeros_like(each[:1]), each]) for each in said)
    return (
        (1 - share) * way_m[after - 1] + share * way_m[after],
        (1 - share) * std_m[after - 1] + share * std_m[after],
    )
