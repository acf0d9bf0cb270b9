"""Plots in a camera's image: where the board was seen, how the errors point, and how they differ by region."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from calibration.image_cells import GRID, cell_counts, cells_of
from calibration.report.canvas import INK, MUTED, POOR, camera_colour, dots, drawing, image_axes, lines, safe_name
from calibration.result.result import ViewResiduals

_MOST_DOTS = 2500
_MOST_ARROWS = 2500
_LEAST_IN_FIELD = 6
_NEVER = "#f3f5f7"
_BLUES = LinearSegmentedColormap.from_list("coverage", ["#eaf3fa", "#a9d0ea", "#4c9ccf", "#0b6fb8", "#08406e"])
_WARM = LinearSegmentedColormap.from_list("error", ["#f4f8ef", "#fbe7b2", "#f3a95f", "#d6553c", "#8e1d22"])


def coverage_plot(camera_id: str, views: Sequence[ViewResiduals], size: tuple[int, int], width: int, most: int) -> str:
    """Corners by image field; `most` is the count of the darkest colour, the same for all cameras."""
    corners = _stack([view.corners_px for view in views])
    counts = cell_counts(corners, size)
    step_x, step_y = size[0] / GRID[1], size[1] / GRID[0]
    name = safe_name(camera_id)
    with drawing(f"coverage-{name}", width, width * size[1] / size[0], f"coverage of the image of {name}") as drawn:
        axes = image_axes(drawn, size)
        for (row, column), count in np.ndenumerate(counts):
            corner = (column * step_x - 0.5, row * step_y - 0.5)
            colour = _BLUES(np.sqrt(count / max(most, 1))) if count else _NEVER
            axes.add_patch(Rectangle(corner, step_x, step_y, facecolor=colour, edgecolor="#ffffff", linewidth=1))
        dots(axes, _thinned(corners, _MOST_DOTS), 1.5, edgecolor=INK, alpha=0.35)
    return drawn.svg


def residual_plot(
    camera_id: str, index: int, views: Sequence[ViewResiduals], size: tuple[int, int], width: int, scale: float
) -> str:
    """Errors of all corners as lines, `scale` times their length, with the mean error of each image field in bold."""
    corners, residuals = _stack([view.corners_px for view in views]), _stack([view.residuals_px for view in views])
    name = safe_name(camera_id)
    with drawing(f"residuals-{name}", width, width * size[1] / size[0], f"residuals in the image of {name}") as drawn:
        axes = image_axes(drawn, size)
        if not len(corners):
            return drawn.svg
        length = np.linalg.norm(residuals, axis=1)
        far = length > 5 * max(float(np.median(length)), 1e-6)
        for chosen, colour, alpha in ((~far, camera_colour(index), 0.45), (far, POOR, 0.8)):
            starts, vectors = (_thinned(part[chosen], _MOST_ARROWS) for part in (corners, residuals))
            lines(axes, starts, starts + scale * vectors, edgecolor=colour, alpha=alpha, linewidth=1)
            dots(axes, starts, 1.8, edgecolor=colour, alpha=alpha)
        centres, means = _field_means(corners[~far], residuals[~far], size)
        lines(axes, centres, centres + scale * means, edgecolor=INK, linewidth=2.2, capstyle="round")
        dots(axes, centres, 5, edgecolor=INK)
    return drawn.svg


def _field_means(corners: np.ndarray, residuals: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Centre of the corners and mean residual, each (n, 2), of every image field that has enough of both."""
    cell = cells_of(corners, size)
    enough = [own for own in (cell == number for number in range(GRID[0] * GRID[1])) if own.sum() >= _LEAST_IN_FIELD]
    means = [[corners[own].mean(axis=0), residuals[own].mean(axis=0)] for own in enough]
    centres, mean = np.swapaxes(np.reshape(means, (-1, 2, 2)), 0, 1)
    return centres, mean


def region_plot(camera_id: str, region_rmse_px: np.ndarray, size: tuple[int, int], width: int, most_px: float) -> str:
    """RMSE (3, 3) by image region; `most_px` is the error of the darkest colour, the same for all cameras."""
    name = safe_name(camera_id)
    step_x, step_y = size[0] / 3, size[1] / 3
    with drawing(f"regions-{name}", width, width * size[1] / size[0], f"error by image region of {name}") as drawn:
        axes = image_axes(drawn, size)
        for (row, column), error_px in np.ndenumerate(np.asarray(region_rmse_px)):
            known = bool(np.isfinite(error_px))
            share = min(error_px / most_px, 1.0) if known else 0.0
            corner = (column * step_x - 0.5, row * step_y - 0.5)
            colour = _WARM(share) if known else "#ffffff"
            axes.add_patch(Rectangle(corner, step_x, step_y, facecolor=colour, edgecolor="#ffffff", linewidth=1.5))
            axes.text(
                corner[0] + step_x / 2,
                corner[1] + step_y / 2,
                f"{error_px:.2f}" if known else "not seen",
                ha="center",
                va="center_baseline",
                color=("#ffffff" if share > 0.65 else INK) if known else MUTED,
                fontsize=13 if known else 11,
            )
    return drawn.svg


def nice_scale(residuals_px: np.ndarray, size: tuple[int, int]) -> float:
    """A round factor that draws a residual of three times the median as about a twentieth of the image's width."""
    if not len(residuals_px):
        return 1.0
    long_px = 3 * float(np.median(np.linalg.norm(residuals_px, axis=1)))
    wanted = size[0] / 20 / max(long_px, 1e-6)
    tens = 10 ** np.floor(np.log10(wanted))
    return float(max((step * tens for step in (1, 2, 5) if step * tens <= wanted), default=tens))


def _stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if len(parts) else np.zeros((0, 2))


def _thinned(points: np.ndarray, most: int) -> np.ndarray:
    """Every k-th, so that at most `most` remain."""
    return points[:: max(1, -(-len(points) // most))]
