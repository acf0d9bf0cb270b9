"""The board's plane as a camera sees it: a homography, and a bend that stands for the lens."""

from dataclasses import dataclass

import cv2
import numpy as np

from calibration.board.markers import MarkerLayout, Markers

_LEAST_APART_PX = 0.7
_ROBUST_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class PlaneFit:
    """Markers that agree with one plane seen by the camera.

    `bend_px` (K, 2) is how the lens bends the plane, a polynomial of the place on the board about `middle_m`, in units
    of `scale_m`. `markers_m` (M, 2) are the markers' centres, `rmse_px` what the plane alone leaves over.
    """

    layout: MarkerLayout
    H_px_board: np.ndarray
    bend_px: np.ndarray
    middle_m: np.ndarray
    scale_m: float
    markers_m: np.ndarray
    rmse_px: float

    @property
    def markers(self) -> int:
        return len(self.markers_m)

    def predict(self, points_board_m: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of points (n, 2) on the board."""
        terms = _bend_terms((points_board_m - self.middle_m) / self.scale_m, len(self.bend_px))
        return apply_homography(self.H_px_board, points_board_m) + terms @ self.bend_px


def _bend_terms(at: np.ndarray, count: int) -> np.ndarray:
    """The first `count` terms (n, count) of a polynomial of third degree at places (n, 2)."""
    x, y = at.T
    terms = [np.ones_like(x), x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3]
    return np.stack(terms[:count], axis=1)


def fit_markers(markers: Markers, layout: MarkerLayout) -> PlaneFit | None:
    """The plane most markers agree with; None where too few do."""
    ids, in_layout, in_markers = np.intersect1d(layout.ids, markers.ids, return_indices=True)
    if not len(ids):
        return None
    at, seen = layout.corners_board_m[in_layout], markers.corners_px[in_markers]
    side_px = np.median(np.linalg.norm(seen - np.roll(seen, 1, axis=1), axis=2))
    tolerance = max(3.0, 0.25 * float(side_px))
    H, _ = cv2.findHomography(at.reshape(-1, 2), seen.reshape(-1, 2), cv2.RANSAC, tolerance, maxIters=500)
    if H is None:
        return None
    residual = seen - apply_homography(H, at.reshape(-1, 2)).reshape(seen.shape)
    agrees = np.linalg.norm(residual, axis=2).max(axis=1) < 2 * tolerance
    # The wrong one of two layouts still fits half of the markers.
    if not agrees.any() or 3 * agrees.sum() < 2 * len(ids):
        return None
    count = int(agrees.sum())
    middle, scale = at[agrees].mean(axis=(0, 1)), float(np.ptp(at[agrees].reshape(-1, 2), axis=0).max())
    terms = _bend_terms((at[agrees].reshape(-1, 2) - middle) / scale, 10 if count >= 12 else 6 if count >= 6 else 1)
    bend = np.linalg.lstsq(terms, residual[agrees].reshape(-1, 2), rcond=None)[0]
    rmse_px = float(np.sqrt((residual[agrees] ** 2).sum(axis=-1).mean()))
    return PlaneFit(
        layout=layout,
        H_px_board=H,
        bend_px=bend,
        middle_m=middle,
        scale_m=scale,
        markers_m=at[agrees].mean(axis=1),
        rmse_px=rmse_px,
    )


def is_ambiguous(best: PlaneFit, fits: list[PlaneFit]) -> bool:
    """Whether another layout fits about as well: markers of one row alone do not tell layouts apart."""
    likely = 3 * best.rmse_px + 0.5
    return any(fit is not best and fit.markers == best.markers and fit.rmse_px < likely for fit in fits)


def lie_smoothly(corners_px: np.ndarray, at_squares: np.ndarray, good: np.ndarray, square_px: float) -> np.ndarray:
    """(n,) whether each corner lies where the good ones put it: a plane seen by the camera, and a bend by the lens.

    The bend is a polynomial of the place on the board, of a degree that the number of corners supports.
    """
    if good.sum() < 6:
        return good
    H, _ = cv2.findHomography(at_squares[good], corners_px[good], cv2.RANSAC, max(3.0, 0.15 * square_px))
    if H is None:
        return np.zeros(len(good), dtype=bool)
    residual = corners_px - apply_homography(H, at_squares)
    terms = 10 if good.sum() >= 30 else 6 if good.sum() >= 12 else 3 if good.sum() >= 8 else 1
    terms = _bend_terms((at_squares - at_squares.mean(axis=0)) / np.ptp(at_squares, axis=0).max(), terms)
    weights, apart = good.astype(np.float64), np.zeros(len(good))
    for _ in range(_ROBUST_STEPS):
        bend = np.linalg.lstsq(terms * weights[:, None], residual * weights[:, None], rcond=None)[0]
        apart = np.linalg.norm(residual - terms @ bend, axis=1)
        weights = good / np.sqrt(np.maximum(apart, 0.1))
    return good & (apart < max(_LEAST_APART_PX, 0.01 * square_px, 5 * float(np.median(apart[good]))))


def apply_homography(H: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 2) through a 3x3 homography."""
    mapped = points @ H[:, :2].T + H[:, 2]
    return mapped[:, :2] / mapped[:, 2:]
