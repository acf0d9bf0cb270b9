"""What a calibration gives: the rig, and how far it can be trusted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibration.board.board import Board
from calibration.rig import Rig

Verdict = Literal["good", "usable", "poor"]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """`lens` "auto" chooses pinhole5, pinhole8 or fisheye4 per camera by held-out error.

    `max_sets` moments are used to decide between models, `final_sets` for the last fit. `known_distances_m` are
    distances between camera centres by pairs of ids, measured otherwise: they check the scale.
    `world_time_ns` puts the world's origin and axes on the board as it lay then (x along a row, y along a column, z out
    of the printed face); None puts them on the first camera, or with `fit_world` amid all the board's places.
    """

    lens: Literal["auto", "pinhole5", "pinhole8", "fisheye4"] = "auto"
    time_offsets: bool = True
    rolling_shutter: bool = False
    max_sets: int = 120
    final_sets: int = 500
    known_distances_m: Mapping[tuple[str, str], float] = field(default_factory=dict)
    world_time_ns: int | None = None
    fit_world: bool = False


@dataclass(frozen=True, kw_only=True)
class ViewResiduals:
    """One board view of the fit. `residuals_px` (n, 2) is observed minus predicted for `corner_ids` (n,).

    `corners_px` (n, 2) as observed; `T_cam_board` 4x4.
    """

    camera_id: str
    frame: int
    time_ns: int
    corner_ids: np.ndarray
    corners_px: np.ndarray
    residuals_px: np.ndarray
    T_cam_board: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """How well triangulated corners fit the images of frames that the fit did not see; all NaN where there are none.

    `rmse_px`, `trim_rmse_px` (without the worst 2.5 % of each camera), `median_px`: reprojection of corners that were
    triangulated from all cameras. `rigidity_mm_rms`: error of the distances between corners of one moment.
    `loo_px`: median distance in a camera that did not take part in the triangulation. `scale_bias_percent`: signed,
    of the distances.
    """

    rmse_px: float = math.nan
    trim_rmse_px: float = math.nan
    median_px: float = math.nan
    rigidity_mm_rms: float = math.nan
    loo_px: float = math.nan
    scale_bias_percent: float = math.nan
    corners: int = 0


@dataclass(frozen=True, kw_only=True)
class BoardFigures:
    """What the views say of the board, and whether the rig was `solved` with it so; else it counts as flat and square.

    `square_mm`: width and height of its squares, whose mean is that of board.yaml, which no view can check, and the
    standard deviation of both that the views leave. `stretch_percent`: by how much squares are wider than high, against
    board.yaml. `shear_deg`: by how much rows and columns are off a right angle. `bend_mm`: height of the highest corner
    over the lowest. `reach_mm`: the half diagonal of the corners.
    """

    solved: bool
    square_mm: tuple[float, float]
    square_std_mm: float
    stretch_percent: float
    stretch_std_percent: float
    shear_deg: float
    shear_std_deg: float
    bend_mm: float
    bend_std_mm: float
    reach_mm: float


@dataclass(frozen=True, kw_only=True)
class CauseFigures:
    """Why cameras disagree. `cameras` are those that it may be, `after_s` the time since the first view from which on
    it holds, None for all the time; `share` of the cost that it explains."""

    kind: Literal["moved", "focus", "clock", "board", "exchanged", "motion", "lens"]
    cameras: tuple[str, ...]
    after_s: float | None
    share: float
    text: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class CameraFigures:
    """One camera's figures. Standard deviations are relative to the first camera, which has zero for its pose.

    Those of position and time offset are the larger of the covariance's and half of what the fits to two halves of the
    footage differ by; `time_offset_ns` is relative to the cameras' mean. `frames` counts views that were fitted.

    `intrinsic_rmse_px` from this camera alone; `rmse_px` of the rigid board in the joint fit; `heldout_rmse_px` and
    `loo_px` on frames that were not used, of triangulated corners. `coverage` is the share of the image's 8 x 6 fields
    where corners were seen; `region_rmse_px` (3, 3) the joint fit's RMSE by image region, of corners that two or
    more cameras saw, NaN where those are fewer than 12.
    `lens_note` says what was held and why; empty where all was freed. `intrinsics_std` follows fx, fy, cx, cy and the
    distortion coefficients, zero for what was held. All standard deviations are NaN, that of the offset None, where the
    fit has not converged.
    """

    camera_id: str
    frames: int
    intrinsic_rmse_px: float
    rmse_px: float
    heldout_rmse_px: float
    loo_px: float
    coverage: float
    region_rmse_px: np.ndarray
    lens_note: str
    intrinsics_std: np.ndarray
    rotation_std_deg: float
    position_std_mm: float
    time_offset_ns: int
    time_offset_std_ns: int | None
    row_time_ns: float | None = None
    row_time_std_ns: float | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """A calibrated rig, and how far it can be trusted.

    `distance_std_m` is the larger of the covariance's and half of what the fits to two halves of the footage differ by.

    `shape` is what the views say of the board, `cause` why cameras disagree, None where they do not or nothing explains
    it.

    `covariance` holds per camera the covariance of (rotation vector, position, fx, fy, cx, cy, distortion): rotation in
    radians about the camera's own axes, translation of `T_cam_world` in metres, lens in its own units, relative to the
    first camera. `board_poses` maps times (ns) to `T_world_board`. `reasons` says why the verdict is not "good",
    `remedies` what to do, in the same order. `time_offset_note` says why offsets were kept or left at zero.
    """

    rig: Rig
    board: Board
    cameras: dict[str, CameraFigures]
    rmse_px: float
    heldout: ImageFigures
    scale_bias_percent: float | None
    distances_m: dict[tuple[str, str], float]
    distance_std_m: dict[tuple[str, str], float]
    covariance: dict[str, np.ndarray]
    shape: BoardFigures
    cause: CauseFigures | None = None
    views: list[ViewResiduals]
    board_poses: dict[int, np.ndarray]
    verdict: Verdict
    reasons: list[str]
    remedies: list[str]
    warnings: list[str]
    time_offset_note: str
    shared_views: dict[tuple[str, str], int]
    noise_px: float
    seconds: float
