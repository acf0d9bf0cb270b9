"""Camera models against the formulas of OpenCV's documentation and of Kannala and Brandt, written out in numpy."""

import numpy as np
import pytest

from calibration.camera import Camera
from calibration.errors import UserError

MATRIX = np.array([[903.5, 0.0, 618.3], [0.0, 907.9, 394.2], [0.0, 0.0, 1.0]])
DISTORTION = {
    "pinhole5": [-0.332, 0.0464, -0.0043, 0.0041, 0.0666],
    "pinhole8": [0.41, -0.12, 0.0011, -0.0008, 0.012, 0.73, -0.09, 0.004],
    "fisheye4": [0.031, -0.012, 0.004, -0.0009],
}


def make_camera(lens: str) -> Camera:
    return Camera(width=1280, height=720, lens=lens, matrix=MATRIX, distortion=np.array(DISTORTION[lens]))  # pyright: ignore[reportArgumentType]


def points_in_view() -> np.ndarray:
    """Points (500, 3) in camera axes, up to 35 degrees off the axis, 0.3 to 2 m away."""
    random = np.random.default_rng(1)
    x, y = random.uniform(-0.65, 0.65, (2, 500))
    z = random.uniform(0.3, 2.0, 500)
    return np.stack([x * z, y * 0.6 * z, z], axis=1)


def reference_project(lens: str, points: np.ndarray) -> np.ndarray:
    k = np.zeros(8)
    k[: len(DISTORTION[lens])] = DISTORTION[lens]
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    r = np.hypot(x, y)
    if lens == "fisheye4":
        theta = np.arctan(r)
        distorted = theta * (1 + k[0] * theta**2 + k[1] * theta**4 + k[2] * theta**6 + k[3] * theta**8)
        x, y = x * distorted / r, y * distorted / r
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = k
        radial = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
            y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y,
        )
    return np.stack([MATRIX[0, 0] * x + MATRIX[0, 2], MATRIX[1, 1] * y + MATRIX[1, 2]], axis=1)


@pytest.mark.parametrize("lens", DISTORTION)
def test_project_follows_the_formulas(lens: str) -> None:
    points = points_in_view()
    np.testing.assert_allclose(make_camera(lens).project(points), reference_project(lens, points), atol=1e-9)


@pytest.mark.parametrize("lens", DISTORTION)
def test_undistort_undoes_project(lens: str) -> None:
    camera, points = make_camera(lens), points_in_view()
    # Both solvers stop when a step is below 1e-10 or after 50 steps; a pixel is 1e-3 in these coordinates.
    np.testing.assert_allclose(camera.undistort(camera.project(points)), points[:, :2] / points[:, 2:], atol=1e-7)


@pytest.mark.parametrize("lens", DISTORTION)
def test_any_leading_shape(lens: str) -> None:
    camera, points = make_camera(lens), points_in_view()[:42]
    pixels = camera.project(points.reshape(2, 21, 3))
    np.testing.assert_array_equal(pixels.reshape(42, 2), camera.project(points))
    np.testing.assert_array_equal(camera.undistort(pixels).reshape(42, 2), camera.undistort(pixels.reshape(42, 2)))
    assert camera.project(np.empty((0, 3))).shape == camera.undistort(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("lens", DISTORTION)
def test_points_not_in_front_are_nan(lens: str) -> None:
    points = np.array([[0.1, 0.1, 1.0], [0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [0.1, 0.1, np.nan]])
    pixels = make_camera(lens).project(points)
    np.testing.assert_allclose(pixels[0], reference_project(lens, points[:1])[0], atol=1e-9)
    assert np.isnan(pixels[1:]).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"distortion": np.zeros(4)}, "pinhole5 takes 5 coefficients (k1 k2 p1 p2 k3); got 4"),
        ({"lens": "pinhole6"}, "`pinhole6`; known models: pinhole5, pinhole8, fisheye4"),
        ({"width": 0}, "0x720"),
        ({"matrix": MATRIX[:2]}, "must be 3x3"),
        ({"matrix": MATRIX + np.eye(3, k=1)}, "without skew"),
        ({"matrix": MATRIX * 2}, "must be 3x3"),
        ({"matrix": MATRIX * [[-1], [1], [1]]}, "focal lengths must be positive"),
        ({"matrix": MATRIX * [[1, 1, np.nan], [1, 1, 1], [1, 1, 1]]}, "finite"),
        ({"distortion": np.array([0, 0, 0, 0, np.inf])}, "finite"),
    ],
)
def test_wrong_intrinsics_are_refused(change: dict, expected: str) -> None:
    given = {"width": 1280, "height": 720, "lens": "pinhole5", "matrix": MATRIX, "distortion": np.zeros(5)} | change
    with pytest.raises(UserError) as error:
        Camera(**given)
    assert expected in str(error.value)
