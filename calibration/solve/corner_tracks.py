"""Board corners read between frames, along their motion in each camera's images.

Independent of any board pose: a corner's pixels at a moment are interpolated between the frames of its own camera,
cubic where it was seen in four of them and linear in two. So cameras that were not exposed together are compared at one
moment.
"""

from dataclasses import replace

import numpy as np

from calibration.solve.view_table import BoardTable, frame_periods_s

_MAX_GAP_PERIODS = 1.7
# Views farther apart than this are no film of a motion: the board was held still for each.
_MAX_GAP_S = 0.45
_SAME_TIME_S = 0.001
# A corner at the end of its track is carried this much of a frame period beyond it.
_MAX_BEYOND_PERIODS = 0.25
_LEAST_CORNERS = 4


def at_set_times(table: BoardTable, offset_s: np.ndarray) -> BoardTable:
    """The table with all corners moved to their sets' times, under the cameras' offsets (C,).

    A frame without neighbours in time is taken as it is: the board was held still for it. Corners are ordered by their
    number, so that N = M.
    """
    periods = frame_periods_s(table.time_s, table.camera, len(table.camera_ids))
    true_s = table.time_s - offset_s[table.camera]
    camera, sets, pixels, velocity, nearest = [], [], [], [], []
    for number in range(len(table.camera_ids)):
        views = np.flatnonzero(np.equal(table.camera, number))
        if not len(views):
            continue
        views = views[np.argsort(true_s[views], kind="stable")]
        track = np.full((len(views), len(table.corners_m), 2), np.nan)
        for position, view in enumerate(views):
            track[position, table.views[view].corner_ids] = table.pixels[view, table.seen[view]]
        # Frames are joined at the camera's own rate; but how long a corner stays where it was seen, the fastest tells:
        # a camera that sees the board now and then has a long period.
        max_gap = min(_MAX_GAP_PERIODS * periods[number], _MAX_GAP_S)
        value, slope, near = read_track(true_s[views], track, table.set_times_s, float(periods.min()), max_gap)
        there = np.isfinite(value).all(-1).sum(1) >= _LEAST_CORNERS
        camera.append(np.full(there.sum(), number))
        sets.append(np.flatnonzero(there))
        pixels.append(value[there])
        velocity.append(slope[there])
        nearest.append(views[near[there]])
    pixel, view = np.concatenate(pixels), np.concatenate(nearest)
    seen = np.all(np.isfinite(pixel), axis=-1)
    cameras = np.concatenate(camera)
    heights = np.array([(size[1] - 1) / 2 for size in table.image_size])
    pixel = np.where(seen[..., None], pixel, 0.0)
    return replace(
        table,
        views=tuple(table.views[index] for index in view),
        camera=cameras,
        set=np.concatenate(sets),
        time_s=table.time_s[view],
        points_m=np.broadcast_to(table.corners_m - table.centre_m, (len(view), *table.corners_m.shape)),
        pixels=pixel,
        seen=seen,
        std_px=table.std_px[view],
        row=np.where(seen, pixel[..., 1] - heights[cameras][:, None], 0.0),
        velocity_px_s=np.where(seen[..., None], np.concatenate(velocity), 0.0),
        offset_s=offset_s.copy(),
    )


def read_track(
    times: np.ndarray, track: np.ndarray, at: np.ndarray, period: float, max_gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A track (K, M, 2), or of points in space (K, M, 3), over rising times (K,), read at moments (S,).

    Gives places and velocity (S, M, 2), NaN where unknown, and the nearest frame (S,). Times are in seconds.
    """
    last = len(times) - 1
    after = np.clip(np.searchsorted(times, at), min(1, last), last)
    before = np.maximum(after - 1, 0)
    near = np.where(np.abs(times[before] - at) <= np.abs(times[after] - at), before, after)
    step = np.where(after > before, times[after] - times[before], np.inf)
    joined = step <= max_gap
    span = np.where(joined, step, 1.0)[:, None, None]
    part = ((at - times[before])[:, None, None]) / span
    chord = (track[after] - track[before]) / span
    start, end = (_slope(times, track, frame, chord, max_gap) for frame in (before, after))
    a, b = part**2 * (3 - 2 * part), span * part * (1 - part)
    value = track[before] * (1 - a) + track[after] * a + b * ((1 - part) * start - part * end)
    slope = (6 * part * (1 - part)) * chord + (1 - part) * (1 - 3 * part) * start + part * (3 * part - 2) * end
    inside = joined[:, None, None] & (part >= 0) & (part <= 1)
    value, slope = np.where(inside, value, np.nan), np.where(inside, slope, np.nan)

    away = (at - times[near])[:, None, None]
    one_sided = _one_sided_slope(times, track, near, max_gap)
    beyond = track[near] + away * one_sided
    value_ok = np.isfinite(value)
    close = np.abs(away) <= _MAX_BEYOND_PERIODS * period
    value = np.where(value_ok | ~close, value, beyond)
    slope = np.where(value_ok | ~close, slope, one_sided)
    alone = _alone(times, near, max_gap)[:, None, None] & (np.abs(away) <= 0.6 * period)
    as_seen = (alone | (np.abs(away) < _SAME_TIME_S)) & np.isnan(value)
    value = np.where(as_seen, track[near], value)
    return value, np.where(np.isfinite(slope), slope, 0.0), near


def _slope(times: np.ndarray, track: np.ndarray, at: np.ndarray, chord: np.ndarray, max_gap: float) -> np.ndarray:
    """Slope (S, M, 2) at frames (S,) through their neighbours; the chord's where a neighbour is missing or far."""
    earlier, later = np.maximum(at - 1, 0), np.minimum(at + 1, len(times) - 1)
    span = np.maximum(times[later] - times[earlier], 1e-6)[:, None, None]
    slope = (track[later] - track[earlier]) / span
    at_end = ((earlier == at) | (later == at))[:, None, None]
    return np.where(at_end | (span > 2 * max_gap) | np.isnan(slope), chord, slope)


def _one_sided_slope(times: np.ndarray, track: np.ndarray, at: np.ndarray, max_gap: float) -> np.ndarray:
    """Slope (S, M, 2) between frames (S,) and whichever neighbour saw the corner, the central one first."""
    best = np.full((len(at), *track.shape[1:]), np.nan)
    last = len(times) - 1
    for low, high in ((-1, 1), (-1, 0), (0, 1)):
        first, second = np.clip(at + low, 0, last), np.clip(at + high, 0, last)
        span = times[second] - times[first]
        usable = (span > 0) & (span <= max_gap * (high - low))
        slope = (track[second] - track[first]) / np.where(usable, span, 1.0)[:, None, None]
        best = np.where(np.isnan(best) & usable[:, None, None], slope, best)
    return best


def _alone(times: np.ndarray, frame: np.ndarray, max_gap: float) -> np.ndarray:
    """Which frames (S,) have no neighbour in time."""
    gap = np.diff(times, prepend=-np.inf, append=np.inf) > max_gap
    return gap[frame] & gap[frame + 1]
