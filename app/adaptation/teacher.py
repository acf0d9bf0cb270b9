"""The teacher: each hand fused from all views that see it, with its own bones' lengths, smoothed over time.

It must know more than the student, which sees one picture: else the student only copies its errors. So every view
counts (and, from the second round on, what the student itself says of it), views that contradict the others do not,
bones are as long as they are through the whole session, and a joint goes where the sets before and after say, too.
Where the network's joints are not where the detector's keypoints meet, they count less: two teachers that disagree are
both in doubt.
The smoother is that of H. Rauch, F. Tung and C. Striebel, "Maximum likelihood estimates of linear dynamic systems",
1965, for a point whose acceleration is white noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from app.labelling.agreement import joint_velocities
from app.labelling.stretch import Stretch
from calibration.hand import JOINTS
from calibration.rig import Rig
from calibration.triangulation import Links, Observations, moving_projections, triangulate
from models.hand.bone_lengths import LINKS, BoneLengths

_NS = 1e-9
_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """`acceleration_m_s15`: how much hands accelerate, the root of the white noise's density. `longest_gap_s`: over a
    longer one a hand's motion is not known. `least_std_m`: no joint is known better. `bone_hands`: of so many hands
    bones are measured at most. `network_std_m`: the network's error, all views together; `doubt`: how much of their
    distance the network's joints and the detector's are in doubt where they disagree. `farthest_m`: a hand farther off
    is another one."""

    acceleration_m_s15: float = 0.3
    longest_gap_s: float = 0.35
    least_std_m: float = 0.002
    bone_hands: int = 1000
    network_std_m: float = 0.008
    doubt: float = 0.33
    farthest_m: float = 0.05


class Keypoints(NamedTuple):
    """Of H hands in V views: distorted pixels (H, V, 21, 2), expected errors (H, V, 21) and which are there (H, V)."""

    px: np.ndarray
    std_px: np.ndarray
    seen: np.ndarray


class Taught(NamedTuple):
    """Of H hands: `joints_m` (H, 21, 3) at their sets' times, NaN where unknown, `covariance_m2` (H, 21, 3, 3) and
    `velocity_m_s` (H, 21, 3)."""

    joints_m: np.ndarray
    covariance_m2: np.ndarray
    velocity_m_s: np.ndarray


def teach(rig: Rig, hands: Stretch, said: Sequence[Keypoints] = (), settings: TeacherSettings | None = None) -> Taught:
    """What all views say of the hands, as the detector sees them and as each of `said` does."""
    settings = settings or TeacherSettings()
    if not len(hands):
        return Taught(np.zeros((0, JOINTS, 3)), np.zeros((0, JOINTS, 3, 3)), np.zeros((0, JOINTS, 3)))
    velocity_m_s = joint_velocities(hands, settings.longest_gap_s)
    for _ in range(2):
        observed = observations(rig, hands, [detected(hands), *said], velocity_m_s)
        links = _links(hands, observed, settings)
        joints_m, covariance_m2 = _triangulate(observed, links)
        joints_m, covariance_m2, velocity_m_s = _smooth(hands, joints_m, covariance_m2, settings)
    return Taught(joints_m, covariance_m2, velocity_m_s)


def fuse(hands: Stretch, by_detector: Taught, settings: TeacherSettings | None = None) -> Taught:
    """What a network says of hands with all views (their `joints_m`) and a detector's keypoints (`teach`), together."""
    settings = settings or TeacherSettings()
    apart_m = np.linalg.norm(hands.joints_m - by_detector.joints_m, axis=-1)
    variance_m2 = settings.network_std_m**2 + (settings.doubt * np.nan_to_num(apart_m, nan=0.05)) ** 2
    covariance_m2 = variance_m2[..., None, None] * np.eye(3)
    return Taught(*_smooth(hands, hands.joints_m, covariance_m2, settings))


def combine(hands: Stretch, by_views: Taught, settings: TeacherSettings | None = None) -> Taught:
    """What a network says of hands with all views and what other voices say of the views (`teach`), each by its error.

    For voices whose errors are not the network's own, as those of another program: where they disagree the truth lies
    between them. A detector that the network itself is made of only casts doubt (`fuse`).
    """
    settings = settings or TeacherSettings()
    weight = np.linalg.inv(by_views.covariance_m2 + settings.least_std_m**2 * np.eye(3))
    network = np.eye(3) / settings.network_std_m**2
    covariance_m2 = np.linalg.inv(weight + network)
    known = np.asarray(np.isfinite(by_views.joints_m).all(-1) & np.isfinite(covariance_m2).all((-2, -1)))
    pull = np.einsum("hjab,hjb->hja", weight, np.nan_to_num(by_views.joints_m) - hands.joints_m)
    moved_m = np.einsum("hjab,hjb->hja", covariance_m2, pull)
    joints_m = hands.joints_m + np.where(known[..., None], moved_m, 0.0)
    covariance_m2 = np.where(known[..., None, None], covariance_m2, settings.network_std_m**2 * np.eye(3))
    return Taught(*_smooth(hands, joints_m, covariance_m2, settings))


def seen_again(hands: Stretch, again: Stretch, settings: TeacherSettings | None = None) -> Stretch:
    """The hands with the joints of the same hands in `again`, a later pass over the same sets, where it has them."""
    settings = settings or TeacherSettings()
    joints_m = hands.joints_m.copy()
    for row in range(len(hands)):
        same = np.flatnonzero((again.time_ns == hands.time_ns[row]) & (again.right == hands.right[row]))
        if len(same):
            apart_m = np.linalg.norm(again.joints_m[same] - hands.joints_m[row], axis=-1).mean(-1)
            if apart_m.min() < settings.farthest_m:
                joints_m[row] = again.joints_m[same[apart_m.argmin()]]
    return replace(hands, joints_m=joints_m)


def detected(hands: Stretch) -> Keypoints:
    return Keypoints(hands.keypoints_px, hands.std_px, hands.seen)


def observations(rig: Rig, hands: Stretch, said: Sequence[Keypoints], velocity_m_s: np.ndarray) -> Observations:
    """Each of `said` as views (V each) of joints that move with `velocity_m_s` (H, 21, 3) from their sets' times."""
    focal_px = np.array([each.camera.focal_px for each in rig.cameras])
    T_cam_world = np.stack([each.T_cam_world for each in rig.cameras])
    lag_s = (hands.frame_time_ns - hands.time_ns[:, None]) * _NS
    parts = []
    for each in said:
        points = np.stack([c.camera.undistort(each.px[:, v]) for v, c in enumerate(rig.cameras)], axis=2)
        seen = np.broadcast_to(each.seen[:, None], points.shape[:3])
        moved = np.where(hands.frame_time_ns > 0, lag_s, 0.0)
        shift_m = velocity_m_s[:, :, None] * moved[:, None, :, None]
        P = moving_projections(T_cam_world, np.ones(seen.shape), shift_m)
        parts.append((P, points, each.std_px.swapaxes(1, 2) / focal_px, seen))
    return Observations(*(np.concatenate(part, axis=2) for part in zip(*parts, strict=True)))


def some_of(obs: Observations, which: slice | np.ndarray) -> Observations:
    return Observations(obs.P[which], obs.points[which], obs.std[which], obs.seen[which])


def without_each_view(obs: Observations, views: int) -> np.ndarray:
    """Joints (V, H, 21, 3) from all but each of the `views`, whoever looked in it; NaN where fewer than two remain."""
    number = np.arange(obs.seen.shape[2]) % views
    found = []
    for view in range(views):
        left = replace(obs, seen=obs.seen & (number != view))
        enough = np.stack([left.seen[:, :, number == other].any(-1) for other in range(views)], -1).sum(-1) >= 2
        joints_m = np.concatenate([
            triangulate(some_of(left, slice(first, first + _BATCH))).points_m
            for first in range(0, len(left.seen), _BATCH)
        ])  # fmt: skip
        found.append(np.where(enough[..., None], joints_m, np.nan))
    return np.stack(found)


def _triangulate(obs: Observations, links: Links) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for first in range(0, len(obs.seen), _BATCH):
        some = slice(first, first + _BATCH)
        of_some = replace(links, lengths_m=links.lengths_m[some], stds_m=links.stds_m[some])
        free = triangulate(some_of(obs, some))
        found = triangulate(some_of(obs, some), of_some, 6, start_m=np.nan_to_num(free.points_m))
        parts.append((found.points_m, found.covariance_m2))
    joints_m, covariance_m2 = (np.concatenate(part) for part in zip(*parts, strict=True))
    return joints_m, covariance_m2


def _links(hands: Stretch, obs: Observations, settings: TeacherSettings) -> Links:
    """The bones of the right hands and of the left ones, from those that most views see."""
    lengths_m, stds_m = np.zeros((len(hands), len(LINKS))), np.zeros((len(hands), len(LINKS)))
    views = hands.seen.sum(1)
    for right in (False, True):
        of_side = np.flatnonzero(hands.right == right)
        if not len(of_side):
            continue
        best = of_side[np.argsort(-views[of_side], kind="stable")][: settings.bone_hands]
        best = best[views[best] >= min(3, views[best].max(initial=0))]
        bones = BoneLengths(max(len(best), 1))
        for first in range(0, len(best), _BATCH):
            for joints_m in triangulate(some_of(obs, best[first : first + _BATCH])).points_m:
                if np.isfinite(joints_m).all():
                    bones.add(joints_m)
        lengths_m[of_side], stds_m[of_side] = bones.links_m, bones.links_sd_m
    return Links(LINKS, lengths_m, stds_m)


def _smooth(
    hands: Stretch, joints_m: np.ndarray, covariance_m2: np.ndarray, settings: TeacherSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints, their covariances and velocities, of each hand as the sets before and after say, too."""
    smooth_m, smooth_m2 = joints_m.copy(), covariance_m2.copy()
    velocity_m_s = np.zeros_like(joints_m)
    for track in np.unique(hands.track):
        rows = np.flatnonzero(hands.track == track)
        rows = rows[np.isfinite(joints_m[rows]).all((1, 2))]
        gaps = np.flatnonzero(np.diff(hands.time_ns[rows]) * _NS > settings.longest_gap_s) + 1
        for run in np.split(rows, gaps):
            if len(run) > 1:
                times_s = (hands.time_ns[run] - hands.time_ns[run[0]]) * _NS
                noise = covariance_m2[run] + settings.least_std_m**2 * np.eye(3)
                found = smoothed(times_s, joints_m[run], noise, settings.acceleration_m_s15)
                smooth_m[run], smooth_m2[run], velocity_m_s[run] = found
    return smooth_m, smooth_m2, velocity_m_s


def smoothed(
    times_s: np.ndarray, points_m: np.ndarray, noise_m2: np.ndarray, acceleration_m_s15: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, J, 3) measured at times (N,) with errors (N, J, 3, 3): smoothed, with covariances and velocities."""
    N, J = points_m.shape[:2]
    eye = np.eye(3)
    state = np.concatenate([points_m[0], np.zeros((J, 3))], 1)
    P = np.zeros((J, 6, 6))
    P[:, :3, :3], P[:, 3:, 3:] = noise_m2[0], eye
    means, covs, predicted = [state], [P], [(state, P, np.eye(6))]
    for number in range(1, N):
        dt = times_s[number] - times_s[number - 1]
        F = np.block([[eye, dt * eye], [np.zeros((3, 3)), eye]])
        Q = acceleration_m_s15**2 * np.block([[dt**3 / 3 * eye, dt**2 / 2 * eye], [dt**2 / 2 * eye, dt * eye]])
        ahead, P_ahead = means[-1] @ F.T, F @ covs[-1] @ F.T + Q
        gain = P_ahead[:, :, :3] @ np.linalg.inv(P_ahead[:, :3, :3] + noise_m2[number])
        means.append(ahead + np.einsum("jab,jb->ja", gain, points_m[number] - ahead[:, :3]))
        covs.append(P_ahead - gain @ P_ahead[:, :3])
        predicted.append((ahead, P_ahead, F))
    for number in range(N - 2, -1, -1):
        ahead, P_ahead, F = predicted[number + 1]
        back = covs[number] @ F.T @ np.linalg.inv(P_ahead)
        means[number] = means[number] + np.einsum("jab,jb->ja", back, means[number + 1] - ahead)
        covs[number] = covs[number] + back @ (covs[number + 1] - P_ahead) @ back.swapaxes(1, 2)
    mean, cov = np.stack(means), np.stack(covs)
    return mean[..., :3], cov[..., :3, :3], mean[..., 3:]
