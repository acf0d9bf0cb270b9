"""Short texts that float beside things in the scene, always facing the eye and on top."""

import numpy as np

from app.viewer.font import text_mask

_FINE = 2


def text_quads(text: str, size_px: float) -> np.ndarray:
    """Rectangles (N, 4, 2) in pixels around the text's middle that together fill its letters."""
    mask = text_mask(text, size_px * _FINE) > 0.5
    rows, columns = mask.shape
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    x0, x1 = start / _FINE - columns / 2 / _FINE, end / _FINE - columns / 2 / _FINE
    y0 = row / _FINE - rows / 2 / _FINE
    y1 = y0 + 1 / _FINE
    return np.stack([np.stack(p, axis=1) for p in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], axis=1)
