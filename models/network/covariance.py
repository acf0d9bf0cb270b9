"""The uncertainty of each joint: a covariance that the hypotheses' spread shapes and the network scales.

    Sigma = exp(s) S + L L' + f^2 I

S is the scatter of the joint's M hypotheses around the result, which knows the cameras: along the rays of two near
cameras it is long. s and the lower triangular L come from the joint's features; f is a floor. Positive definite by
construction. It is trained by the likelihood of the reprojection residual (`losses.covariance_loss`), with the labels'
own noise told apart from it by `LabelNoise`. Letters: B batch, M hypotheses, J joints, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.precision import float32_region

_UNIT_M = 0.004
_FLOOR_M = 0.0003
_FARTHEST_M = 0.05
_LARGEST_LOG = 3.0
_STEP = 10.0
_SHARE_OF_CROP, _WRONG_SHARE_OF_CROP = 0.01, 0.15


class CovarianceHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 7))

    def forward(self, features: Tensor, queries_m: Tensor, anchors_m: Tensor) -> Tensor:
        """Covariances (B, J, 3, 3), m^2, of features (B, J, D), results (B, J, 3) and anchors (B, M x J, 3), metres."""
        J = queries_m.shape[1]
        numbers = self.head(features).float()
        with float32_region(features):
            offsets_m = anchors_m.unflatten(1, (-1, J)) - queries_m[:, None]
            length_m = offsets_m.square().sum(dim=-1, keepdim=True).clamp_min(1e-12).sqrt()
            offsets_m = offsets_m * (_FARTHEST_M / length_m).clamp_max(1)
            scatter = (offsets_m[..., :, None] * offsets_m[..., None, :]).mean(dim=1)
            scale = (_LARGEST_LOG * torch.tanh(numbers[..., 6] / _LARGEST_LOG)).exp()[..., None, None]
            zero = torch.zeros_like(numbers[..., 0])
            diagonal = functional.softplus(numbers[..., :3])
            rows = [
                torch.stack([diagonal[..., 0], zero, zero], dim=-1),
                torch.stack([numbers[..., 3], diagonal[..., 1], zero], dim=-1),
                torch.stack([numbers[..., 4], numbers[..., 5], diagonal[..., 2]], dim=-1),
            ]
            L = _UNIT_M * torch.stack(rows, dim=-2)
            floor = _FLOOR_M**2 * torch.eye(3, device=L.device)
            return scale * scatter + L @ L.transpose(-1, -2) + floor


class LabelNoise(nn.Module):
    """How far a 2D label of confidence c lies from the truth: one curve for all labels, learned with the covariance.

    Noise is N(0, sigma^2 I), as shares of the crop's side, with log sigma = log 0.01 + a + b (1 - c) + d (1 - c)^2; but
    with probability pi, logit pi = e + f (1 - c), the label is wrong and the noise has the standard deviation `wrong`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curve = nn.Parameter(torch.tensor([0.0, 1.0, 0.0, -3.0, 1.0, 0.0]) / _STEP)

    def forward(self, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sigma and logit pi of labels with these confidences, any shape, and `wrong`."""
        doubt = 1 - confidence
        # Learned in large steps: Adam moves each number by its rate at most.
        a, b, d, e, f, g = (_STEP * self.curve).unbind()
        sigma = _SHARE_OF_CROP * (a + b * doubt + d * doubt.square()).clamp(-4, 3).exp()
        return sigma, e + f * doubt, _WRONG_SHARE_OF_CROP * g.clamp(-1, 1).exp()
