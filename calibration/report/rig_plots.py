"""Plots of the rig: cameras and boards in space, and which cameras saw the board together."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.patches import Polygon

from calibration.board.board import Board
from calibration.report.canvas import INK, LINE, MUTED, POOR, camera_colour, drawing, lines, text_room
from calibration.result.result import CalibrationResult
from calibration.rig import Rig, RigCamera

_MOST_BOARDS = 60
_WIDEST = 1.3
FEW_SHARED = 8
_MOST_LABELLED = 5


def upright_axes(rig: Rig) -> np.ndarray:
    """Rotation (3, 3) from the world to axes with z up, x along the rig's longest horizontal extent.

    Up is across the rows of the cameras' images, which a camera that stands upright holds level, and where the images
    have theirs on average: the world frame itself need not know.
    """
    rows = np.array([camera.T_cam_world[0, :3] for camera in rig.cameras])
    mean = -np.mean([camera.T_cam_world[1, :3] for camera in rig.cameras], axis=0)
    up = np.linalg.eigh(rows.T @ rows / len(rows) - 0.01 * np.outer(mean, mean))[1][:, 0]
    up = up if up @ mean >= 0 else -up
    centres = np.array([camera.centre_world_m for camera in rig.cameras])
    flat = centres - centres.mean(axis=0)
    flat = flat - np.outer(flat @ up, up)
    along = np.linalg.svd(flat)[2][0]
    along = along - (along @ up) * up
    if np.linalg.norm(along) < 1e-6:
        along = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    along /= np.linalg.norm(along)
    along *= np.sign(along[np.argmax(np.abs(along))])
    return np.stack([along, np.cross(up, along), up])


def rig_plot(result: CalibrationResult, width: int, height: int, from_above: bool) -> str:
    """Cameras as frusta with the boards between them: from the side at an angle, or from straight above."""
    rig, upright = result.rig, upright_axes(result.rig)
    boards = list(_board_outlines(result.board, result.board_poses))
    depth = _frustum_depth(rig, boards)
    frusta = [_frustum(camera, depth) for camera in rig.cameras]
    view = upright if from_above else _side_view(upright, np.array([camera.centre_world_m for camera in rig.cameras]))
    everything = np.concatenate([*boards, *frusta])
    world = np.concatenate([np.zeros((1, 3)), 0.8 * depth * np.eye(3)])
    middle, reach = everything.mean(axis=0), float(np.linalg.norm(np.ptp(everything, axis=0)))
    world_is_near = float(np.linalg.norm(middle)) < reach
    if world_is_near:
        everything = np.concatenate([everything, world])
    name = "from above" if from_above else "from the side"
    with drawing(f"rig-{'above' if from_above else 'side'}", width, height, f"the rig {name}") as drawn:
        axes = drawn.axes(4, 30, 4, 4)
        _fit(axes, (everything @ view.T)[:, :2], width - 8, height - 34)
        for outline in boards:
            flat = (outline @ view.T)[:, :2]
            axes.add_patch(Polygon(flat, facecolor="#8fa3b5", edgecolor="#5d7286", alpha=0.13, linewidth=0.8))
        for index, (camera, corners) in enumerate(zip(rig.cameras, frusta, strict=True)):
            _draw_camera(axes, camera, corners, view, camera_colour(index))
        if world_is_near:
            for tip, colour in zip(world[1:], ("#c0362c", "#1a7f4b", "#0b6fb8"), strict=True):
                ends = np.stack([world[0], tip]) @ view.T
                axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=1.6, alpha=0.8, solid_capstyle="round")
        _scale_bar(axes, name)
    return drawn.svg


def _side_view(upright: np.ndarray, centres_world_m: np.ndarray) -> np.ndarray:
    """Of several directions from the side, the one that keeps the cameras' centres (n, 3) best apart."""

    def least_gap(view: np.ndarray) -> float:
        flat = (centres_world_m @ view.T)[:, :2]
        gaps = np.linalg.norm(flat[:, None] - flat, axis=-1)
        return float(gaps[np.triu_indices(len(flat), 1)].min(initial=np.inf))

    views = [_tilted(np.radians(turn), np.radians(24)) @ upright for turn in (-28, -15, -40, 15, 28, 40, -55, 55)]
    return max(views, key=least_gap)


def _tilted(turn: float, elevation: float) -> np.ndarray:
    """Turn about the vertical, then look down at an angle: image x, image y (up), towards the eye."""
    c, s = np.cos(turn), np.sin(turn)
    around = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(elevation), np.sin(elevation)
    return np.array([[1, 0, 0], [0, s, c], [0, -c, s]]) @ around


def _board_outlines(board: Board, poses: Mapping[int, np.ndarray]) -> Iterable[np.ndarray]:
    """Corners (4, 3) in the world, metres, of boards spread evenly over time."""
    width, height = (count * side for count, side in zip((board.columns, board.rows), board.squares_m, strict=True))
    outline = np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]])
    times = sorted(poses)
    for time_ns in times[:: max(1, -(-len(times) // _MOST_BOARDS))]:
        T_world_board = poses[time_ns]
        yield outline @ T_world_board[:3, :3].T + T_world_board[:3, 3]


def _frustum_depth(rig: Rig, boards: list[np.ndarray]) -> float:
    points = np.concatenate([*boards, [camera.centre_world_m for camera in rig.cameras]])
    return 0.11 * float(np.linalg.norm(np.ptp(points, axis=0)))


def _frustum(camera: RigCamera, depth_m: float) -> np.ndarray:
    """Centre and the four image corners (5, 3) in the world, metres."""
    lens = camera.camera
    corners_px = np.array([[0, 0], [lens.width - 1, 0], [lens.width - 1, lens.height - 1], [0, lens.height - 1]], float)
    rays = np.nan_to_num(lens.undistort(corners_px), nan=_WIDEST)
    # A strong lens model need not hold in the very corners.
    rays = np.clip(rays, -_WIDEST, _WIDEST)
    in_camera = np.concatenate([rays, np.ones((4, 1))], axis=1) * depth_m
    in_world = (in_camera - camera.T_cam_world[:3, 3]) @ camera.T_cam_world[:3, :3]
    return np.concatenate([camera.centre_world_m[None], in_world])


def _draw_camera(axes, camera: RigCamera, corners: np.ndarray, view: np.ndarray, colour: str) -> None:
    flat = (corners @ view.T)[:, :2]
    centre, image = flat[0], flat[1:]
    axes.add_patch(Polygon(image, facecolor=colour, edgecolor=colour, alpha=0.18, linewidth=0))
    starts = np.concatenate([np.repeat(centre[None], 4, axis=0), image])
    ends = np.concatenate([image, np.roll(image, -1, axis=0)])
    lines(axes, starts, ends, edgecolor=colour, linewidth=1.5, joinstyle="round", capstyle="round")
    axes.plot(*centre, "o", color=colour, markersize=5)
    away = centre - image.mean(axis=0)
    away = away / max(float(np.linalg.norm(away)), 1e-9)
    if abs(away).max() < 1e-6 or np.linalg.norm(centre - image.mean(axis=0)) < 1e-6:
        away = np.array([0.0, 1.0])
    align = "left" if away[0] > 0.4 else "right" if away[0] < -0.4 else "center"
    at_px = float(axes.transData.transform(centre)[0]) + 13 * away[0]
    along = _kept_within(at_px, align, text_room(camera.camera_id), axes.figure.bbox.width)
    offset = (13 * away[0] + along, 8 if along else 13 * away[1])
    axes.annotate(
        camera.camera_id, centre, offset, textcoords="offset points", color=colour, fontsize=12, fontweight="bold",
        ha=align,
        va="bottom" if along or away[1] > 0.4 else "top" if away[1] < -0.4 else "center",
    )  # fmt: skip


def _kept_within(at_px: float, align: str, room_px: float, width_px: float) -> float:
    """By how much a text of that width has to move along, to begin and end within the picture's width."""
    begin_px = at_px - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * room_px
    return min(max(begin_px, 0.0), max(width_px - room_px, 0.0)) - begin_px


def _fit(axes, points: np.ndarray, width: float, height: float) -> None:
    low, high = points.min(axis=0), points.max(axis=0)
    centre, extent = (low + high) / 2, np.maximum(high - low, 1e-6)
    per_pixel = max(extent[0] / (width - 90), extent[1] / (height - 50))
    axes.set_xlim(centre[0] - width * per_pixel / 2, centre[0] + width * per_pixel / 2)
    axes.set_ylim(centre[1] - height * per_pixel / 2, centre[1] + height * per_pixel / 2)
    axes.axis("off")


def _scale_bar(axes, name: str) -> None:
    low, high = axes.get_xlim()
    wanted = 0.22 * (high - low)
    length = max(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if step <= max(wanted, 0.01))
    bottom = axes.get_ylim()[0]
    per_pixel = (high - low) / (axes.bbox.width)
    start = low + 6 * per_pixel
    axes.plot([start, start + length], [bottom - 10 * per_pixel] * 2, color=INK, linewidth=2, clip_on=False)
    text = f"{length:g} m" if length >= 1 else f"{100 * length:g} cm"
    axes.annotate(
        f"{text}, {name}", (start + length, bottom - 10 * per_pixel), (7, 0), textcoords="offset points",
        va="center", color=MUTED, annotation_clip=False,
    )  # fmt: skip


def pair_plot(camera_ids: tuple[str, ...], shared_views: Mapping[tuple[str, str], int], width: int) -> str:
    """Cameras on a circle; a line's width and number tell at how many moments both of its cameras saw the board."""
    count = len(camera_ids)
    height = 130 if count == 2 else 300 if count <= 5 else 380
    shared = {pair: shared_views.get(pair) or shared_views.get((pair[1], pair[0]), 0) for pair in _pairs(camera_ids)}
    # Two cameras side by side, others with a flat top where their number is even.
    angles = np.pi / 2 + (np.pi / count if count % 2 == 0 else 0) - 2 * np.pi * np.arange(count) / count
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    nodes = dict(zip(camera_ids, outward * [0.34 * width, 0.5 * height - 34], strict=True))
    most, widest = max([*shared.values(), 1]), 8 if count <= 5 else 4
    with drawing("pairs", width, height, "cameras that saw the board together") as drawn:
        axes = drawn.axes()
        axes.set_xlim(-width / 2, width / 2)
        axes.set_ylim(-height / 2, height / 2)
        axes.axis("off")
        for (a, b), moments in shared.items():
            x, y = np.stack([nodes[a], nodes[b]]).T
            if not moments:
                axes.plot(x, y, color=LINE, linewidth=1, linestyle=(0, (3, 4)), zorder=1)
                continue
            colour = POOR if moments < FEW_SHARED else "#8fb4cf"
            axes.plot(x, y, color=colour, linewidth=max(1, widest * moments / most), zorder=1)
            if count > _MOST_LABELLED:
                continue
            # Not in the middle, where lines cross.
            axes.text(x[0] + 0.36 * (x[1] - x[0]), y[0] + 0.36 * (y[1] - y[0]), str(moments), fontsize=11.5, zorder=3,
                      ha="center", va="center_baseline",
                      bbox={"boxstyle": "round,pad=0.28", "facecolor": "white", "edgecolor": LINE})  # fmt: skip
        for index, ((camera_id, at), away) in enumerate(zip(nodes.items(), outward, strict=True)):
            axes.plot(*at, "o", color=camera_colour(index), markersize=15, zorder=4)
            fits = abs(at[0]) + 14 + text_room(camera_id) < width / 2
            beside = abs(away[0]) > 0.85 and count > 2 and fits
            align = ("left" if away[0] > 0 else "right") if beside else "center"
            along = 0.0 if beside else _kept_within(width / 2 + at[0], align, text_room(camera_id), width)
            axes.annotate(
                camera_id, at, (14 * np.sign(away[0]), 0) if beside else (along, 19 if away[1] > -0.1 else -19),
                textcoords="offset points", fontsize=12, fontweight="bold", color=camera_colour(index),
                ha=align, va="center_baseline",
            )  # fmt: skip
    return drawn.svg


def _pairs(camera_ids: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(a, b) for i, a in enumerate(camera_ids) for b in camera_ids[i + 1 :]]
