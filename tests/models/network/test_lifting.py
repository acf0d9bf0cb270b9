"""The weighted DLT against exact projections and against numpy's singular value solver in float64."""

import numpy as np
import pytest
import torch

from models.network.lifting import condition_cameras, project, triangulate

CROP_PX = 128


def cameras(rng: np.random.Generator, views: int, spread_rad: float = np.pi) -> np.ndarray:
    """P (V, 3, 4) float64: cameras 0.4 to 1.2 m away on an arc of that length, their crops 0.24 m wide."""
    P = []
    for angle in np.linspace(0, spread_rad, views, endpoint=False) + rng.uniform(0, 0.02, views):
        centre = rng.uniform(0.4, 1.2) * np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.5, 0.5)])
        z = -centre / np.linalg.norm(centre)
        x = np.cross([0.0, 0, 1], z)
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        focal = CROP_PX / 0.24 * np.linalg.norm(centre)
        K = np.array([[focal, 0, (CROP_PX - 1) / 2], [0, focal, (CROP_PX - 1) / 2], [0, 0, 1]])
        P.append(K @ np.hstack([R, -R @ centre[:, None]]))
    return np.stack(P)


def images(P: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    """Pixels (N, V, 2) of points (N, 3)."""
    seen = np.einsum("vij,nj->nvi", P[..., :3], points_m) + P[..., 3]
    return seen[..., :2] / seen[..., 2:]


def lift(pixels: np.ndarray, weights: np.ndarray, P: np.ndarray) -> torch.Tensor:
    seen, trust, cameras32 = (torch.tensor(value, dtype=torch.float32) for value in (pixels, weights, P))
    return triangulate(seen, trust, cameras32, CROP_PX)


def least_squares(pixels: np.ndarray, weights: np.ndarray, P: np.ndarray) -> np.ndarray:
    """One point (3,) by numpy's SVD-based solver, rows in normalised crop coordinates at depth 1."""
    rows, right = [], []
    for (u, v), w, camera in zip(pixels, weights, P, strict=True):
        camera = camera / camera[2, 3]
        for value, row in ((u, camera[0]), (v, camera[1])):
            equation = np.sqrt(w) * (value * camera[2] - row) * 2 / CROP_PX
            rows.append(equation[:3])
            right.append(-equation[3])
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


@pytest.mark.parametrize(("views", "spread_rad"), [(2, np.pi), (2, np.radians(10)), (4, np.pi), (8, 2 * np.pi)])
def test_exact_images_give_the_points_back(views: int, spread_rad: float) -> None:
    rng = np.random.default_rng(views)
    P = cameras(rng, views, spread_rad) * rng.uniform(0.1, 10, (views, 1, 1))  # the scale of P means nothing
    points_m = rng.uniform(-0.1, 0.1, (500, 3))
    found = lift(images(P, points_m), rng.uniform(0.01, 1, (500, views)), P)
    assert (
        np.abs(found.numpy() - points_m).max() < 1e-5
    )  # metres; measured 3e-6 for two cameras 5 degrees apart, 1e-7 for the others


@pytest.mark.parametrize("views", [2, 3, 8])
def test_weighted_least_squares_agrees_with_a_singular_value_solver(views: int) -> None:
    rng = np.random.default_rng(7)
    P = cameras(rng, views)
    pixels = images(P, rng.uniform(-0.1, 0.1, (50, 3))) + rng.normal(0, 4, (50, views, 2))
    weights = rng.uniform(0.001, 0.2, (50, views))
    expected = [least_squares(*one, P) for one in zip(pixels, weights, strict=True)]
    np.testing.assert_allclose(lift(pixels, weights, P).numpy(), np.array(expected), atol=2e-6)


def test_hypotheses_and_joints_broadcast_against_cameras() -> None:
    rng = np.random.default_rng(1)
    P = np.stack([cameras(rng, 4), cameras(rng, 4)])
    points_m = rng.uniform(-0.1, 0.1, (2, 5, 21, 3))
    pixels = np.stack([images(p, x.reshape(-1, 3)).reshape(5, 21, 4, 2) for p, x in zip(P, points_m, strict=True)])
    found = lift(pixels, np.ones((2, 1, 21, 4)), P[:, None, None])
    np.testing.assert_allclose(found.numpy(), points_m, atol=1e-5)


def test_zero_weight_removes_a_view_exactly() -> None:
    rng = np.random.default_rng(2)
    P = cameras(rng, 4)
    pixels = images(P, rng.uniform(-0.1, 0.1, (20, 3))) + rng.normal(0, 3, (20, 4, 2))
    weights = np.tile([0.3, 0.0, 0.1, 0.2], (20, 1))
    found = lift(pixels, weights, P)
    pixels[:, 1], other = rng.uniform(-1e3, 1e3, (20, 2)), P.copy()
    other[1] = 0
    assert torch.equal(found, lift(pixels, weights, other))
    without = np.delete(pixels, 1, 1), np.delete(weights, 1, 1), np.delete(P, 1, 0)
    np.testing.assert_allclose(found.numpy(), lift(*without).numpy(), atol=1e-6)


def test_degenerate_cases_stay_finite_with_finite_gradients() -> None:
    rng = np.random.default_rng(3)
    P = cameras(rng, 2)
    pixels = images(P, rng.uniform(-0.05, 0.05, (4, 3)))
    P[1], pixels[:, 1] = P[0], pixels[:, 0]  # the same camera twice: a ray, no point
    cases = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1e-12, 1e-12]], requires_grad=True)
    seen = torch.tensor(pixels, dtype=torch.float32, requires_grad=True)
    cameras32 = torch.tensor(P, dtype=torch.float32)
    found = triangulate(seen, cases, cameras32, CROP_PX)
    gradients = torch.autograd.grad(found.sum(), [seen, cases])
    assert all(value.isfinite().all() for value in (found, *gradients))
    assert torch.equal(found[2], torch.zeros(3))
    for ray in (0, 1, 3):
        image, _ = project(found[ray], condition_cameras(cameras32[0], CROP_PX))
        np.testing.assert_allclose(((image + 1) * CROP_PX - 1).detach() / 2, pixels[ray, 0], atol=0.01)


def test_stays_float32_under_autocast() -> None:
    rng = np.random.default_rng(4)
    P = cameras(rng, 4)
    pixels = images(P, rng.uniform(-0.1, 0.1, (20, 3)))
    expected = lift(pixels, np.ones((20, 4)), P)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lift(pixels, np.ones((20, 4)), P), expected)
