"""Joint uncertainty, as a cloud of points drawn from each joint's covariance and as a scale of colours."""

import cv2
import numpy as np

from app.viewer import palette

POINTS_PER_JOINT = 48
_REACH = 2.5
SCALE_MM = (1.0, 10.0)
"""The ends of the scale of colours, which is logarithmic."""
_VIRIDIS = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1] / 255


def _normal_samples() -> np.ndarray:
    """Samples (21, P, 3) of the unit normal distribution within 2.5 standard deviations, always the same ones."""
    samples = np.random.default_rng(7).normal(size=(21 * POINTS_PER_JOINT * 2, 3))
    samples = samples[np.linalg.norm(samples, axis=1) < _REACH]
    return samples[: 21 * POINTS_PER_JOINT].reshape(21, POINTS_PER_JOINT, 3)


_SAMPLES = _normal_samples()


def cloud(
    joints_world_m: np.ndarray, covariance_m2: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (21 P, 3), world metres, with the joints' mean and covariance (21, 3, 3), and their colours.

    Sure joints are white, unsure ones red. Where joint or covariance is not finite, the points are left out.
    """
    known = np.all(np.isfinite(joints_world_m), axis=1) & np.all(np.isfinite(covariance_m2), axis=(1, 2))
    covariance_m2 = np.where(known[:, None, None], covariance_m2, 0.0)
    std_m, axes = principal_axes(covariance_m2)
    root = axes * std_m[:, None]
    points = joints_world_m[:, None] + np.einsum("jab,jpb->jpa", root, _SAMPLES)
    sure = np.clip(np.nan_to_num(confidence), 0, 1)[:, None]
    colour = palette.UNSURE + (palette.SURE - palette.UNSURE) * sure
    colours = np.broadcast_to(colour[:, None], points.shape)
    return points[known].reshape(-1, 3), colours[known].reshape(-1, 3)


def principal_axes(covariance_m2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (J, 3) along the axes of covariances (J, 3, 3), and these axes (J, 3, 3) as columns."""
    variances, axes = np.linalg.eigh((covariance_m2 + covariance_m2.transpose(0, 2, 1)) / 2)
    return np.sqrt(np.clip(variances, 0, None)), axes


def joint_std_m(covariance_m2: np.ndarray) -> np.ndarray:
    """Standard deviations (21,) of joints with covariance (21, 3, 3): the root of the axes' mean variance.

    Infinite where it is not known.
    """
    variance = np.trace(covariance_m2, axis1=1, axis2=2) / 3
    return np.sqrt(np.where(np.isfinite(variance), np.clip(variance, 0, None), np.inf))


def std_rgb(std_m: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of standard deviations (N,): viridis, from 1 mm (violet) to 10 mm (yellow)."""
    low, high = np.log(SCALE_MM)
    place = (np.log(np.clip(std_m * 1e3, *SCALE_MM)) - low) / (high - low)
    return _VIRIDIS[np.round(place * 255).astype(int)]
