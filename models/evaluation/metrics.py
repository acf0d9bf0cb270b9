"""Errors of 3D hands against truth, as the field reports them. Joints in metres, results in millimetres.

MPJPE is the mean over joints of the Euclidean error; root-aligned subtracts the wrist; Procrustes-aligned removes the
best similarity (J. Gower, "Generalized Procrustes analysis", 1975, solved as S. Umeyama, "Least-squares estimation of
transformation parameters between two point patterns", PAMI 1991). PCK is the share of joints within a threshold, AUC
the area under its curve over a range, divided by the range (C. Zimmermann and T. Brox, "Learning to estimate 3D hand
pose from single RGB images", ICCV 2017).
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2

PCK_THRESHOLDS_MM = np.linspace(0, 50, 101)


def joint_errors_mm(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Distances (..., J) of joints (..., J, 3) to their truth (..., J, 3)."""
    return 1e3 * np.linalg.norm(joints_m - truth_m, axis=-1)


def root_aligned(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Joints (..., J, 3) moved so that the wrist, joint 0, lies on the truth's."""
    return joints_m + (truth_m - joints_m)[..., :1, :]


def procrustes_aligned(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Joints (..., J, 3) under the rotation, translation and scale that bring them nearest to the truth."""
    centre, target = joints_m.mean(axis=-2, keepdims=True), truth_m.mean(axis=-2, keepdims=True)
    source, goal = joints_m - centre, truth_m - target
    u, s, vt = np.linalg.svd(np.swapaxes(source, -1, -2) @ goal)
    sign = np.ones_like(s)
    sign[..., -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / np.maximum((source**2).sum((-1, -2)), 1e-20)
    return scale[..., None, None] * source @ rotation + target


def pck(errors_mm: np.ndarray, thresholds_mm: np.ndarray = PCK_THRESHOLDS_MM) -> np.ndarray:
    """Share of errors (any shape) that are at most each threshold (n,)."""
    return (errors_mm.reshape(-1, 1) <= thresholds_mm).mean(axis=0)


def auc(errors_mm: np.ndarray, most_mm: float) -> float:
    """Area under the PCK curve from 0 to `most_mm`, divided by it: 1 is perfect. Exact, not sampled."""
    return float(np.clip(1 - errors_mm / most_mm, 0, None).mean())


def acceleration_error_mm(joints_m: np.ndarray, truth_m: np.ndarray, times_s: np.ndarray) -> float:
    """Mean error of the second difference over time of joints (T, J, 3), in mm per frame squared.

    As A. Kanazawa et al., "Learning 3D human dynamics from video", CVPR 2019. NaN for fewer than three frames; triples
    that are not evenly spaced in `times_s` (T,) are left out.
    """
    step = np.diff(times_s)
    even = np.abs(np.diff(step)) < 0.1 * step[:-1] if len(step) > 1 else np.zeros(0, bool)
    if not even.any():
        return float("nan")
    second = np.diff(joints_m - truth_m, n=2, axis=0)[even]
    return float(1e3 * np.linalg.norm(second, axis=-1).mean())


def coverage(
    joints_m: np.ndarray, truth_m: np.ndarray, covariance_m2: np.ndarray, levels: Sequence[float] = (0.5, 0.9)
) -> dict[float, float]:
    """Share of true joints inside the ellipsoid that should hold each of the levels, for covariances (..., J, 3, 3)."""
    error = joints_m - truth_m
    squared = (error * np.linalg.solve(covariance_m2, error[..., None])[..., 0]).sum(-1)
    return {level: float((squared <= chi2.ppf(level, 3)).mean()) for level in levels}


def summary(joints_m: np.ndarray, truth_m: np.ndarray) -> dict[str, float]:
    """The metrics of joints (n, J, 3) against their truth, by the names of the JSON report."""
    errors = joint_errors_mm(joints_m, truth_m)
    return {
        "mpjpe_mm": float(errors.mean()),
        "median_mm": float(np.median(errors)),
        "p90_mm": float(np.percentile(errors, 90)),
        "root_aligned_mpjpe_mm": float(joint_errors_mm(root_aligned(joints_m, truth_m), truth_m).mean()),
        "pa_mpjpe_mm": float(joint_errors_mm(procrustes_aligned(joints_m, truth_m), truth_m).mean()),
        "auc_20": auc(errors, 20),
        "auc_50": auc(errors, 50),
    }
