"""Board views packed into arrays, grouped into sets: what the cameras saw of the board at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.board.board import Board
from calibration.board.views import BoardView, Detections


@dataclass(frozen=True, kw_only=True)
class BoardTable:
    """V views of C cameras in S sets; N is the most corners of a view.

    `camera` (V,) and `set` (V,) index cameras and sets, `time_s` (V,) is the stamped time since `start_ns`.
    `corners_m` (M, 3) are all of the board's; `points_m` (V, N, 3) those of each view, with the origin moved to the
    board's centre. `pixels` (V, N, 2) with `seen` (V, N) and `velocity_px_s` (V, N, 2) at the offsets `offset_s` (C,),
    `std_px` (V,) expected errors, `row` (V, N) pixels below the image's middle row. `set_times_s` (S,): the moment of
    each set.
    """

    camera_ids: tuple[str, ...]
    image_size: tuple[tuple[int, int], ...]
    views: tuple[BoardView, ...]
    camera: np.ndarray
    set: np.ndarray
    time_s: np.ndarray
    points_m: np.ndarray
    pixels: np.ndarray
    seen: np.ndarray
    std_px: np.ndarray
    row: np.ndarray
    corners_m: np.ndarray
    set_times_s: np.ndarray
    start_ns: int
    velocity_px_s: np.ndarray
    offset_s: np.ndarray

    @property
    def centre_m(self) -> np.ndarray:
        return self.corners_m.mean(0)

    @property
    def reach_m(self) -> float:
        """The half diagonal of the board's corners."""
        return float(np.linalg.norm(self.corners_m - self.centre_m, axis=1).max())

    @property
    def set_count(self) -> int:
        return len(self.set_times_s)

    def select(self, views: np.ndarray) -> "BoardTable":
        """Only the views of a mask (V,) or of indices; sets keep their numbers."""
        if views.dtype == bool:
            views = np.flatnonzero(views)
        arrays = {name: getattr(self, name)[views] for name in ("camera", "set", "time_s", "points_m", "pixels")}
        arrays |= {name: getattr(self, name)[views] for name in ("seen", "std_px", "row", "velocity_px_s")}
        return replace(self, views=tuple(self.views[index] for index in views), **arrays)

    def view_of_camera(self) -> np.ndarray:
        """The index (S, C) of each camera's view in each set, -1 where it has none."""
        view_of = np.full((self.set_count, len(self.camera_ids)), -1)
        view_of[self.set, self.camera] = np.arange(len(self.views))
        return view_of

    def each_view_alone(self) -> "BoardTable":
        """The same views, each a set of its own."""
        return replace(self, set=np.arange(len(self.views)), set_times_s=self.time_s - self.offset_s[self.camera])


def make_table(
    detections: Detections, board: Board, camera_ids: Sequence[str], shift_s: Mapping[str, float] | None = None
) -> BoardTable:
    """Pack all views of the cameras. `shift_s` is taken off a camera's times when views are grouped into sets."""
    views = [view for camera_id in camera_ids for view in detections.views.get(camera_id, [])]
    corners = board.corners_board_m
    centre = corners.mean(0)
    most = max((len(view.corner_ids) for view in views), default=0)
    count = len(views)
    index = {camera_id: number for number, camera_id in enumerate(camera_ids)}
    camera = np.array([index[view.camera_id] for view in views], dtype=int)
    points, pixels = np.zeros((count, most, 3)), np.zeros((count, most, 2))
    seen = np.zeros((count, most), dtype=bool)
    for number, view in enumerate(views):
        size = len(view.corner_ids)
        points[number, :size] = corners[view.corner_ids] - centre
        pixels[number, :size] = view.corners_px
        seen[number, :size] = True
    start_ns = min((view.time_ns for view in views), default=0)
    time_s = np.array([(view.time_ns - start_ns) * 1e-9 for view in views])
    shift = np.array([(shift_s or {}).get(camera_id, 0.0) for camera_id in camera_ids])
    sets = group_by_time(time_s - shift[camera], camera) if count else np.zeros(0, dtype=int)
    half_heights = np.array([(detections.image_size[camera_id][1] - 1) / 2 for camera_id in camera_ids])
    row = np.where(seen, pixels[..., 1] - half_heights[camera][:, None], 0.0)
    return BoardTable(
        camera_ids=tuple(camera_ids),
        image_size=tuple(detections.image_size[camera_id] for camera_id in camera_ids),
        views=tuple(views),
        camera=camera,
        set=sets,
        time_s=time_s,
        points_m=points,
        pixels=pixels,
        seen=seen,
        std_px=np.array([view.std_px for view in views]),
        row=row,
        corners_m=corners,
        set_times_s=_median_times(time_s - shift[camera], sets),
        start_ns=start_ns,
        velocity_px_s=np.zeros_like(pixels),
        offset_s=shift,
    )


def _median_times(time_s: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """One time (S,) per set: the median of its views', which is one of them."""
    order = np.lexsort((time_s, sets))
    _, first, count = np.unique(sets[order], return_index=True, return_counts=True)
    return time_s[order[first + count // 2]]


def frame_periods_s(time_s: np.ndarray, camera: np.ndarray, cameras: int) -> np.ndarray:
    """Each camera's period (C,), the median time between its board views; of one with fewer than two, the fastest's,
    and 0.1 s where none has two."""
    periods = np.full(cameras, np.nan)
    for number in np.unique(camera):
        steps = np.diff(np.sort(time_s[camera == number]))
        if (steps > 0).any():
            periods[number] = np.median(steps[steps > 0])
    known = periods[~np.isnan(periods)]
    return np.where(np.isnan(periods), known.min() if len(known) else 0.1, periods)


def group_by_time(time_s: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Set numbers (V,) in order of time: at most one view of each camera, all within 0.6 periods of the fastest."""
    span = 0.6 * frame_periods_s(time_s, camera, int(camera.max()) + 1).min()
    sets = np.empty(len(time_s), dtype=int)
    number, start, members = -1, -np.inf, set[int]()
    for view in np.argsort(time_s, kind="stable"):
        if time_s[view] - start > span or int(camera[view]) in members:
            number, start, members = number + 1, time_s[view], set()
        members.add(int(camera[view]))
        sets[view] = number
    return sets
