"""The bone fit against a general optimiser, and what it is for: noise on joints whose bones are known."""

import numpy as np
from scipy.optimize import least_squares

from models.hand.bone_fit import fit_bones
from models.hand.bone_lengths import LINKS
from models.simulation.hands import hands_at

TRUTH_M = hands_at(0.7)["right"]
LENGTHS_M = np.linalg.norm(TRUTH_M[LINKS[:, 1]] - TRUTH_M[LINKS[:, 0]], axis=1)
STDS_M = np.full(len(LINKS), 0.002)


def test_it_is_the_least_of_its_sum() -> None:
    random = np.random.default_rng(1)
    roots = random.normal(0, 0.003, (21, 3, 3))
    covariance_m2 = roots @ roots.swapaxes(1, 2) + 0.002**2 * np.eye(3)
    joints_m = TRUTH_M + random.normal(0, 0.003, (21, 3))
    white = np.linalg.inv(np.linalg.cholesky(covariance_m2 + 0.001**2 * np.eye(3)))

    def residuals(x: np.ndarray) -> np.ndarray:
        points = x.reshape(21, 3)
        found_m = np.linalg.norm(points[LINKS[:, 1]] - points[LINKS[:, 0]], axis=1)
        return np.append(np.einsum("jab,jb->ja", white, points - joints_m), (found_m - LENGTHS_M) / STDS_M)

    best = least_squares(residuals, joints_m.ravel(), xtol=1e-12, ftol=1e-12).x.reshape(21, 3)
    found = fit_bones(joints_m, covariance_m2, LENGTHS_M, STDS_M)
    assert np.abs(found - best).max() < 5e-5


def test_noisy_joints_get_nearer_to_the_truth() -> None:
    random = np.random.default_rng(2)
    covariance_m2 = np.tile(0.004**2 * np.eye(3), (21, 1, 1))
    before, after = [], []
    for _ in range(50):
        joints_m = TRUTH_M + random.normal(0, 0.004, (21, 3))
        fitted_m = fit_bones(joints_m, covariance_m2, LENGTHS_M, STDS_M)
        before.append(np.linalg.norm(joints_m - TRUTH_M, axis=1).mean())
        after.append(np.linalg.norm(fitted_m - TRUTH_M, axis=1).mean())
    assert np.mean(after) < 0.9 * np.mean(before)
