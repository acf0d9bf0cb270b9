"""All that a calibration solves for, and how the pixels depend on it: residuals and their derivatives."""

from dataclasses import dataclass, field, replace

import numpy as np

from calibration.rotations import inverse_transform, make_transform, rotation_from_vector
from calibration.solve.board_shape import SHAPE_PARAMETERS, shape_derivatives, shaped
from calibration.solve.lens_derivatives import LENS_PARAMETERS, project_views, project_with_derivatives
from calibration.solve.view_table import BoardTable

# Where a camera's 20 parameters lie: its pose, its lens, its time offset and its row time.
POSE, LENS, OFFSET, ROW = slice(0, 6), slice(6, 6 + LENS_PARAMETERS), 6 + LENS_PARAMETERS, 7 + LENS_PARAMETERS
CAMERA_PARAMETERS = 8 + LENS_PARAMETERS
# And where what all views share lies, in a row of derivatives: after the camera's and the board's pose.
SHAPE = slice(CAMERA_PARAMETERS + 6, CAMERA_PARAMETERS + 6 + SHAPE_PARAMETERS)


@dataclass(frozen=True, kw_only=True)
class RigState:
    """All unknowns. Cameras: `lens` (C, 12), `R` (C, 3, 3), `t` (C, 3) world to camera, `offset_s`, `row_s` (C,).

    Boards: `board_R` (S, 3, 3) and `board_t` (S, 3), centred board to world at the set's time; `shape`
    (5,): see `board_shape`.
    """

    lens: np.ndarray
    fisheye: np.ndarray
    R: np.ndarray
    t: np.ndarray
    offset_s: np.ndarray
    row_s: np.ndarray
    board_R: np.ndarray
    board_t: np.ndarray
    shape: np.ndarray = field(default_factory=lambda: np.zeros(SHAPE_PARAMETERS))

    @property
    def T_cam_world(self) -> np.ndarray:
        """(C, 4, 4)."""
        return make_transform(self.R, self.t)

    @property
    def centres_world_m(self) -> np.ndarray:
        """The cameras' places (C, 3)."""
        return inverse_transform(self.T_cam_world)[:, :3, 3]

    def with_cameras(self, T_cam_world: np.ndarray) -> "RigState":
        """The same with the cameras at `T_cam_world` (C, 4, 4)."""
        return replace(self, R=T_cam_world[:, :3, :3], t=T_cam_world[:, :3, 3])

    def boards_in_cameras_m(self, table: BoardTable) -> np.ndarray:
        """Where the board's centre is in every view (V, 3), in camera axes."""
        return (self.R[table.camera] @ self.board_t[table.set][..., None])[..., 0] + self.t[table.camera]


@dataclass(frozen=True)
class MovedViews:
    """All views moved to their sets' times, their residuals (V, N, 2), and which of them (V,) the fit used."""

    table: BoardTable
    residuals_px: np.ndarray
    used: np.ndarray


def _in_camera(table: BoardTable, state: RigState) -> tuple[np.ndarray, np.ndarray]:
    """Corners (V, N, 3) turned into the world, and in camera axes."""
    points_m = shaped(table.points_m, state.shape, table.reach_m) if state.shape.any() else table.points_m
    turned = points_m @ np.swapaxes(state.board_R[table.set], 1, 2)
    return turned, turned @ np.swapaxes(state.R[table.camera], 1, 2) + state.boards_in_cameras_m(table)[:, None]


def _away(table: BoardTable, state: RigState, pixels: np.ndarray) -> np.ndarray:
    """Observed minus predicted: the corner at the set's time, had the camera been read at the current offset."""
    late = (state.offset_s - table.offset_s)[table.camera, None] - state.row_s[table.camera, None] * table.row
    return (table.pixels + late[..., None] * table.velocity_px_s - pixels) * table.seen[..., None]


def residuals(table: BoardTable, state: RigState) -> np.ndarray:
    """Observed minus predicted pixels (V, N, 2); zero where not seen."""
    _, in_camera = _in_camera(table, state)
    return _away(table, state, project_views(in_camera, state.lens[table.camera], state.fisheye[table.camera]))


def linearise(table: BoardTable, state: RigState, by_shape: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (V, N, 2) and minus their derivatives (V, N, 2, 26): by 20 of the camera, 6 of the board's pose.

    `by_shape`: and by the board's shape, (V, N, 2, 31).
    """
    camera = table.camera
    turned, in_camera = _in_camera(table, state)
    pixels, by_point, by_lens = project_with_derivatives(in_camera, state.lens[camera], state.fisheye[camera])
    residual = _away(table, state, pixels)
    jacobian = np.empty((*residual.shape, SHAPE.stop if by_shape else SHAPE.start))
    # x_cam' = exp(w) x_cam + d: the camera turns by w about its own axes, and its centre moves by -d along them.
    jacobian[..., 0:3] = _by_rotation(by_point, in_camera)
    jacobian[..., 3:6] = by_point
    jacobian[..., LENS] = by_lens
    jacobian[..., OFFSET] = -table.velocity_px_s
    jacobian[..., ROW] = table.velocity_px_s * table.row[..., None]
    by_world = (by_point.reshape(len(camera), -1, 3) @ state.R[camera]).reshape(by_point.shape)
    jacobian[..., CAMERA_PARAMETERS : CAMERA_PARAMETERS + 3] = _by_rotation(by_world, turned)
    jacobian[..., CAMERA_PARAMETERS + 3 : SHAPE.start] = by_world
    if by_shape:
        by_board = (by_world.reshape(len(camera), -1, 3) @ state.board_R[table.set]).reshape(by_point.shape)
        jacobian[..., SHAPE] = by_board @ shape_derivatives(table.points_m, state.shape, table.reach_m)
    return residual, jacobian


def _by_rotation(by_point: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Derivative (..., 2, 3) by a small rotation w, `point + w x point`: by_point @ -[point]x."""
    x, y, z = point[..., None, 0], point[..., None, 1], point[..., None, 2]
    a, b, c = by_point[..., 0], by_point[..., 1], by_point[..., 2]
    return np.stack([y * c - z * b, z * a - x * c, x * b - y * a], axis=-1)


def apply_step(
    state: RigState, camera_step: np.ndarray, board_step: np.ndarray, shape_step: np.ndarray | None = None
) -> RigState:
    """The state after steps (C, 20), (S, 6), and (5,) where the board's shape is free."""
    turn = rotation_from_vector(camera_step[:, 0:3])
    board_turn = rotation_from_vector(board_step[:, 0:3])
    return replace(
        state,
        lens=state.lens + camera_step[:, LENS],
        R=turn @ state.R,
        t=(turn @ state.t[..., None])[..., 0] + camera_step[:, 3:6],
        offset_s=state.offset_s + camera_step[:, OFFSET],
        row_s=state.row_s + camera_step[:, ROW],
        board_R=board_turn @ state.board_R,
        board_t=state.board_t + board_step[:, 3:6],
        shape=state.shape if shape_step is None or not len(shape_step) else state.shape + shape_step,
    )
