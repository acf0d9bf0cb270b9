"""Losses on cases computed by hand, what must contribute nothing, and a covariance that recovers the truth."""

import itertools
import math

import pytest
import torch
from scipy.stats import chi2, multivariate_normal
from torch import Tensor

from calibration.hand import JOINTS
from models.network.covariance import LabelNoise
from models.network.losses import (
    LabelBatch,
    covariance_loss,
    heatmap_loss,
    nll_loss,
    position_loss,
    projection_loss,
)

CROP_PX = 100


def labels(keypoints_px: Tensor, confidence: Tensor | float = 1.0) -> LabelBatch:
    return LabelBatch(keypoints_px, torch.as_tensor(confidence).expand(keypoints_px.shape[:-1]).clone())


def looking_along(axis: int, focal_px: float = 400.0, distance_m: float = 0.5) -> Tensor:
    """P_crop (3, 4) of a camera that looks along z (0), x (1) or y (2) at the origin from this distance."""
    turn = torch.eye(3).roll(axis, dims=1)
    K = torch.tensor([[focal_px, 0, (CROP_PX - 1) / 2], [0, focal_px, (CROP_PX - 1) / 2], [0, 0, 1]])
    return K @ torch.cat([turn, torch.tensor([[0.0], [0.0], [distance_m]])], dim=1)


def test_labels_have_no_place_for_3d() -> None:
    assert LabelBatch._fields == ("keypoints_px", "confidence")


def test_position_loss_is_hubers_function_of_the_distance() -> None:
    """Off by 1 px and by 5 px of 100: 0.01^2 / (2 x 0.02) = 0.0025, and 0.05 - 0.01 = 0.04; weighted 1 and 0.5."""
    found = torch.tensor([[[[10.0, 20.0], [33.0, 44.0]]]])
    target = labels(torch.tensor([[[[10.0, 21.0], [30.0, 40.0]]]]), torch.tensor([[[1.0, 0.5]]]))
    assert position_loss(found, target, 0.02, CROP_PX).item() == pytest.approx((0.0025 + 0.5 * 0.04) / 1.5)
    assert position_loss(found, target, 0.0, CROP_PX).item() == pytest.approx((0.01 + 0.5 * 0.05) / 1.5)


def test_heatmap_loss_of_an_even_heatmap_is_the_gaussians_distance_to_it() -> None:
    """Sum of (1/n - g)^2 times n, with g a Gaussian of 1.5 cells: for a wide map n / (4 pi 1.5^2) - 1."""
    n = 32 * 32
    even = torch.full((1, 1, 1, 32, 32), 1 / n)
    centre = labels(torch.full((1, 1, 1, 2), 63.5))
    assert heatmap_loss(even, centre, 128).item() == pytest.approx(n / (4 * math.pi * 1.5**2) - 1, rel=1e-3)
    x = torch.arange(32) - 15.5
    bell = torch.exp(-0.5 * (x / 1.5) ** 2)
    exact = (bell[:, None] * bell / bell.sum() ** 2)[None, None, None]
    assert heatmap_loss(exact, centre, 128).item() == pytest.approx(0, abs=1e-6)
    assert heatmap_loss(exact.roll(3, dims=-1), labels(torch.tensor([[[[75.5, 63.5]]]])), 128).item() < 1e-3


def test_nll_loss_is_linear_below_zero_and_a_logarithm_above() -> None:
    nll = torch.tensor([[-2.0, 6.0, 1e9]])
    confidence = torch.tensor([[[1.0], [0.2], [0.0]]])
    target = labels(torch.zeros(1, 3, 1, 2), confidence)
    assert nll_loss(nll, target).item() == pytest.approx((-2 + 2 * math.log(4)) / 2)


def test_projection_loss_by_hand() -> None:
    """A point 5 mm to the right at 0.5 m, focal length 400 px: 4 px, 0.04 - 0.01; the second block is exact."""
    queries_m = torch.zeros(1, 2, 1, 1, 3)
    queries_m[:, 0, ..., 0] = 0.005
    target = labels(torch.full((1, 1, 1, 1, 2), 49.5))
    loss = projection_loss(queries_m, looking_along(0)[None, None, None], target, 0.02, CROP_PX)
    assert loss.item() == pytest.approx((0.04 - 0.01) / 2, rel=1e-5)


def windows(seed: int = 0) -> tuple[Tensor, Tensor, LabelBatch]:
    """Queries (2, 2, 3, J, 3), P_crop (2, 3, 3, 3, 4) of three views, and labels that are near but not exact."""
    random = torch.Generator().manual_seed(seed)
    P_crop = torch.stack([looking_along(axis) for axis in range(3)]).expand(2, 3, 3, 3, 4)
    queries_m = 0.03 * torch.randn(2, 2, 3, JOINTS, 3, generator=random)
    keypoints_px = 49.5 + 25 * torch.randn(2, 3, 3, JOINTS, 2, generator=random)
    return queries_m, P_crop, LabelBatch(keypoints_px, torch.rand(2, 3, 3, JOINTS, generator=random))


def all_losses(queries_m: Tensor, P_crop: Tensor, target: LabelBatch) -> Tensor:
    found_px = 49.5 + queries_m[:, -1, :, None, :, :2].expand(-1, -1, 3, -1, -1)
    frames = target.per_frame()
    covariance_m2 = (1e-5 + queries_m[:, 0, 0, :, :1, None].square()) * torch.eye(3)
    newest = LabelBatch(*(each[:, -1] for each in target))
    parts = {
        "heatmap": heatmap_loss(queries_m.mean().expand(6, 3, JOINTS, 8, 8), frames, CROP_PX),
        "position": position_loss(found_px.flatten(0, 1), frames, 0.02, CROP_PX),
        "projection": projection_loss(queries_m, P_crop, target, 0.02, CROP_PX),
        "covariance": covariance_loss(
            covariance_m2, queries_m[:, -1, -1], P_crop[:, -1], newest, LabelNoise(), CROP_PX
        ),
    }
    return torch.stack(list(parts.values())).sum()


@pytest.mark.parametrize("junk", [1e6, float("nan"), float("inf")])
def test_a_label_without_confidence_contributes_nothing_whatever_it_holds(junk: float) -> None:
    """Neither to the loss nor to its gradient: a missing joint, and a whole view that is absent."""
    queries_m, P_crop, target = windows()
    target.confidence[:, :, 1] = 0
    target.confidence[0, :, :, 4] = 0
    results = []
    for value in (0.0, junk):
        target.keypoints_px[target.confidence == 0] = value
        start_m = queries_m.clone().requires_grad_()
        loss = all_losses(start_m, P_crop, target)
        loss.backward()
        assert start_m.grad is not None
        results.append((loss.detach(), start_m.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.isfinite(results[0][0])
    assert torch.equal(results[0][1], results[1][1]) and results[0][1].abs().sum() > 0


def test_without_any_label_the_loss_is_zero_and_so_is_its_gradient() -> None:
    queries_m, P_crop, target = windows()
    loss = all_losses(queries_m.requires_grad_(), P_crop, target._replace(confidence=torch.zeros(2, 3, 3, JOINTS)))
    loss.backward()
    assert loss.item() == 0 and queries_m.grad is not None and not queries_m.grad.any()


def test_the_likelihood_is_that_of_all_views_at_once() -> None:
    """Against scipy's density of the stacked residuals, summed over which labels are wrong."""
    torch.manual_seed(0)
    P_crop = torch.stack([looking_along(axis) for axis in range(3)])[None]
    L = 0.004 * torch.randn(3, 3).tril() + 0.003 * torch.eye(3)
    covariance_m2 = L @ L.T
    noise = LabelNoise()
    confidence = torch.tensor([[[1.0], [0.7], [0.4]]])
    J = torch.stack([400 / 0.5 / CROP_PX * torch.eye(3).roll(axis, dims=1)[:2] for axis in range(3)]).flatten(0, 1)
    residual = 0.03 * torch.randn(6)
    target = LabelBatch(49.5 + CROP_PX * residual.view(1, 3, 1, 2), confidence)
    actual = covariance_loss(covariance_m2[None, None], torch.zeros(1, 1, 3), P_crop, target, noise, CROP_PX)

    sigma, logit, wrong_sigma = (each.detach().double().squeeze() for each in noise(confidence))
    density = 0.0
    for wrong in itertools.product((False, True), repeat=3):
        which = torch.tensor(wrong)
        R = torch.diag(torch.where(which, wrong_sigma, sigma).square().repeat_interleave(2))
        share = torch.where(which, logit.sigmoid(), 1 - logit.sigmoid()).prod().item()
        covariance = J.double() @ covariance_m2.double() @ J.double().T + R
        density += share * float(multivariate_normal.pdf(residual.numpy(), cov=covariance.tolist()))  # type: ignore[arg-type]
    assert actual.item() == pytest.approx((-math.log(density) - 3 * math.log(2 * math.pi)) / 3, rel=1e-4)


@pytest.mark.parametrize("outliers", [0.0, 0.15])
def test_the_covariance_learned_from_2d_labels_is_calibrated_against_the_true_joints(outliers: float) -> None:
    """Known 3D errors, larger where the confidence is lower, and label noise of the same size in pixels: the
    likelihood must tell them apart. A fifth of the labels is missing, and some are 15 % of the crop off."""
    random = torch.Generator().manual_seed(0)
    n = 3000
    P_crop = torch.stack([looking_along(axis) for axis in range(3)]).expand(n, 3, 3, 4)
    truth_m = 0.03 * torch.randn(n, 1, 3, generator=random)
    L = torch.tensor([[0.003, 0, 0], [0.002, 0.004, 0], [-0.004, 0.003, 0.008]])
    joints_m = truth_m + torch.randn(n, 1, 3, generator=random) @ L.T
    seen = torch.einsum("nvab,njb->nvja", P_crop[..., :3], truth_m) + P_crop[..., None, :, 3]
    confidence = 0.3 + 0.7 * torch.rand(n, 3, 1, generator=random)
    sigma_px = CROP_PX * 0.008 * torch.exp(1.5 * (1 - confidence))
    keypoints_px = seen[..., :2] / seen[..., 2:] + sigma_px[..., None] * torch.randn(n, 3, 1, 2, generator=random)
    wrong = torch.rand(n, 3, 1, generator=random) < outliers
    keypoints_px[wrong] += 15 * torch.randn(int(wrong.sum()), 2, generator=random)
    confidence[torch.rand(n, 3, 1, generator=random) < 0.2] = 0

    noise, numbers = LabelNoise(), torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [numbers], "lr": 0.05}, {"params": noise.parameters(), "lr": 0.006}])
    low, high = torch.tril_indices(3, 3)
    for _ in range(200):
        factor = torch.zeros(3, 3).index_put((low, high), 0.005 * numbers) + 0.002 * torch.eye(3)
        covariance_m2 = factor @ factor.T + 1e-7 * torch.eye(3)
        loss = covariance_loss(
            covariance_m2.expand(n, 1, 3, 3), joints_m, P_crop, LabelBatch(keypoints_px, confidence), noise, CROP_PX
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    error_m = (joints_m - truth_m)[:, 0]
    squared = (error_m * torch.linalg.solve(covariance_m2, error_m.T).T).sum(dim=-1)
    held = {level: (squared <= chi2.ppf(level, 3)).float().mean().item() for level in (0.5, 0.9)}
    assert 0.44 < held[0.5] < 0.57 and 0.85 < held[0.9] < 0.95, held
    learned = noise(torch.tensor([1.0, 0.5]))[0].tolist()
    expected = [0.008, 0.008 * math.exp(0.75)]
    assert learned == pytest.approx(expected, rel=0.25), (learned, expected)
