"""A camera whose time stamps are off by whole frames: found from which shift makes its views fit the other cameras'."""

from dataclasses import replace

import numpy as np

from calibration.solve.pair_graph import relative_pose, shared_views
from calibration.solve.rig_solve import RigSolve
from calibration.solve.view_poses import ViewPoses
from calibration.solve.view_table import frame_periods_s, group_by_time

_MOST_FRAMES = 6
# A shift must lower the error of relative poses to this share.
_GAIN = 0.6
# Median residual, of an image 1280 wide, from which on a camera is suspected.
_SUSPECT_PX = 3.0
# Of a frame: a camera that is off by more is warned of.
_LATE_FRAMES = 0.7


def find_frame_shift_s(solve: RigSolve) -> dict[str, float]:
    """By how many seconds a camera's stamps are late, where the joint fit left one camera or all far off."""
    fitted, length = solve.problem.table, np.linalg.norm(solve.residuals_px, axis=-1)
    ids, sizes = fitted.camera_ids, fitted.image_size
    of_camera = [length[fitted.camera == camera][fitted.seen[fitted.camera == camera]] for camera in range(len(ids))]
    median = np.array([np.median(own) if len(own) else 0.0 for own in of_camera])
    if not (median > _SUSPECT_PX * np.array([width for width, _ in sizes]) / 1280).any():
        return {}
    found = {camera: _late_by_s(solve.poses, camera) for camera in range(len(ids))}
    late = [camera for camera, seconds in found.items() if seconds]
    # With one camera late, every other seems early against it where there are two; the first stays.
    return {ids[camera]: found[camera] for camera in sorted(late, key=lambda camera: -median[camera])[:1]}


def _late_by_s(poses: ViewPoses, camera: int) -> float:
    """By how many seconds, of whole frames, the camera's stamps are late; zero where no shift fits clearly better."""
    table = poses.table
    period = frame_periods_s(table.time_s, table.camera, len(table.camera_ids))[camera]
    costs: dict[int, float] = {}
    for frames in range(-_MOST_FRAMES, _MOST_FRAMES + 1):
        offset = table.offset_s.copy()
        offset[camera] += frames * period
        sets = group_by_time(table.time_s - offset[table.camera], table.camera)
        shifted = replace(poses, table=replace(table, set=sets, set_times_s=np.zeros(int(sets.max()) + 1)))
        pairs = [relative_pose(shifted, views) for key, views in shared_views(shifted.table).items() if camera in key]
        certain = [pair for pair in pairs if pair is not None and pair.shared >= 4]
        if certain:
            squared = sum(pair.error_px**2 * pair.shared for pair in certain)
            costs[frames] = np.sqrt(squared / sum(pair.shared for pair in certain))
    best = min(costs, key=lambda frames: (costs[frames], abs(frames)), default=0)
    if 0 not in costs or costs[best] > _GAIN * costs[0]:
        return 0.0
    return best * period


def late_cameras(solve: RigSolve) -> list[str]:
    """A warning for each camera whose stamps are nearly a frame or more off the others'."""
    table, offset_s = solve.table, solve.state.offset_s
    periods = frame_periods_s(table.time_s, table.camera, len(table.camera_ids))
    away = offset_s - np.median(offset_s)
    if len(offset_s) == 2:
        away = np.array([0.0, offset_s[1] - offset_s[0]])
    return [
        f"the time stamps of camera {table.camera_ids[camera]} are {abs(away[camera]) * 1000:.0f} ms "
        f"({abs(away[camera]) / periods[camera]:.1f} frames) {'late' if away[camera] > 0 else 'early'} against the "
        "other cameras'; the rig's time offset puts that right, but check how its frames are stamped"
        for camera in np.flatnonzero(np.abs(away) > _LATE_FRAMES * periods)
    ]
