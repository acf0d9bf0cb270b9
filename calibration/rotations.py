"""Rotations as vectors and matrices, many at once."""

import numpy as np


def rotation_from_vector(vectors: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), radians, to matrices (..., 3, 3): Rodrigues' formula."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    small = angle < 1e-8
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1.0, np.sin(safe) / safe)
    second = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + first * K + second * (K @ K)


def rotation_angle(R: np.ndarray) -> np.ndarray:
    """Angle (...) in radians of rotations (..., 3, 3), accurate for small ones."""
    axis = np.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1)
    return np.arctan2(np.linalg.norm(axis, axis=-1), np.trace(R, axis1=-2, axis2=-1) - 1)


def nearest_rotation(M: np.ndarray) -> np.ndarray:
    """The rotation (..., 3, 3) nearest to each matrix."""
    u, _, vt = np.linalg.svd(M)
    u[..., -1] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt


def make_transform(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """4x4 transforms (..., 4, 4) from rotations and translations."""
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1.0
    return T


def inverse_transform(T: np.ndarray) -> np.ndarray:
    """Inverse of rigid transforms (..., 4, 4)."""
    Rt = np.swapaxes(T[..., :3, :3], -1, -2)
    return make_transform(Rt, (Rt @ -T[..., :3, 3:])[..., 0])
