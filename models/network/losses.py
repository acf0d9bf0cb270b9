"""The losses, from 2D labels alone:

    L = 0.001 L_hmap + 10 L_hm2d + 0.1 L_nll + 10 L_proj2d + L_covariance

(UST-Hand, section 5; the last is ours). `LabelBatch` has no field for 3D, so none can enter. A label of confidence 0
contributes exactly nothing, whatever it holds. `huber` is the error, a share of the crop's side, up to which a 2D loss
is quadratic; beyond, it is linear, so that a wrong label does not outvote the right ones; 0 makes it linear throughout.
Errors are shares of the crop's side, so that the weights mean the same at every resolution. Letters: B batch, T time,
V views, J joints, K blocks, N any frames.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.network.covariance import LabelNoise
from models.network.crop_coordinates import cell_centres_px
from models.network.lifting import condition_cameras, project
from models.network.precision import float32_region

_HEATMAP_SIGMA_CELLS = 1.5
_NEVER = -1e9


class LabelBatch(NamedTuple):
    """2D labels of windows: `keypoints_px` (B, T, V, J, 2) crop pixels, `confidence` (B, T, V, J), 0 for no label."""

    keypoints_px: Tensor
    confidence: Tensor

    def per_frame(self) -> "LabelBatch":
        """The same with B and T folded into one dimension."""
        return LabelBatch(self.keypoints_px.flatten(0, 1), self.confidence.flatten(0, 1))


def heatmap_loss(heatmaps: Tensor, labels: LabelBatch, crop_px: int) -> Tensor:
    """L_hmap: squared difference of heatmaps (N, V, J, h, w) to Gaussians at the labels.

    It is the mean over cells and the sum over joints (their mean left the heatmaps nearly flat). Both maps are scaled
    to a mean of 1 over the cells, so that the loss does not shrink with the map's size.
    """
    cells = heatmaps.shape[-1]
    centres_px = cell_centres_px(cells, crop_px, heatmaps)
    sigma_px = _HEATMAP_SIGMA_CELLS * crop_px / cells
    u_px, v_px = labels.keypoints_px.nan_to_num().clamp(-crop_px, 2 * crop_px).unbind(-1)
    across, down = (_bell(centres_px, each[..., None], sigma_px) for each in (u_px, v_px))
    target = down[..., :, None] * across[..., None, :]
    squared = (heatmaps.float() - target).square().sum(dim=(-2, -1)) * cells**2
    return heatmaps.shape[2] * _weighted_mean(squared, labels.confidence)


def position_loss(keypoints_px: Tensor, labels: LabelBatch, huber: float, crop_px: int) -> Tensor:
    """L_hm2d: distance of the heatmaps' positions (N, V, J, 2) to the labels."""
    return _weighted_mean(_robust((keypoints_px - labels.keypoints_px) / crop_px, labels, huber), labels.confidence)


def spread_loss(keypoints_px: Tensor, log_spread: Tensor, labels: LabelBatch, crop_px: int) -> Tensor:
    """L_spread: how unlikely the labels' distances r to points (N, V, J, 2) are, whose expected error (N, V, J) is s.

    log s + r / s, which is least where s is the mean of r: of a Laplace distribution over the plane, per coordinate.
    """
    offset = torch.where(labels.confidence[..., None] > 0, (keypoints_px - labels.keypoints_px) / crop_px, 0)
    distance = offset.float().square().sum(-1).clamp_min(1e-12).sqrt()
    return _weighted_mean(log_spread + distance * (-log_spread).exp(), labels.confidence)


def nll_loss(nll: Tensor, labels: LabelBatch) -> Tensor:
    """L_nll of the flow's negative log-likelihoods (N, V) in nats per number, averaged over the labelled views.

    Above 0, where a label is less likely than one drawn evenly from the crop, it grows as a logarithm only: such a
    label is an outlier.
    """
    soft = torch.where(nll > 0, 2 * torch.log1p(nll.clamp_min(0) / 2), nll)
    return _weighted_mean(soft, (labels.confidence > 0).any(dim=-1).float())


def projection_loss(queries_m: Tensor, P_crop: Tensor, labels: LabelBatch, huber: float, crop_px: int) -> Tensor:
    """L_proj2d: queries (B, K, T, J, 3), projected by P_crop (B, T, V, 3, 4) into every view, against the labels.

    Every block counts alike. A view may carry labels that the network never saw: they are a test of the 3D.
    """
    with float32_region(queries_m):
        P = condition_cameras(P_crop, crop_px)[:, None, :, :, None]
        seen, _ = project(queries_m[:, :, :, None], P)
        target = (2 * labels.keypoints_px + 1) / crop_px - 1
        distances = _robust(
            (seen - target[:, None]) / 2, LabelBatch(target[:, None], labels.confidence[:, None]), huber
        )
        return _weighted_mean(distances.mean(dim=1), labels.confidence)


def covariance_loss(
    covariance_m2: Tensor, joints_m: Tensor, P_crop: Tensor, labels: LabelBatch, noise: LabelNoise, crop_px: int
) -> Tensor:
    """L_covariance: negative log-likelihood of the labels' residuals over all views at once, in nats per label.

    A label is the true joint's projection plus noise, so with the 3D error e ~ N(0, Sigma) the residuals of one joint's
    V views, stacked, are

        r = J e + n,    r ~ N(0, J Sigma J' + R),    J = d projection / d joint,    R = diag(sigma_v^2).

    e is common to the views and n is not: that tells the joint's covariance from the label's noise. Any label may be
    wrong, with its own larger sigma, so the likelihood is the sum over the 2^V cases. With Sigma = C C' each takes
    3x3 matrices only: |J Sigma J' + R| = |R| |I + C' J' R^-1 J C|. Joints are not moved by this loss. Covariances
    (B, J, 3, 3), joints (B, J, 3), P_crop (B, V, 3, 4) and labels (B, V, J, ...) are of one frame.
    """
    with float32_region(covariance_m2):
        P = condition_cameras(P_crop, crop_px)[:, :, None]
        seen, depth = project(joints_m.detach().float()[:, None], P)
        labelled = labels.confidence > 0
        target = (2 * labels.keypoints_px + 1) / crop_px - 1
        residual = torch.where(labelled[..., None], (target - seen) / 2, 0)
        jacobian = (P[..., :2, :3] - seen[..., None] * P[..., 2:, :3]) / (2 * depth.clamp_min(1e-2)[..., None])
        # `cholesky` would raise on NaN, before the run can leave the step out.
        root, failed = torch.linalg.cholesky_ex(1e6 * covariance_m2.float())
        root = torch.where((failed == 0)[..., None, None], root, torch.nan)
        jacobian = jacobian @ (1e-3 * root)[:, None]

        sigma, logit, wrong_sigma = noise(labels.confidence)
        wrong = _cases(P_crop.shape[1], P_crop.device)[:, None, :, None]
        precision = torch.where(wrong, wrong_sigma, sigma).pow(-2) * labelled
        # log |R| holds each label's log sigma^2 twice, for its two numbers. What is no label is never wrong.
        log_noise = -2 * torch.where(labelled, precision, 1).log().sum(dim=2)
        log_share = functional.logsigmoid(torch.where(wrong, logit, -logit))
        log_share = torch.where(labelled, log_share, _NEVER * wrong).sum(dim=2)

        squares = (jacobian.transpose(-1, -2) @ jacobian).flatten(-2)
        pulls = (jacobian.transpose(-1, -2) @ residual[..., None])[..., 0]
        information = torch.einsum("cbvj,bvjm->cbjm", precision, squares)
        pull = torch.einsum("cbvj,bvjm->cbjm", precision, pulls)
        log_det, explained = _log_det_and_norm(information, pull)
        distance = (precision * residual.square().sum(dim=-1)).sum(dim=2) - explained
        nll = -(log_share - 0.5 * (distance + log_noise + log_det)).logsumexp(dim=0)
        return nll.sum() / labelled.sum().clamp_min(1)


def _log_det_and_norm(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """log |I + A| and b' (I + A)^-1 b for A (..., 9), symmetric, and b (..., 3): Cholesky's factors written out.

    LAPACK takes one small matrix at a time; there are many.
    """
    a00, a01, a02, _, a11, a12, _, _, a22 = A.unbind(-1)
    b0, b1, b2 = b.unbind(-1)
    l00 = (1 + a00).sqrt()
    l10, l20 = a01 / l00, a02 / l00
    l11 = (1 + a11 - l10.square()).clamp_min(1).sqrt()
    l21 = (a12 - l20 * l10) / l11
    l22 = (1 + a22 - l20.square() - l21.square()).clamp_min(1).sqrt()
    y0 = b0 / l00
    y1 = (b1 - l10 * y0) / l11
    y2 = (b2 - l20 * y0 - l21 * y1) / l22
    return 2 * (l00 * l11 * l22).log(), y0.square() + y1.square() + y2.square()


def _cases(views: int, device: torch.device) -> Tensor:
    """All (2^V, V) combinations of which views are wrong, bool."""
    return (torch.arange(2**views, device=device)[:, None] >> torch.arange(views, device=device)) % 2 == 1


def _bell(centres: Tensor, middle: Tensor, sigma: float) -> Tensor:
    """A Gaussian over the cells that sums to 1; one far outside peaks in the nearest cell."""
    return (-0.5 * ((centres - middle) / sigma).square()).softmax(dim=-1)


def _robust(offset: Tensor, labels: LabelBatch, huber: float) -> Tensor:
    """Huber's function of the offsets' lengths, with slope 1 where linear; 0 where there is no label."""
    squared = torch.where(labels.confidence[..., None] > 0, offset, 0).float().square().sum(dim=-1)
    linear = squared.clamp_min(max(huber**2, 1e-16)).sqrt() - huber / 2
    return torch.where(squared < huber**2, squared / (2 * max(huber, 1e-16)), linear)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of weighted values over the sum of weights; 0 where there are none. Values without weight may be anything."""
    values = torch.where(weights > 0, values, 0)
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)
