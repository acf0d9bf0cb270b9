"""A camera whose time stamps are off by whole frames: found from which shift makes its views fit the other cameras'."""

from dataclasses import replace

import numpy as np

from calibration.solve.pair_graph import relative_pose, shared_views
from calibration.solve.view_poses import ViewPoses
from calibration.solve.view_table import BoardTable, frame_period_s, group_by_time

_MOST_FRAMES = 6
_GAIN = 0.6


def find_frame_shift(
    table: BoardTable, poses: ViewPoses, flat: np.ndarray, focal: np.ndarray, camera: int
) -> tuple[int, float]:
    """By how many frames (and seconds) the camera's stamps are late; (0, 0.0) where no shift fits clearly better."""
    period = frame_period_s(table.time_s[table.camera == camera], table.camera[table.camera == camera])
    costs: dict[int, float] = {}
    for frames in range(-_MOST_FRAMES, _MOST_FRAMES + 1):
        offset = table.offset_s.copy()
        offset[camera] += frames * period
        sets = group_by_time(table.time_s - offset[table.camera], table.camera)
        shifted = replace(table, set=sets, set_times_s=np.zeros(int(sets.max()) + 1))
        total, count = 0.0, 0
        for (first, second), views in shared_views(shifted).items():
            if camera not in (first, second):
                continue
            pair = relative_pose(shifted, poses, views, flat, focal)
            if pair is not None and pair.shared >= 4:
                total, count = total + pair.error_px**2 * pair.shared, count + pair.shared
        if count:
            costs[frames] = np.sqrt(total / count)
    if not costs or 0 not in costs:
        return 0, 0.0
    best = min(costs, key=lambda frames: (costs[frames], abs(frames)))
    if costs[best] > _GAIN * costs[0]:
        return 0, 0.0
    return best, best * period
