"""Conditional normalizing flow of a view's 2D pose (RealNVP: Dinh et al., "Density estimation using Real NVP", 2017).

x = f(z; F), z ~ N(0, I), log p(x | F) = log N(f^-1(x); 0, I) - log |det df/dz| (UST-Hand, section 3.3). x is the pose
relative to the heatmaps' estimate as a share of the crop's side, 2J numbers, joint by joint. A coupling keeps half of
the numbers, a, and moves the others, b, by what it reads from a and the features:

    b' = b exp(s(a; F)) + t(a; F),    log |det| = sum s

so it is inverted exactly, whatever s and t are. All that scales and shifts is bounded by a tanh. After the couplings
every joint is scaled and shifted by its own feature, x_j = m(F_j) + L(F_j) b_j with a lower triangular 2x2 matrix L:
the joint's spread and the direction in which it is unsure. The mode is taken as f(0).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig

POSE = 2 * JOINTS
MAX_LOG_SCALE, MAX_SHIFT = 1.0, 4.0
MEAN_LOG_SPREAD, MAX_LOG_SPREAD = math.log(0.025), 2.5
"""A joint's spread: 0.025 of the crop's side at first, between 0.002 and 0.3 of it always."""
MAX_SHEAR = 4.0
"""How much of u's spread v may share: a correlation of up to 0.97."""


class ConditionalFlow(nn.Module):
    """The distribution of poses (N, M, 2J), M draws in each of N views, given features (N, J, D)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(_Coupling(config, kept) for kept in _kept_numbers(config.flow_layers))
        self.spread = nn.Linear(config.width, 5)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """f: z (N, M, 2J) to x (N, M, 2J), and log |det df/dz| (N, M)."""
        log_det = z.new_zeros(())
        for coupling in self.couplings:
            log_scale, shift = coupling(z, features)
            z = z * log_scale.exp() + shift
            log_det = log_det + log_scale.sum(-1)
        mean, log_spread, shear = self._joint_spread(features)
        u, v = z.unflatten(-1, (JOINTS, 2)).unbind(-1)
        x = mean + torch.stack([u, v + shear * u], -1) * log_spread.exp()
        return x.flatten(2), log_det + log_spread.sum((-2, -1))

    def inverse(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """f^-1: x (N, M, 2J) to z (N, M, 2J), and log |det dz/dx| (N, M)."""
        mean, log_spread, shear = self._joint_spread(features)
        u, v = ((x.unflatten(-1, (JOINTS, 2)) - mean) * (-log_spread).exp()).unbind(-1)
        x = torch.stack([u, v - shear * u], -1).flatten(2)
        log_det = -log_spread.sum((-2, -1))
        for coupling in reversed(self.couplings):
            log_scale, shift = coupling(x, features)
            x = (x - shift) * (-log_scale).exp()
            log_det = log_det - log_scale.sum(-1)
        return x, log_det

    def log_prob(self, x: Tensor, features: Tensor) -> Tensor:
        """log p(x | F) (N, M) of poses x (N, M, 2J)."""
        z, log_det = self.inverse(x, features)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def _joint_spread(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m (N, 1, J, 2), the log of L's diagonal (N, 1, J, 2), and L's lower left as a share of its lower right."""
        raw = self.spread(features).unsqueeze(1)
        log_spread = MEAN_LOG_SPREAD + _bounded(raw[..., 2:4], MAX_LOG_SPREAD)
        return raw[..., :2], log_spread, _bounded(raw[..., 4], MAX_SHEAR)


class _Coupling(nn.Module):
    """s and t (N, M, 2J) from the kept numbers of x (N, M, 2J) and the features; both are 0 where x is kept."""

    kept: Tensor

    def __init__(self, config: NetworkConfig, kept: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept, persistent=False)
        self.pose = nn.Linear(POSE, config.flow_width)
        self.condition = nn.Linear(JOINTS * config.width, config.flow_width)
        self.hidden = nn.Linear(config.flow_width, config.flow_width)
        self.out = nn.Linear(config.flow_width, 2 * POSE)
        nn.init.normal_(self.out.weight, std=1e-3)  # a coupling starts near the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        condition = self.condition(features.flatten(1)).unsqueeze(1)
        hidden = functional.silu(self.pose(x * self.kept) + condition)
        log_scale, shift = self.out(functional.silu(self.hidden(hidden))).chunk(2, -1)
        moved = 1 - self.kept
        return _bounded(log_scale, MAX_LOG_SCALE) * moved, _bounded(shift, MAX_SHIFT) * moved


def _bounded(value: Tensor, limit: float) -> Tensor:
    return limit * torch.tanh(value / limit)


def _kept_numbers(layers: int) -> list[Tensor]:
    """Masks (2J,): every other joint, the joints in between, u of all joints, v of all joints, and so on."""
    number = torch.arange(POSE)
    patterns = (number // 2 % 2 == 0, number // 2 % 2 == 1, number % 2 == 0, number % 2 == 1)
    return [patterns[layer % 4].float() for layer in range(layers)]
