"""Colours of a mesh, kept in small triangles of texels on each of its faces, so that no unwrapping is needed.

A face is cut along its barycentric coordinates of the second and third vertex, u and v, into PARTS by PARTS cells, of
which those with u + v < 1 count. The idea is that of C. Yuksel, J. Keyser and D. H. House, "Mesh colors", ACM
Transactions on Graphics 29(2), 2010, with the nearest texel taken.
"""

import numpy as np

PARTS = 8
TEXELS = PARTS * (PARTS + 1) // 2
RELIEF_M = 1.2e-3
"""Height of the relief from texel value 0 to 255."""

_ROWS, _COLUMNS = np.array([(i, j) for i in range(PARTS) for j in range(PARTS - i)]).T
TEXEL_WEIGHTS = np.stack(
    [1 - (_ROWS + _COLUMNS + 2 / 3) / PARTS, (_ROWS + 1 / 3) / PARTS, (_COLUMNS + 1 / 3) / PARTS], axis=1
).astype(np.float32)
"""(TEXELS, 3): barycentric weights of the texels' centres (of the cell's lower half)."""

# The first vertex's weight takes the third's place.
_FLIPPED = [i * PARTS - i * (i - 1) // 2 + PARTS - 1 - i - j for i, j in zip(_ROWS, _COLUMNS, strict=True)]
_ROW_STARTS = np.array([i * PARTS - i * (i - 1) // 2 for i in range(PARTS)], dtype=np.int32)


def at_texels(values: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Values (N, C) at vertices, interpolated to all texels: (F, TEXELS, C)."""
    return TEXEL_WEIGHTS @ np.asarray(values, dtype=np.float32)[faces]


def flipped(texels: np.ndarray) -> np.ndarray:
    """Texels (F, TEXELS, ...) of faces whose first and third vertex have changed places."""
    return np.ascontiguousarray(texels[:, _FLIPPED])


def texel_index(face: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Row (R,) of each point in texels of shape (F * TEXELS, ...), from its face (R,) and barycentrics (R, 2)."""
    cells = (uv * PARTS).astype(np.int32)
    row = np.minimum(cells[:, 0], PARTS - 1)
    column = np.minimum(cells[:, 1], PARTS - 1 - row)
    return face * TEXELS + _ROW_STARTS.take(row) + column


def pack(albedo: np.ndarray, height_m: np.ndarray) -> np.ndarray:
    """Texels (F, TEXELS, 4) uint8 from linear albedo (F, TEXELS, 3) in 0..1 and heights (F, TEXELS) in metres."""
    texels = np.empty((*albedo.shape[:2], 4), dtype=np.uint8)
    texels[..., :3] = np.sqrt(np.clip(albedo, 0, 1)) * 255 + 0.5
    texels[..., 3] = np.clip(height_m / RELIEF_M + 0.5, 0, 1) * 255
    return texels
