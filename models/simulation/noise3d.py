"""Smooth noise in space: a periodic lattice of random values, interpolated."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import zoom

_CELLS = 16
_FINE = 4


def noise(points_m: np.ndarray, wavelength_m: float, seed: int) -> np.ndarray:
    """Values (...) float32 of about unit deviation at points (..., 3), which change over about `wavelength_m`."""
    rng = np.random.default_rng(seed)
    side = _CELLS * _FINE
    cells = points_m * np.float32(2 * _FINE / wavelength_m) + rng.uniform(side, 2 * side, 3).astype(np.float32)
    # Truncation rounds down because the offset keeps cells positive for points within metres of the origin.
    x, y, z = np.moveaxis(cells.astype(np.int32) & (side - 1), -1, 0)
    return _lattice().take((x * side + y) * side + z)


def fractal(points_m: np.ndarray, wavelength_m: float, seed: int, octaves: int = 3) -> np.ndarray:
    """Sum (...) of `octaves` noises, each of half the wavelength and half the strength; unit deviation."""
    strengths = 0.5 ** np.arange(octaves)
    total = sum(
        strength * noise(points_m, wavelength_m / 2**octave, seed + 7919 * octave)
        for octave, strength in enumerate(strengths)
    )
    return (total / np.sqrt((strengths**2).sum())).astype(np.float32)


@lru_cache(maxsize=1)
def _lattice() -> np.ndarray:
    """A cube of smooth noise, flat, whose opposite faces meet."""
    values = np.random.default_rng(17).standard_normal((_CELLS,) * 3)
    fine = np.asarray(zoom(values, _FINE, order=3, mode="grid-wrap", grid_mode=True))
    return (fine / fine.std()).astype(np.float32).ravel()
