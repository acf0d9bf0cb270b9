"""`--smooth`: a fixed-lag smoother that trusts each joint by its covariance.

H. E. Rauch, F. Tung and C. T. Striebel, "Maximum likelihood estimates of linear dynamic systems", AIAA J. 3(8), 1965,
over a fixed lag: a frame's estimate is of all frames before it and of those within the lag after it, so it lies in
phase. A joint moves on at its velocity, which white acceleration changes (Y. Bar-Shalom, X. R. Li and T. Kirubarajan,
"Estimation with Applications to Tracking and Navigation", 2001, 6.2).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from app.convert.hand_recording import NANO, RecordedHand
from calibration.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SmoothingSettings:
    """How a hand moves, as the smoother takes it."""

    lag_s: float = 0.25
    """How far the smoother looks ahead: beyond, a frame says next to nothing of another."""
    acceleration_density: float = 1.0
    """m^2/s^3, the power of the white acceleration."""
    lasting: float = 2.0
    """A detector's errors last for some frames, so that n frames say as little as n / `lasting` independent ones."""
    speed_std_mps: float = 1.0
    """Of a joint that comes into view."""
    forget_after_s: float = 0.5
    """After a gap this long a hand is a new one."""


SMOOTHING = SmoothingSettings()
_BLOCK = 500


def smooth(hand: RecordedHand, times_s: np.ndarray, settings: SmoothingSettings = SMOOTHING) -> RecordedHand:
    """The hand with its joints and their covariances smoothed, gaps where they were; times (F,) in seconds.

    Frames without covariances stay as they are. Raises UserError where all are.
    """
    joints, covariance = hand.joints_world_m.copy(), hand.covariance_m2.copy()
    sure = (np.diagonal(covariance, axis1=2, axis2=3) > 0).all(axis=(1, 2))
    there = np.flatnonzero(hand.valid & sure & np.isfinite(covariance).all(axis=(1, 2, 3)))
    if not len(there):
        raise UserError(
            f"{hand.name} cannot be smoothed, for how sure its joints are is not known: their `covariance` is not "
            "above 0 in any frame. Leave `--smooth` out."
        )
    begins = np.flatnonzero(np.round(np.diff(times_s[there]), NANO) > settings.forget_after_s) + 1
    for frames in np.split(there, begins):
        if len(frames) > 1:
            noise = settings.lasting * covariance[frames]
            joints[frames], covariance[frames] = _smooth(joints[frames], noise, times_s[frames], settings)
    return replace(hand, joints_world_m=joints, covariance_m2=covariance)


class _Known(NamedTuple):
    """Position and velocity of each joint (21, 6) and their covariances (21, 6, 6) at a time."""

    x: np.ndarray
    P: np.ndarray
    time_s: float


def _smooth(
    measured: np.ndarray, noise: np.ndarray, times_s: np.ndarray, settings: SmoothingSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 21, 3) and covariances (n, 21, 3, 3), from those measured at times (n,): block after block, as no
    frame needs more than the lag after it."""
    lag = max(1, round(settings.lag_s / float(np.median(np.diff(times_s)))))
    positions, covariances = np.empty_like(measured), np.empty_like(noise)
    before: _Known | None = None
    for begin in range(0, len(times_s), _BLOCK):
        part = slice(begin, begin + _BLOCK + lag)
        x, P, x_ahead, P_ahead, gain = _filter(measured[part], noise[part], times_s[part], before, settings)
        here = len(positions[begin : begin + _BLOCK])
        smoothed = _look_ahead(x, P, x_ahead, P_ahead, gain, lag)
        positions[begin : begin + here], covariances[begin : begin + here] = (each[:here] for each in smoothed)
        before = _Known(x[here - 1], P[here - 1], times_s[begin + here - 1])
    return positions, covariances


def _filter(
    measured: np.ndarray, noise: np.ndarray, times_s: np.ndarray, before: _Known | None, settings: SmoothingSettings
) -> tuple[np.ndarray, ...]:
    """What is known of each frame from those up to it, `x` (n, 21, 6) and `P` (n, 21, 6, 6), and from those before it,
    and the gain (n, 21, 6, 6) by which a surprise is carried back from the next."""
    n = len(times_s)
    x, P = np.empty((n, 21, 6)), np.empty((n, 21, 6, 6))
    x_ahead, P_ahead, gain = np.empty_like(x), np.empty_like(P), np.empty_like(P)
    for i in range(n):
        if before is None:
            x_ahead[i] = np.concatenate([measured[i], np.zeros((21, 3))], axis=1)
            P_ahead[i] = _block(1e2 * np.trace(noise[i], axis1=1, axis2=2).max(), 0, settings.speed_std_mps**2)
        else:
            step = times_s[i] - before.time_s
            F = _block(1, step, 1)
            F[3:, :3] = 0
            q = settings.acceleration_density
            x_ahead[i] = before.x @ F.T
            P_ahead[i] = F @ before.P @ F.T + _block(q * step**3 / 3, q * step**2 / 2, q * step)
            if i:
                gain[i - 1] = np.linalg.solve(P_ahead[i], F @ before.P).swapaxes(1, 2)
        K = np.linalg.solve(P_ahead[i, :, :3, :3] + noise[i], P_ahead[i, :, :3, :]).swapaxes(1, 2)
        x[i] = x_ahead[i] + (K @ (measured[i] - x_ahead[i, :, :3])[..., None])[..., 0]
        P[i] = P_ahead[i] - K @ P_ahead[i, :, :3, :]
        P[i] = (P[i] + P[i].swapaxes(1, 2)) / 2
        before = _Known(x[i], P[i], times_s[i])
    return x, P, x_ahead, P_ahead, gain


def _look_ahead(
    x: np.ndarray, P: np.ndarray, x_ahead: np.ndarray, P_ahead: np.ndarray, gain: np.ndarray, lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the frames within the lag add to each frame's estimate: each one's surprise, carried back by the gains."""
    n = len(x)
    positions, covariances = x[:, :, :3].copy(), P[:, :, :3, :3].copy()
    news, sharper = x - x_ahead, P - P_ahead
    back = np.broadcast_to(np.eye(6)[:3], (n, 21, 3, 6))
    for ahead in range(1, min(lag, n - 1) + 1):
        back = back[: n - ahead] @ gain[ahead - 1 : n - 1]
        positions[: n - ahead] += (back @ news[ahead:, ..., None])[..., 0]
        covariances[: n - ahead] += back @ sharper[ahead:] @ back.swapaxes(2, 3)
    return positions, covariances


def _block(position: float, mixed: float, velocity: float) -> np.ndarray:
    """(6, 6) of 3x3 blocks that are multiples of the identity."""
    return np.kron([[position, mixed], [mixed, velocity]], np.eye(3))
