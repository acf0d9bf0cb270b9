"""Projection with derivatives, for many views at once.

The models are those of `calibration.camera`. A lens is 12 numbers: fx fy cx cy, then the distortion in OpenCV's order
(k1 k2 p1 p2 k3 k4 k5 k6 for pinholes, k1 k2 k3 k4 for the fisheye), the rest zero.
"""

import numpy as np

from calibration.camera import COEFFICIENTS, Camera, LensModel

LENS_PARAMETERS = 12


def lens_vector(camera: Camera) -> np.ndarray:
    """The camera's lens as 12 numbers."""
    lens = np.zeros(LENS_PARAMETERS)
    lens[:4] = camera.matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    lens[4 : 4 + len(camera.distortion)] = camera.distortion
    return lens


def camera_from_vector(lens: np.ndarray, model: LensModel, image_size: tuple[int, int]) -> Camera:
    """The opposite of `lens_vector`."""
    matrix = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])
    width, height = image_size
    return Camera(width=width, height=height, lens=model, matrix=matrix, distortion=lens[4 : lens_count(model)])


def lens_count(model: LensModel) -> int:
    """How many of the 12 numbers the model has."""
    return 4 + len(COEFFICIENTS[model].split())


def project_views(points_cam: np.ndarray, lens: np.ndarray, fisheye: np.ndarray) -> np.ndarray:
    """Points (V, N, 3) in camera axes with lenses (V, 12) to pixels (V, N, 2), as `project_with_derivatives`."""
    depth = np.maximum(points_cam[..., 2], 1e-3)
    x, y = points_cam[..., 0] / depth, points_cam[..., 1] / depth
    r2 = x * x + y * y
    k = lens[:, 4:, None]
    below = 1 + r2 * (k[:, 5] + r2 * (k[:, 6] + r2 * k[:, 7]))
    below = np.where(np.abs(below) < 0.05, 0.05, below)
    radial = (1 + r2 * (k[:, 0] + r2 * (k[:, 1] + r2 * k[:, 4]))) / below
    tangential = np.where(fisheye[:, None], 0.0, 1.0)
    p1, p2 = k[:, 2] * tangential, k[:, 3] * tangential
    if fisheye.any():
        theta = np.arctan(np.sqrt(r2))
        t2 = theta * theta
        scale = 1 + t2 * (k[:, 0] + t2 * (k[:, 1] + t2 * (k[:, 2] + t2 * k[:, 3])))
        ratio = np.where(r2 > 1e-16, theta / np.sqrt(np.maximum(r2, 1e-16)), 1.0)
        radial = np.where(fisheye[:, None], scale * ratio, radial)
    xy2 = 2 * x * y
    out = np.empty((*x.shape, 2))
    out[..., 0] = (x * radial + p1 * xy2 + p2 * (r2 + 2 * x * x)) * lens[:, None, 0] + lens[:, None, 2]
    out[..., 1] = (y * radial + p1 * (r2 + 2 * y * y) + p2 * xy2) * lens[:, None, 1] + lens[:, None, 3]
    return out


def project_with_derivatives(
    points_cam: np.ndarray, lens: np.ndarray, fisheye: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (V, N, 3) in camera axes with lenses (V, 12) to pixels (V, N, 2).

    Also the derivatives by the point (V, N, 2, 3) and by the lens (V, N, 2, 12). `fisheye` (V,) says which views have
    that model. Points not in front are treated as if at a small depth, where they cost much.
    """
    depth = np.maximum(points_cam[..., 2], 1e-3)
    x, y = points_cam[..., 0] / depth, points_cam[..., 1] / depth
    distorted = np.empty((*x.shape, 2))
    by_xy = np.empty((*x.shape, 2, 2))
    by_coefficients = np.zeros((*x.shape, 2, 8))
    for model, of_model in ((_pinhole, ~fisheye), (_fisheye, fisheye)):
        if of_model.all():
            distorted, by_xy, by_coefficients = model(x, y, lens[:, 4:, None])
        elif of_model.any():
            parts = model(x[of_model], y[of_model], lens[of_model, 4:, None])
            distorted[of_model], by_xy[of_model], by_coefficients[of_model] = parts
    focal = lens[:, None, :2]
    pixels = distorted * focal + lens[:, None, 2:4]
    by_xy = by_xy * focal[..., None]
    by_point = np.empty((*x.shape, 2, 3))
    by_point[..., 0] = by_xy[..., 0] / depth[..., None]
    by_point[..., 1] = by_xy[..., 1] / depth[..., None]
    by_point[..., 2] = -(by_point[..., 0] * x[..., None] + by_point[..., 1] * y[..., None])
    by_lens = np.zeros((*x.shape, 2, LENS_PARAMETERS))
    by_lens[..., 0, 0] = distorted[..., 0]
    by_lens[..., 1, 1] = distorted[..., 1]
    by_lens[..., 0, 2] = by_lens[..., 1, 3] = 1.0
    by_lens[..., 4:] = by_coefficients * focal[..., None]
    return pixels, by_point, by_lens


def _pinhole(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distorted normalised coordinates, their derivatives by (x, y), and by the eight coefficients."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (k[:, i] for i in range(8))
    xx, yy, xy = x * x, y * y, x * y
    r2 = xx + yy
    r4, r6 = r2 * r2, r2 * r2 * r2
    above, below = 1 + k1 * r2 + k2 * r4 + k3 * r6, 1 + k4 * r2 + k5 * r4 + k6 * r6
    below = np.where(np.abs(below) < 0.05, 0.05, below)
    radial = above / below
    slope = (k1 + 2 * k2 * r2 + 3 * k3 * r4 - radial * (k4 + 2 * k5 * r2 + 3 * k6 * r4)) / below
    distorted = np.stack(
        [x * radial + 2 * p1 * xy + p2 * (r2 + 2 * xx), y * radial + p1 * (r2 + 2 * yy) + 2 * p2 * xy], -1
    )
    by_xy = np.empty((*x.shape, 2, 2))
    by_xy[..., 0, 0] = radial + 2 * xx * slope + 2 * p1 * y + 6 * p2 * x
    by_xy[..., 0, 1] = by_xy[..., 1, 0] = 2 * xy * slope + 2 * p1 * x + 2 * p2 * y
    by_xy[..., 1, 1] = radial + 2 * yy * slope + 6 * p1 * y + 2 * p2 * x
    growth = np.stack([r2, r4, r6, -radial * r2, -radial * r4, -radial * r6], -1) / below[..., None]
    by_coefficients = np.empty((*x.shape, 2, 8))
    radials = [0, 1, 4, 5, 6, 7]
    by_coefficients[..., 0, radials] = x[..., None] * growth
    by_coefficients[..., 1, radials] = y[..., None] * growth
    by_coefficients[..., 0, 2] = by_coefficients[..., 1, 3] = 2 * xy
    by_coefficients[..., 0, 3] = r2 + 2 * xx
    by_coefficients[..., 1, 2] = r2 + 2 * yy
    return distorted, by_xy, by_coefficients


def _fisheye(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r = np.sqrt(x * x + y * y)
    safe = np.maximum(r, 1e-9)
    theta = np.arctan(r)
    t2 = theta * theta
    powers = np.stack([t2, t2**2, t2**3, t2**4], -1)
    coefficients = np.moveaxis(k[:, :4], 1, -1)
    factor = 1 + (powers * coefficients).sum(-1)
    theta_d = theta * factor
    theta_slope = 1 + (powers * coefficients * np.array([3.0, 5.0, 7.0, 9.0])).sum(-1)
    scale = np.where(r > 1e-8, theta_d / safe, 1.0)
    scale_slope = np.where(r > 1e-6, (theta_slope / (1 + r * r) - scale) / safe**2, 0.0)
    distorted = np.stack([x * scale, y * scale], -1)
    by_xy = np.empty((*x.shape, 2, 2))
    by_xy[..., 0, 0] = scale + x * x * scale_slope
    by_xy[..., 0, 1] = by_xy[..., 1, 0] = x * y * scale_slope
    by_xy[..., 1, 1] = scale + y * y * scale_slope
    growth = powers * np.where(r > 1e-8, theta / safe, 1.0)[..., None]
    by_coefficients = np.zeros((*x.shape, 2, 8))
    by_coefficients[..., 0, :4] = x[..., None] * growth
    by_coefficients[..., 1, :4] = y[..., None] * growth
    return distorted, by_xy, by_coefficients
