"""Adaptive graph convolution over the V x J joints of all views (UST-Hand, section 3.2).

Following Shi et al., "Two-Stream Adaptive Graph Convolutional Networks", CVPR 2019, no graph is given:

    A = softmax_j(theta(x_i) . phi(x_j) / sqrt(d) + B[joint of i, joint of j]),    y = x + relu(A x W) U

with A inferred from the features and B learned for pairs of joints. Absent views are no nodes: A's columns for them
are 0. Views share all weights, so permuting them permutes the result.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.hand import JOINTS
from models.network.config import NetworkConfig

LAYERS = 2


class AdaptiveGraphConvolution(nn.Module):
    """Joint features (B, V, J, D) of all views to features of the same shape that know of each other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.camera = nn.Linear(6, config.width) if config.camera_embedding else None
        self.layers = nn.ModuleList(_GraphLayer(config) for _ in range(LAYERS))

    def forward(self, features: Tensor, P_crop: Tensor, view_mask: Tensor) -> Tensor:
        """`P_crop` (B, V, 3, 4) maps hand-centred metres to crop pixels, `view_mask` is bool (B, V)."""
        if self.camera is not None:
            features = features + self.camera(camera_axes(P_crop)).unsqueeze(2)
        present = view_mask.unsqueeze(2).expand(-1, -1, JOINTS).flatten(1)
        nodes = features.flatten(1, 2)
        for layer in self.layers:
            nodes = layer(nodes, present)
        return nodes.unflatten(1, (-1, JOINTS))


class _GraphLayer(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm = nn.LayerNorm(width)
        self.theta_phi_w = nn.Linear(width, 3 * width)
        self.joint_pairs = nn.Parameter(torch.zeros(config.heads, JOINTS, JOINTS))
        self.out = nn.Linear(width, width)

    def forward(self, nodes: Tensor, present: Tensor) -> Tensor:
        projected = self.theta_phi_w(self.norm(nodes)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        theta, phi, values = projected.unbind(0)
        logits = torch.matmul(theta, phi.transpose(2, 3)) / theta.shape[-1] ** 0.5
        views = logits.unflatten(3, (-1, JOINTS)).unflatten(2, (-1, JOINTS))
        logits = (views + self.joint_pairs[:, None, :, None, :]).flatten(4, 5).flatten(2, 3)
        # Finite, so that a frame without any view stays finite; beside a present node it gives exactly 0.
        adjacency = logits.float().masked_fill(~present[:, None, None, :], -1e9).softmax(-1)
        heard = torch.matmul(adjacency.to(values.dtype), values)
        return nodes + self.out(functional.relu(heard.transpose(1, 2).flatten(2)))


def camera_axes(P_crop: Tensor) -> Tensor:
    """World directions (..., 6), unit vectors: where a camera P (..., 3, 4) looks, and where its image's u grows."""
    rows = P_crop[..., :3].float()
    looks = functional.normalize(rows[..., 2, :], dim=-1, eps=1e-9)
    u = rows[..., 0, :] - (rows[..., 0, :] * looks).sum(-1, keepdim=True) * looks
    return torch.cat([looks, functional.normalize(u, dim=-1, eps=1e-9)], -1)
