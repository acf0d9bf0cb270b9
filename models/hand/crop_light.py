"""Crops of dark and of noisy pictures, made as networks know theirs: bright enough, and without the noise."""

import cv2
import numpy as np

_DARK, _BRIGHT = 110, 150
"""Of 255, which the brightest fiftieth of a crop's pixels reach; on well-lit real footage 190, of one in twenty crops
less than 140."""
_MOST_GAIN = 8.0
_NOISY = 4
"""Second difference along a row, the median of its size. Well-lit real footage has 1, with the noise of an eighth of
the light 8. From here on smoothing helps a landmark network more than it costs."""
_SMOOTH_PX = 0.7
_STEP_PX = 16


def well_lit(crop: np.ndarray) -> np.ndarray:
    """A crop (S, S, 3) uint8, BGR or RGB: itself where it is bright and clean, else a new one with its brightest parts
    as bright as usual and, where it is noisy, smoothed."""
    brightest = np.sort(crop[::_STEP_PX, ::_STEP_PX].max(axis=2), axis=None)
    level = brightest[len(brightest) * 49 // 50]
    noisy = is_noisy(crop)
    if 0 < level < _DARK:
        crop = cv2.convertScaleAbs(crop, alpha=min(_BRIGHT / float(level), _MOST_GAIN))
    return cv2.GaussianBlur(crop, (3, 3), _SMOOTH_PX) if noisy else crop


def is_noisy(crop: np.ndarray) -> bool:
    """By every eighth row: edges are few, and noise is everywhere."""
    rows = crop[_STEP_PX // 4 :: _STEP_PX // 2, :, 1].astype(np.int16)
    bend = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:])
    return bool(np.bincount(bend.ravel(), minlength=_NOISY)[:_NOISY].sum() * 2 < bend.size)
