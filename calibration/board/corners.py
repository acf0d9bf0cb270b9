"""Corners of a board to a fraction of a pixel, with how sharp and how bright the board is."""

from dataclasses import dataclass

import cv2
import numpy as np

_STEPS = 6
_STILL_PX = 0.02
_LEAST_SAMPLES, _MOST_SAMPLES = 11, 37
_REACH_PX = 18.0
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class RefinedCorners:
    """Corners (n, 2) in pixels and what was seen around them.

    `moved_px` (n,) is how far each lies from where it was expected, `saddle` (n,) how much of the board's contrast it
    shows in the expected sign (1: a full black and white crossing, 0: none). `contrast` is bright minus dark in grey
    levels, `noise` the standard deviation of the image's noise, `edge_px` (2,) the width of the edges between squares
    across the columns and across the rows.
    """

    corners_px: np.ndarray
    moved_px: np.ndarray
    saddle: np.ndarray
    contrast: float
    noise: float
    edge_px: np.ndarray


def refine_corners(
    gray: np.ndarray, corners_px: np.ndarray, axes_px: np.ndarray, signs: np.ndarray, reach: float, band: float
) -> RefinedCorners:
    """Refine crossings of black and white squares.

    Args:
        gray: image (H, W) uint8 or float32.
        corners_px: (n, 2) expected corners.
        axes_px: (n, 2, 2) image vectors of one square along x (axes_px[:, 0]) and y (axes_px[:, 1]) at each corner.
        signs: (n,) +1 where the square at negative x and negative y is dark, else -1.
        reach: how far, in squares, the edges go on from a corner undisturbed.
        band: half the width, in squares, of the strips along the edges that show nothing but the edge.

    Each corner is the point that the edges through it point at (W. Förstner and E. Gülch, "A fast operator for
    detection and precise location of distinct points, corners and centres of circular features", 1987), over strips
    along the four edges that leave out the markers. The patches are sampled in the board's axes, so foreshortened
    squares are used whole.
    """
    square_px = float(np.median(np.linalg.norm(axes_px, axis=2)))
    reach = min(reach, _REACH_PX / max(square_px, 1e-6))
    side = int(np.clip(2 * round(reach * square_px) + 1, _LEAST_SAMPLES, _MOST_SAMPLES))
    line = np.linspace(-reach, reach, side)
    u, v = np.meshgrid(line, line)
    grid = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float32)
    band = min(max(band, 2.5 / max(square_px, 1e-6)), 0.7 * reach)
    weights = _strips(u / reach, v / reach, band / reach)
    points = np.array(corners_px, dtype=np.float64)
    image, origin = _part(gray, points, 2 * np.abs(axes_px).max())
    points -= origin
    patches = np.zeros((len(points), side, side), dtype=np.float32)
    for _ in range(_STEPS):
        patches = _sample(image, points, axes_px, grid)
        step_px = np.einsum("na,nab->nb", _crossing(patches, line, weights), axes_px)
        points = points + step_px
        if np.abs(step_px).max(initial=0.0) < _STILL_PX:
            break
    points += origin
    dark, bright = np.percentile(patches[:, ::2, ::2], [10, 90]) if patches.size else (0.0, 0.0)
    contrast = float(bright - dark)
    return RefinedCorners(
        corners_px=points,
        moved_px=np.linalg.norm(points - corners_px, axis=1),
        saddle=_saddle(patches * signs[:, None, None], u, v, band) / max(contrast, 1.0),
        contrast=contrast,
        noise=_noise(image),
        edge_px=_edge_widths(patches, line, band, contrast) * np.median(np.linalg.norm(axes_px, axis=2), axis=0),
    )


def _noise(image: np.ndarray) -> float:
    """Standard deviation of an image's noise (J. Immerkær, "Fast noise variance estimation", CVIU 1996), by the median
    instead of the mean, so that edges count little."""
    if min(image.shape) < 3:
        return 0.0
    curved = cv2.filter2D(image, -1, _NOISE_KERNEL)[1:-1:2, 1:-1:2]
    return float(np.median(np.abs(curved)) / 0.6745 / 6)


def _part(gray: np.ndarray, points: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image around the points as float32, and the pixel (2,) of its first column and row."""
    if not len(points):
        return np.zeros((1, 1), dtype=np.float32), np.zeros(2)
    left, top = np.maximum(np.floor(points.min(axis=0) - room), 0).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + room).astype(int)
    return gray[top:bottom, left:right].astype(np.float32), np.array([left, top], dtype=np.float64)


def _strips(u: np.ndarray, v: np.ndarray, band: float) -> np.ndarray:
    """Weights (S, S): strips along both axes of a patch from -1 to 1, fading to their sides and to the ends."""
    across = np.minimum(np.abs(u), np.abs(v)) / band
    along = np.maximum(np.abs(u), np.abs(v))
    fade = np.clip(2 - 2 * across, 0, 1)
    return fade * np.clip(4 * (1 - along), 0, 1)


def _sample(image: np.ndarray, points: np.ndarray, axes: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Values (n, S, S) at places `grid` (S * S, 2), in axes (n, 2, 2) about points (n, 2)."""
    at = grid @ axes.astype(np.float32)
    at += points.astype(np.float32)[:, None]
    values = cv2.remap(image, at, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    side = round(len(grid) ** 0.5)
    return values.reshape(len(points), side, side)


def _crossing(patches: np.ndarray, line: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where the edges of each patch cross, (n, 2) in squares from its centre."""
    du = patches[:, 1:-1, 2:] - patches[:, 1:-1, :-2]
    dv = patches[:, 2:, 1:-1] - patches[:, :-2, 1:-1]
    inner, line = weights[1:-1, 1:-1].astype(np.float32), line[1:-1]
    terms = np.stack([du * du, du * dv, dv * dv]).reshape(3, len(patches), -1)
    at_u, at_v = inner * line[None, :], inner * line[:, None]
    sums = terms @ np.stack([inner, at_u, at_v]).reshape(3, -1).T.astype(np.float32)
    a, b, c = sums[..., 0].astype(np.float64)
    right_u, right_v = sums[0, :, 1] + sums[1, :, 2], sums[1, :, 1] + sums[2, :, 2]
    determinant = a * c - b * b
    safe = determinant > 1e-3 * (a + c) ** 2 / 4
    determinant = np.where(safe, determinant, 1.0)
    shift = np.stack([c * right_u - b * right_v, a * right_v - b * right_u], axis=1) / determinant[:, None]
    return np.where(safe[:, None], np.clip(shift, line[0], line[-1]), 0.0)


def _saddle(patches: np.ndarray, u: np.ndarray, v: np.ndarray, band: float) -> np.ndarray:
    """(n,) the darkest of the two squares that should be bright, less the brightest of those that should be dark.

    Patches whose first square should be bright come negated. The weakest square decides: a finger over one of the
    four is enough to spoil a corner.
    """
    near = (np.abs(u) < 1.6 * band) & (np.abs(v) < 1.6 * band)
    level = {(i, j): patches[:, near & (i * u > 0.02) & (j * v > 0.02)].mean(axis=1) for i in (-1, 1) for j in (-1, 1)}
    return np.minimum(level[-1, 1], level[1, -1]) - np.maximum(level[-1, -1], level[1, 1])


def _edge_widths(patches: np.ndarray, line: np.ndarray, band: float, contrast: float) -> np.ndarray:
    """Widths (2,) in squares of edges across x and across y: contrast over the steepest slope, median over corners."""
    part = np.abs(line) / line[-1]
    along, across = (part > 0.3) & (part < 0.95), np.abs(line) <= band + (line[1] - line[0])
    side = np.sign(line[along])[:, None]
    widths = []
    for turned in (patches, patches.transpose(0, 2, 1)):
        profiles = (turned[:, along][:, :, across] * side).mean(axis=1)
        slope = np.abs(np.diff(profiles, axis=1)).max(axis=1) / (line[1] - line[0])
        widths.append(np.median(contrast / np.maximum(slope, 1e-6)) if len(slope) else np.inf)
    return np.array(widths)
