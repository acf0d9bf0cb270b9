"""A picture of a rig: where its cameras stand, and how many of them see each place."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from calibration.report.canvas import INK, MUTED, camera_colour
from calibration.report.rig_plots import upright_axes
from calibration.rig import Rig
from calibration.written_files import write_atomic

_ACROSS = 121
_MARGIN = 0.15
_LEADS_BACK = 0.02
_COLOURS = ("#ffffff", "#eceff2", "#cfe3f3", "#a5cdea", "#76b2de", "#4795cd", "#2578b4", "#125b93", "#083f6b")


def count_views(rig: Rig, points_world_m: np.ndarray) -> np.ndarray:
    """How many cameras have each point (..., 3), world metres, in their images, hidden there or not: (...) int."""
    seen = np.zeros(points_world_m.shape[:-1], int)
    for camera in rig.cameras:
        T_cam_world = camera.T_cam_world
        points_cam_m = points_world_m @ T_cam_world[:3, :3].T + T_cam_world[:3, 3]
        pixels = camera.camera.project(points_cam_m)
        fits = (pixels >= 0) & (pixels <= np.array([camera.camera.width, camera.camera.height]) - 1)
        inside = np.asarray(fits.all(axis=-1))
        # A lens model may put what lies far outside into the image again: there it does not lead back.
        back = camera.camera.undistort(pixels[inside])
        rays = points_cam_m[inside][:, :2] / points_cam_m[inside][:, 2:]
        inside[inside] = np.linalg.norm(back - rays, axis=-1) < _LEADS_BACK * (1 + np.linalg.norm(rays, axis=-1))
        seen += inside
    return seen


def looked_at_world_m(rig: Rig) -> np.ndarray:
    """The point (3,) that is nearest to all optical axes, in world metres."""
    normal, right = 1e-9 * np.eye(3), np.zeros(3)
    for camera in rig.cameras:
        axis = camera.T_cam_world[2, :3]
        across = np.eye(3) - np.outer(axis, axis)
        normal += across
        right += across @ camera.centre_world_m
    return np.linalg.solve(normal, right)


def write_rig_picture(path: Path, rig: Rig) -> None:
    """A PNG of two planes through the point that all look at, one level and one upright, with the cameras. Atomic."""
    upright, middle = upright_axes(rig), looked_at_world_m(rig)
    centres = (np.array([camera.centre_world_m for camera in rig.cameras]) - middle) @ upright.T
    gaze = np.array([camera.T_cam_world[2, :3] for camera in rig.cameras]) @ upright.T
    reach = (1 + _MARGIN) * float(np.abs(centres).max())
    with mpl.rc_context({"font.size": 10, "text.color": INK, "axes.labelcolor": MUTED}):
        figure = Figure(figsize=(9.6, 4.6), dpi=100, facecolor="white", layout="constrained")
        planes = ("from above", (0, 1)), ("from the side", (0, 2))
        for axes, (title, across) in zip(figure.subplots(1, 2), planes, strict=True):
            steps = np.linspace(-reach, reach, _ACROSS)
            points = np.zeros((_ACROSS, _ACROSS, 3))
            points[..., across[0]], points[..., across[1]] = np.meshgrid(steps, steps)
            image = _draw_counts(axes, count_views(rig, points @ upright + middle), reach, len(rig.cameras))
            _draw_cameras(axes, rig.camera_ids, centres[:, across], gaze[:, across], 0.12 * reach)
            axes.set(title=title, xlabel="metres", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ticks = range(len(rig.cameras) + 1)
        figure.colorbar(image, ax=figure.axes, ticks=list(ticks), label="cameras that see a place", shrink=0.85)
        FigureCanvasAgg(figure)
        write_atomic(path, _png(figure))


def _draw_counts(axes: Axes, seen: np.ndarray, reach: float, cameras: int):
    colours = ListedColormap(_COLOURS[: cameras + 1])
    steps = BoundaryNorm(np.arange(-0.5, cameras + 1), colours.N)
    return axes.imshow(seen, origin="lower", extent=(-reach, reach, -reach, reach), cmap=colours, norm=steps)


def _draw_cameras(axes: Axes, names: Sequence[str], places: np.ndarray, gaze: np.ndarray, length: float) -> None:
    for index, (name, place, towards) in enumerate(zip(names, places, gaze, strict=True)):
        colour = camera_colour(index)
        axes.plot(*place, "o", color=colour, markersize=6)
        axes.plot(*np.stack([place, place + length * towards]).T, color=colour, linewidth=2)
        axes.annotate(name, place, (5, 5), textcoords="offset points", color=colour)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
