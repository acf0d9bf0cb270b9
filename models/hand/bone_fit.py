"""Joints that a network estimated, moved so that the bones have the person's lengths.

The least of  sum_j (x_j - m_j)' C_j^-1 (x_j - m_j) + sum_l ((|x_a - x_b| - L_l) / s_l)^2  over the joints x, for
estimates m with covariances C and bones of L +- s; Gauss-Newton's steps from m.
"""

import numpy as np

from calibration.hand import JOINTS
from models.hand.bone_lengths import LINKS

_STEPS = 3
_LEAST_STD_M = 0.001
_ENDS = np.zeros((len(LINKS), JOINTS))
"""(L, 21): -1 and 1 at a bone's two joints."""
_ENDS[np.arange(len(LINKS)), LINKS[:, 0]], _ENDS[np.arange(len(LINKS)), LINKS[:, 1]] = -1, 1


def fit_bones(joints_m: np.ndarray, covariance_m2: np.ndarray, lengths_m: np.ndarray, stds_m: np.ndarray) -> np.ndarray:
    """Joints (21, 3) for estimates (21, 3) with covariances (21, 3, 3); lengths and stds (L,) of LINKS, metres."""
    information = np.linalg.inv(covariance_m2 + _LEAST_STD_M**2 * np.eye(3))
    prior = np.zeros((JOINTS, 3, JOINTS, 3))
    prior[np.arange(JOINTS), :, np.arange(JOINTS)] = information
    prior = prior.reshape(3 * JOINTS, 3 * JOINTS)
    fitted_m = joints_m
    for _ in range(_STEPS):
        apart_m = _ENDS @ fitted_m
        found_m = np.maximum(np.linalg.norm(apart_m, axis=1), 1e-6)
        along = apart_m / found_m[:, None] / stds_m[:, None]
        J = (_ENDS[:, :, None] * along[:, None]).reshape(len(LINKS), -1)
        b = np.einsum("jab,jb->ja", information, joints_m - fitted_m).ravel() + J.T @ ((lengths_m - found_m) / stds_m)
        fitted_m = fitted_m + np.linalg.solve(prior + J.T @ J, b).reshape(JOINTS, 3)
    return fitted_m
