"""Joints that a network estimated, moved so that the bones have the person's lengths.

The least of  sum_j (x_j - m_j)' C_j^-1 (x_j - m_j) + sum_l ((|x_a - x_b| - L_l) / s_l)^2  over the joints x, for
estimates m with covariances C and bones of L +- s; Gauss-Newton's steps from m.
"""

import numpy as np

from models.hand.bone_lengths import LINKS

_STEPS = 3
_LEAST_STD_M = 0.001


def fit_bones(joints_m: np.ndarray, covariance_m2: np.ndarray, lengths_m: np.ndarray, stds_m: np.ndarray) -> np.ndarray:
    """Joints (21, 3) for estimates (21, 3) with covariances (21, 3, 3); lengths and stds (L,) of LINKS, metres."""
    count = len(joints_m)
    information = np.linalg.inv(covariance_m2 + _LEAST_STD_M**2 * np.eye(3))
    fixed = np.zeros((count, 3, count, 3))
    fixed[np.arange(count), :, np.arange(count)] = information
    first, second = LINKS.T
    weights = 1 / stds_m**2
    fitted_m = joints_m
    for _ in range(_STEPS):
        apart_m = fitted_m[second] - fitted_m[first]
        found_m = np.maximum(np.linalg.norm(apart_m, axis=1), 1e-6)
        along = apart_m / found_m[:, None]
        block = weights[:, None, None] * along[:, :, None] * along[:, None, :]
        pull = (weights * (lengths_m - found_m))[:, None] * along
        A, b = fixed.copy(), np.einsum("jab,jb->ja", information, joints_m - fitted_m)
        for link, (one, other) in enumerate(zip(first, second, strict=True)):
            A[one, :, one] += block[link]
            A[other, :, other] += block[link]
            A[one, :, other] -= block[link]
            A[other, :, one] -= block[link]
            b[one] -= pull[link]
            b[other] += pull[link]
        fitted_m = fitted_m + np.linalg.solve(A.reshape(3 * count, 3 * count), b.ravel()).reshape(count, 3)
    return fitted_m
