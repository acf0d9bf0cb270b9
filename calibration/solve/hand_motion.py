"""Constant latencies of cameras, estimated from the motion of what they all see.

Time stamps tell when the host got a frame, and each camera hides its own latency before that. A point that moves then
seems to be elsewhere in a late camera. The offsets found are those for which the 2D tracks of all cameras, read at the
same true time, fit one 3D point best.

The 3D points are eliminated analytically (variable projection; G. Golub and V. Pereyra, 1973), the offsets are solved
by iteratively reweighted Gauss-Newton, and their errors come from the sandwich estimator with one cluster per hand and
moment (P. Huber, 1967), since all joints of one hand err together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline, make_smoothing_spline

from calibration.errors import UserError
from calibration.rig import Rig
from calibration.triangulation import Linearised, dlt_equations, linearise_pinhole, refine, solve3

_MAX_GAP_S = 0.5
_MAX_OFFSET_S = 0.2
_MIN_SAMPLES = 5
_SMOOTHING_S = 0.025
_SLOWEST_GRID_S = 0.083
_SPEED_SPAN_S = 0.2
_MIN_MOMENTS = 12
_OBSERVABLE_S = 0.015
_ITERATIONS = 40
_CAUCHY = 1.5
_HOLD = 1e-9


@dataclass(frozen=True)
class TimeOffsets:
    """How late each camera's time stamps are, in ns, beyond what was already taken off; their mean is zero.

    True capture time = stamped time - offset. `error_ns` bounds the error of each at about 95 %. `moments` counts the
    hand positions used.
    """

    offset_ns: dict[str, int]
    error_ns: dict[str, int]
    moments: int


class TimeOffsetEstimator:
    """Collects a recording's matched 2D detections; then `estimate` finds the offsets."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], list[tuple[int, np.ndarray]]] = {}

    def add(self, track_id: int, keypoints_px: Mapping[str, np.ndarray], capture_times_ns: Mapping[str, int]) -> None:
        """One hand of one frame set: its keypoints (J, 2), distorted pixels, and the capture time, by camera."""
        for camera_id, points in keypoints_px.items():
            self._seen.setdefault((track_id, camera_id), []).append((capture_times_ns[camera_id], points))

    def estimate(self, rig: Rig) -> TimeOffsets:
        """The offsets of the rig's cameras. Raises UserError where the motion does not show them."""
        return estimate_time_offsets(rig, self._seen)


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """A stretch of a 2D track without gaps: normalised image coordinates (J * 2) over seconds.

    `speed` (n,) of the hand as a whole over `_SPEED_SPAN_S`, which detection noise hardly reaches.
    """

    start_s: float
    end_s: float
    curve: BSpline
    slope: BSpline
    speed: np.ndarray


@dataclass(frozen=True)
class _Moments:
    """N moments of a hand of J joints, in V views: read at the current offsets.

    `points` and `velocity` (N, J, V, 2) normalised image coordinates and their change per second; `seen` (N, V).
    """

    points: np.ndarray
    velocity: np.ndarray
    seen: np.ndarray


def estimate_time_offsets(rig: Rig, tracks: Mapping[tuple[int, str], list[tuple[int, np.ndarray]]]) -> TimeOffsets:
    """Estimate offsets from `tracks`: by (track, camera id) lists of (capture time ns, keypoints (J, 2) in pixels).

    Raises UserError where a camera shares too few moments with others or the hands hardly moved in its view.
    """
    stamps = [stamp for samples in tracks.values() for stamp, _ in samples]
    if not stamps:
        raise UserError(_too_little("no hand was seen by two cameras"))
    origin_ns = min(stamps)
    curves, times = _segments(rig, tracks, origin_ns)
    offsets = np.zeros(len(rig.cameras))
    scale = 0.0
    for _ in range(_ITERATIONS):
        moments = _read(curves, times, offsets, len(rig.cameras))
        if moments is None:
            raise UserError(_too_little("no hand was seen by two cameras for long enough"))
        normal, gradient, spread, scale = _normal_equations(rig, moments, scale)
        _require_observable(rig, normal, moments)
        solution = np.linalg.pinv(normal, rcond=1e-6, hermitian=True)
        change = -solution @ gradient
        change -= change.mean()
        step = float(np.abs(change).max())
        offsets = offsets + change * min(1.0, 0.03 / max(step, 1e-12))
        if np.abs(offsets).max() > _MAX_OFFSET_S:
            raise UserError(_too_little(f"the fit ran beyond {_MAX_OFFSET_S * 1e3:.0f} ms"))
        if step < 2e-5:
            break
    centre = np.eye(len(offsets)) - 1 / len(offsets)
    covariance = centre @ solution @ spread @ solution @ centre
    error = np.maximum(2 * np.sqrt(np.diagonal(covariance)), _error_from_speed(curves, moments, scale))
    ids = rig.camera_ids
    if error.max() > _OBSERVABLE_S:
        worst = ids[int(error.argmax())]
        raise UserError(
            _too_little(
                f"the hands moved too little to know the offset of camera `{worst}` (to {error.max() * 1e3:.0f} ms)"
            )
        )
    return TimeOffsets(
        {name: round(value * 1e9) for name, value in zip(ids, offsets, strict=True)},
        {name: round(value * 1e9) for name, value in zip(ids, error, strict=True)},
        int(moments.seen.any(-1).sum()),
    )


def _too_little(what: str) -> str:
    return (
        f"time offsets cannot be estimated from this recording: {what}. "
        "Record half a minute of hands moving fast in view of all cameras."
    )


def _segments(
    rig: Rig, tracks: Mapping[tuple[int, str], list[tuple[int, np.ndarray]]], origin_ns: int
) -> tuple[dict[tuple[int, int], list[_Segment]], dict[int, np.ndarray]]:
    """Curves per (track, view), and per track the times at which its views are compared."""
    curves: dict[tuple[int, int], list[_Segment]] = {}
    times: dict[int, list[np.ndarray]] = {}
    for view, camera in enumerate(rig.cameras):
        for (track, camera_id), samples in sorted(tracks.items(), key=lambda item: item[0]):
            if camera_id != camera.camera_id or len(samples) < _MIN_SAMPLES:
                continue
            ordered = sorted(samples, key=lambda sample: sample[0])
            seconds = np.array([stamp - origin_ns for stamp, _ in ordered]) * 1e-9
            keep = np.diff(seconds, prepend=-1.0) > 1e-6
            seconds = seconds[keep]
            points = camera.camera.undistort(np.stack([keypoints for _, keypoints in ordered])[keep])
            points = points.reshape(len(points), -1)
            gap = min(_MAX_GAP_S, 2.5 * float(np.median(np.diff(seconds))))
            for part in np.split(np.arange(len(seconds)), np.flatnonzero(np.diff(seconds) > gap) + 1):
                if len(part) < _MIN_SAMPLES:
                    continue
                segment = _segment(seconds[part], points[part])
                curves.setdefault((track, view), []).append(segment)
                times.setdefault(track, []).append(seconds[part])
    # A grid out of step with the frames: at the frames' own times interpolation noise would depend on the offset and
    # pull it.
    grids = {}
    for track, parts in times.items():
        period = 0.618 * max(float(np.median(np.diff(max(parts, key=len)))), _SLOWEST_GRID_S)
        grids[track] = np.arange(min(part[0] for part in parts), max(part[-1] for part in parts), period)
    return curves, grids


def _segment(seconds: np.ndarray, points: np.ndarray) -> _Segment:
    # A spline with penalty lam acts as a filter with time constant (lam * period) ** (1 / 4), without delay.
    period = float(np.median(np.diff(seconds)))
    curve = make_smoothing_spline(seconds, points, lam=_SMOOTHING_S**4 / period)
    joints = points.reshape(len(points), -1, 2)
    after = np.minimum(np.searchsorted(seconds, seconds + _SPEED_SPAN_S), len(seconds) - 1)
    lasted = seconds[after] - seconds
    whole = lasted > 0.5 * _SPEED_SPAN_S
    speed = np.linalg.norm(np.median(joints[after] - joints, axis=1), axis=1)[whole] / lasted[whole]
    return _Segment(start_s=seconds[0], end_s=seconds[-1], curve=curve, slope=curve.derivative(), speed=speed)


def _error_from_speed(curves: dict[tuple[int, int], list[_Segment]], moments: _Moments, scale: float) -> np.ndarray:
    """Errors (V,) in seconds that residuals of `scale` allow, given how fast the hands really moved in each view.

    The sandwich estimator takes noise in the slopes for motion; this does not.
    """
    errors = []
    for view in range(moments.seen.shape[1]):
        speeds = [part.speed for (_, seen_by), parts in curves.items() if seen_by == view for part in parts]
        speed = float(np.sqrt(np.mean(np.concatenate(speeds) ** 2))) if sum(map(len, speeds)) else 0.0
        errors.append(2 * scale / max(speed, 1e-9) / np.sqrt(max(moments.seen[:, view].sum(), 1)))
    return np.array(errors)


def _read(
    curves: dict[tuple[int, int], list[_Segment]], times: dict[int, np.ndarray], offsets: np.ndarray, views: int
) -> _Moments | None:
    """All moments at which two views or more saw a hand, at true times `times`."""
    blocks = []
    for track, seconds in times.items():
        width = next(parts[0].curve(parts[0].start_s).shape[-1] for (t, _), parts in curves.items() if t == track)
        points = np.zeros((len(seconds), views, width))
        velocity, seen = np.zeros_like(points), np.zeros((len(seconds), views), dtype=bool)
        for view in range(views):
            stamped = seconds + offsets[view]
            for segment in curves.get((track, view), []):
                inside = (stamped >= segment.start_s) & (stamped <= segment.end_s)
                points[inside, view] = segment.curve(stamped[inside])
                velocity[inside, view] = segment.slope(stamped[inside])
                seen[inside, view] = True
        usable = seen.sum(-1) >= 2
        shape = (-1, views, width // 2, 2)
        blocks.append(
            (points[usable].reshape(shape).swapaxes(1, 2), velocity[usable].reshape(shape).swapaxes(1, 2), seen[usable])
        )
    if not sum(len(seen) for _, _, seen in blocks):
        return None
    return _Moments(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _normal_equations(rig: Rig, moments: _Moments, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Gauss-Newton in the offsets: matrix (V, V), gradient (V,), its covariance (V, V), and the residual scale used."""
    count, joints, views, _ = moments.points.shape
    T = np.stack([camera.T_cam_world[:3] for camera in rig.cameras])
    P = T.transpose(2, 1, 0)[..., None, None]
    observed = moments.points.transpose(3, 2, 0, 1)
    seen = np.broadcast_to(moments.seen.T[..., None], (views, count, joints))

    def linearise(world: np.ndarray) -> Linearised:
        residual, jacobian = linearise_pinhole(P, world, observed, 1.0)
        return Linearised(residual, jacobian, _cauchy(residual, seen, scale) if scale else seen.astype(float))

    world = solve3(dlt_equations(P, observed, seen).sum(2))
    world = refine(np.where(np.isfinite(world), world, 1.0), linearise, 2, _HOLD)
    residual, jacobian, _ = linearise(world)
    # The median of the length of a 2D Gaussian is 1.18 stds.
    scale = float(np.median(np.sqrt((residual**2).sum(0))[seen])) / 1.18
    root = np.sqrt(_cauchy(residual, seen, scale))
    # The residual is projection minus reading, so a later reading changes it by minus the velocity.
    A = np.zeros((count, joints, views, 2, views))
    index = np.arange(views)
    A[:, :, index, :, index] = -moments.velocity.transpose(2, 0, 1, 3) * root[..., None]
    flat_J = (jacobian * root).transpose(3, 4, 2, 1, 0).reshape(count, joints, 2 * views, 3)
    flat_A = A.reshape(count, joints, 2 * views, views)
    information = flat_J.swapaxes(-1, -2) @ flat_J + _HOLD * np.eye(3)
    flat_A = flat_A - flat_J @ np.linalg.solve(information, flat_J.swapaxes(-1, -2) @ flat_A)
    flat_r = (residual * root).transpose(2, 3, 1, 0).reshape(count, joints, 2 * views)
    normal = np.einsum("njar,njas->rs", flat_A, flat_A, optimize=True)
    scores = np.einsum("njar,nja->nr", flat_A, flat_r, optimize=True)
    return normal, scores.sum(0), scores.T @ scores, scale


def _cauchy(residual: np.ndarray, seen: np.ndarray, scale: float) -> np.ndarray:
    return seen / (1 + (residual**2).sum(0) / (_CAUCHY * scale) ** 2)


def _require_observable(rig: Rig, normal: np.ndarray, moments: _Moments) -> None:
    for camera, seen in zip(rig.cameras, moments.seen.T, strict=True):
        if seen.sum() < _MIN_MOMENTS:
            raise UserError(
                _too_little(f"camera `{camera.camera_id}` shares {int(seen.sum())} hand positions with others")
            )
    if not np.isfinite(normal).all() or np.linalg.eigvalsh(normal)[1] <= 0:
        raise UserError(_too_little("the hands did not move"))
