"""Telling a camera that mirrors its image from one that sees the back of a two-sided board.

One camera alone cannot: a flat board in a mirror is pictured exactly as another board seen from its back is. But where
a camera mirrors, the way from it to another camera comes out differently at every moment.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from calibration.board.board import Board
from calibration.errors import UserError
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.pair_graph import relative_pose, shared_views
from calibration.solve.view_poses import ViewPoses, facing, view_poses
from calibration.solve.view_table import BoardTable

_MIRROR_X = np.diag([-1.0, 1.0, 1.0])
# Mirroring must lower the squared errors of the relative poses to this share.
_GAIN = 0.5
# Of all views: with fewer from the back, it is a wrong reading and not a second side.
_NO_BACK = 0.02
_FITS = "what is seen there fits the other cameras only if mirrored back"


def check_mirrored(table: BoardTable, intrinsics: Intrinsics, board: Board) -> None:
    """Raises UserError where a camera's images are mirror images."""
    turn = facing(table)
    if board.type != "chessboard" and not (turn < 0).any():
        return
    mirrored = find_mirrored(view_poses(table, intrinsics.lens, intrinsics.fisheye), turn, board)
    if not mirrored.any():
        return
    named = [table.camera_ids[number] for number in np.flatnonzero(mirrored)]
    if board.type == "chessboard":
        raise UserError(
            f"camera {_listed(named)}: {_FITS}. A chessboard does not show which of two cameras mirrors: add the line "
            f"`mirrored: true` to camera {_listed(named)}, or else to all others, in the rig.yaml of the session or of "
            "the cameras. A board with markers (`usthand board`) tells."
        )
    own = [turn[(table.camera == number) & (turn != 0)] for number in np.flatnonzero(mirrored)]
    counts = ", ".join(
        f"`{name}`: the board appears mirrored in {int((of_camera < 0).sum())} of {len(of_camera)} images"
        for name, of_camera in zip(named, own, strict=True)
    )
    why = "as on the back of a print" if mirrored.all() else f"and {_FITS}"
    print_too = (
        "If writing in the videos reads the right way round, the print itself is mirrored, or was shown from behind: "
        "print the board anew, or show its front. Else add"
    )
    raise UserError(
        f"camera {counts}, {why}. No lens does that. {print_too if mirrored.all() else 'Add'} the line "
        f"`mirrored: true` to camera {_listed(named)} in the "
        'rig.yaml of the session or of the cameras, or turn off mirroring ("flip", "selfie view") in the camera\'s '
        "settings and record again."
    )


def find_mirrored(poses: ViewPoses, turn: np.ndarray, board: Board) -> np.ndarray:
    """Which cameras (C,) mirror their images. `turn` (V,) is each view's `facing`.

    All or none of them fit alike, as does every choice and its opposite. Then a board that is seen from its front alone
    is the likelier, and after that the fewer cameras that mirror.
    """
    cameras = len(poses.table.camera_ids)
    costs = _pair_costs(poses, board)
    choices = [np.array((False, *rest)) for rest in product((False, True), repeat=cameras - 1)]
    total = [sum(cost[int(choice[a] != choice[b])] for (a, b), cost in costs.items()) for choice in choices]
    best = choices[int(np.argmin(total))] if min(total) < _GAIN * total[0] else choices[0]

    def unlikely(choice: np.ndarray) -> tuple[bool, int, float]:
        back = float(((turn < 0) != choice[poses.table.camera])[turn != 0].mean()) if turn.any() else 0.0
        return back > _NO_BACK, int(choice.sum()), back

    return min((best, ~best), key=unlikely)


def _pair_costs(poses: ViewPoses, board: Board) -> dict[tuple[int, int], tuple[float, float]]:
    """Squared errors, over the shared sets, of each pair's relative pose as it is and with one of the two mirrored."""
    costs = {}
    for (a, b), views in shared_views(poses.table).items():
        pairs = [relative_pose(each, views) for each in (poses, _mirrored(poses, b, board))]
        if pairs[0] is not None and pairs[1] is not None:
            as_is, other = (pair.error_px**2 * pair.shared for pair in pairs if pair is not None)
            costs[a, b] = as_is, other
    return costs


def _mirrored(poses: ViewPoses, camera: int, board: Board) -> ViewPoses:
    """The poses as they are when the images of one camera are mirrored back."""
    table, mirror = poses.table, _board_mirror(board)
    own = table.camera == camera
    points_m = np.where(own[:, None, None], table.points_m @ mirror, table.points_m)
    flat = np.where(own[:, None, None], poses.flat * [-1, 1], poses.flat)
    aim = np.where(own[:, None, None], _MIRROR_X @ poses.aim @ _MIRROR_X, poses.aim)
    R = np.where(own[:, None, None, None], _MIRROR_X @ poses.R @ mirror, poses.R)
    t = np.where(own[:, None, None], poses.t * [-1, 1, 1], poses.t)
    return replace(poses, table=replace(table, points_m=points_m), aim=aim, flat=flat, R=R, t=t)


def _board_mirror(board: Board) -> np.ndarray:
    """How the board itself is mirrored for a camera that mirrors: markers tell corners apart, so that it seems to face
    away; a chessboard's corners are counted as on a board that faces the camera, from a dark one."""
    if board.type != "chessboard":
        return np.diag([1.0, 1.0, -1.0])
    return np.diag([-1.0, 1.0, 1.0] if board.columns % 2 else [1.0, -1.0, 1.0])


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
