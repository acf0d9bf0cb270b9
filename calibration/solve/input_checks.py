"""What makes a calibration impossible, told before or while it is tried."""

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.solve.pair_graph import shared_views
from calibration.solve.view_poses import facing
from calibration.solve.view_table import BoardTable


def check_detections(detections: Detections, board: Board, camera_ids: tuple[str, ...]) -> None:
    """Raises UserError where no board was seen, or not by two cameras, or by none of one camera's images."""
    seen = [camera_id for camera_id in camera_ids if detections.views.get(camera_id)]
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


def check_mirrored(table: BoardTable) -> None:
    """Raises UserError where a camera shows the board as a mirror does."""
    turn = facing(table)
    for number, camera_id in enumerate(table.camera_ids):
        own = turn[(table.camera == number) & (turn != 0)]
        if len(own) and (own < 0).mean() > 0.5:
            raise UserError(
                f"camera `{camera_id}`: the board appears mirrored in {int((own < 0).sum())} of {len(own)} images. "
                'No lens does that: turn off mirroring ("flip", "selfie view") in the camera\'s settings or driver '
                "and record again, or flip its video (x becomes width - 1 - x)."
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
