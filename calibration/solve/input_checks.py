"""What makes a calibration impossible, told before or while it is tried."""

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.board.board import Board
from calibration.board.detector import TWO_BOARDS
from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.errors import UserError
from calibration.rig import Rig
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.pair_graph import shared_views
from calibration.solve.view_table import BoardTable

# Of the recording: a camera that misses more at the end is warned of.
_SHORT = 0.4
# Images with two boards alike from which on that is told.
_TWO_BOARDS = 3
# Pixels of an image 1280 wide that no lens misses by on its own board.
_NOT_THE_BOARD_PX = 3.0


def check_detections(detections: Detections, board: Board, camera_ids: tuple[str, ...]) -> None:
    """Raises UserError where no board was seen, or not by two cameras, or by none of one camera's images."""
    seen = [camera_id for camera_id in camera_ids if detections.views.get(camera_id)]
    alike = two_boards(detections, camera_ids)
    if alike and len(seen) < len(camera_ids):
        without = _listed([camera_id for camera_id in camera_ids if camera_id not in seen])
        raise UserError(f"{alike[0]}. Of camera {without} no image is left. Film again with one board.")
    looked = sum(detections.looked_at.values())
    if not seen:
        images = f" in {looked} images" if looked else ""
        raise UserError(
            f"no board was seen{images} ({_rejections(detections, camera_ids)}). Expected a {_board_name(board)}. "
            "Check `dictionary`, `columns`, `rows` and `inverted` in board.yaml against the print, then the light."
        )
    if len(camera_ids) == 1:
        raise UserError(f"only camera `{camera_ids[0]}` was given. A rig needs at least two cameras.")
    if len(seen) == 1:
        raise UserError(
            f"only camera `{seen[0]}` saw the board ({len(detections.views[seen[0]])} images); "
            f"{_listed([c for c in camera_ids if c not in seen])} did not. "
            "Film again with the board in view of at least two cameras at a time."
        )
    missing = [camera_id for camera_id in camera_ids if camera_id not in seen]
    if missing:
        raise UserError(
            f"camera {_listed(missing)} did not see the board ({_rejections(detections, tuple(missing))}). "
            f"Film the board in view of {_listed(missing)} and of one of {_listed(seen)} at the same time, "
            "or leave that camera out."
        )


def two_boards(detections: Detections, camera_ids: Sequence[str]) -> list[str]:
    """A warning where images were turned down because two boards alike are in them."""
    counts = {camera_id: detections.rejected.get(camera_id, {}).get(TWO_BOARDS, 0) for camera_id in camera_ids}
    if sum(counts.values()) < _TWO_BOARDS:
        return []
    seen = ", ".join(f"{count} images of {camera_id}" for camera_id, count in counts.items() if count)
    left_out = "which were left out: cover one, as nobody knows which of them another image shows"
    return [f"two boards alike are in view at once in {seen}, {left_out}"]


def check_given_sizes(given: Mapping[str, Camera], image_sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raises UserError where intrinsics were given for another size than that of a camera's images (width, height)."""
    for camera_id, size in image_sizes.items():
        camera = given.get(camera_id)
        if camera is not None and (camera.width, camera.height) != tuple(size):
            raise UserError(
                f"the given intrinsics of camera `{camera_id}` are for {camera.width}x{camera.height}, but its images "
                f"are {size[0]}x{size[1]}. Give intrinsics of this image size, or none."
            )


def check_rig_sizes(rig: Rig, image_sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raises UserError where a camera was calibrated at another size than that of its images (width, height)."""
    for camera in rig.cameras:
        size = tuple(image_sizes[camera.camera_id])
        if size != (camera.camera.width, camera.camera.height):
            raise UserError(
                f"camera `{camera.camera_id}`: the session's images are {size[0]}x{size[1]}, the rig was calibrated at "
                f"{camera.camera.width}x{camera.camera.height}. Record at the rig's size, or calibrate again."
            )


def check_alone(table: BoardTable, intrinsics: Intrinsics) -> None:
    """Raises UserError where cameras do not fit the board even alone: with a lens that is not theirs, or none of them,
    so that it is another board."""
    if intrinsics.unfit:
        text, remedy = intrinsics.unfit_text(table.camera_ids)
        raise UserError(f"{text}, so that the cameras do not fit together. {remedy[0].upper()}{remedy[1:]}.")
    alone_px = intrinsics.rmse_px
    widths = np.array([width for width, _ in table.image_size])
    least = float(np.nanmin(alone_px * 1280 / widths)) if np.isfinite(alone_px).any() else 0.0
    if least > _NOT_THE_BOARD_PX:
        raise UserError(
            f"every camera misses the corners of the board by {least:.0f} pixels or more even alone: this is not "
            "the board that board.yaml describes. Compare `columns`, `rows` and `square_m` with the print."
        )


def check_linked(table: BoardTable, groups: list[list[int]]) -> None:
    """Raises UserError unless there is one group of cameras."""
    if len(groups) <= 1:
        return
    shared = {pair: len(views) for pair, views in shared_views(table).items()}
    ids = table.camera_ids
    named = " and ".join("[" + ", ".join(ids[camera] for camera in group) + "]" for group in groups)
    between = [
        (shared[min(a, b), max(a, b)], ids[a], ids[b])
        for number, group in enumerate(groups)
        for other in groups[number + 1 :]
        for a in group
        for b in other
    ]
    most, first, second = max(between, key=lambda item: item[0])
    together = (
        "they never saw the board at the same moment"
        if most == 0
        else f"{first} and {second} saw it together at 1 moment only"
        if most == 1
        else f"{first} and {second} share {most} moments, but their views do not fit one relative pose"
    )
    raise UserError(
        f"the cameras fall into groups that are not linked: {named}; {together}. Film the board, tilted and moving "
        f"slowly, where one camera of each group sees it at once, for example {first} and {second}, for at least 10 "
        "moments; if they did see it together, check their time stamps."
    )


def short_recordings(table: BoardTable) -> list[str]:
    """A warning for each camera that stopped seeing the board long before the others."""
    time_s = table.time_s - table.offset_s[table.camera]
    last = np.array([time_s[table.camera == camera].max() for camera in range(len(table.camera_ids))])
    first, end = time_s.min(), last.max()
    return [
        f"camera {table.camera_ids[camera]} has no board view after {last[camera] - first:.1f} s of {end - first:.1f} "
        "s: if its video was cut short, copy it again"
        for camera in np.flatnonzero(end - last > _SHORT * (end - first))
    ]


def _board_name(board: Board) -> str:
    kind = f"{board.columns}x{board.rows} {board.type}"
    return f"{kind} of {board.dictionary}" if board.dictionary else kind


def _rejections(detections: Detections, camera_ids: tuple[str, ...]) -> str:
    counts: dict[str, int] = {}
    for camera_id in camera_ids:
        for reason, count in detections.rejected.get(camera_id, {}).items():
            counts[reason] = counts.get(reason, 0) + count
    if not counts:
        return "no image held one"
    return ", ".join(f"{count} rejected for {reason}" for reason, count in sorted(counts.items(), key=lambda c: -c[1]))


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
