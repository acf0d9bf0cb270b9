"""An image divided into cells, to tell where in it something was seen."""

import numpy as np

GRID = (6, 8)
"""Rows and columns in which coverage is counted."""


def cells_of(points_px: np.ndarray, image_size: tuple[int, int], grid: tuple[int, int] = GRID) -> np.ndarray:
    """Indices (n,) into the cells of the grid, row by row, of points (n, 2) within the image (width, height)."""
    rows, columns = grid
    column = np.clip((points_px[:, 0] + 0.5) * columns // image_size[0], 0, columns - 1)
    row = np.clip((points_px[:, 1] + 0.5) * rows // image_size[1], 0, rows - 1)
    return (row * columns + column).astype(int)


def cell_counts(points_px: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """How many points (n, 2) lie in each cell of GRID: (rows, columns)."""
    return np.bincount(cells_of(points_px, image_size), minlength=GRID[0] * GRID[1]).reshape(GRID)
