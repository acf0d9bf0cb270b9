"""Confidence-aware self-attention over the joints of one view (CASA; UST-Hand, section 3.2).

The attention of joint i to joint j is softmax_j(q_i . k_j / sqrt(d) + s log c_j) with one learned s >= 0 a head, that
is, attention to a joint scales with the power s of its confidence c_j: unsure joints are listened to less.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.config import NetworkConfig


class ConfidenceAwareAttention(nn.Module):
    """Joint features (N, J, D) and confidences (N, J) to joint features (N, J, D)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.trust = nn.Parameter(torch.zeros(config.heads))
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, features: Tensor, confidence: Tensor) -> Tensor:
        queries, keys, values = self._project(features)
        heard = torch.matmul(self._weights(queries, keys, confidence), values)
        features = features + self.out(heard.transpose(1, 2).flatten(2))
        return features + self.feed_forward(features)

    def attention(self, features: Tensor, confidence: Tensor) -> Tensor:
        """Attention (N, heads, J listening, J heard); each row sums to 1."""
        queries, keys, _ = self._project(features)
        return self._weights(queries, keys, confidence)

    def _project(self, features: Tensor) -> tuple[Tensor, ...]:
        return (
            self.query_key_value(self.norm(features))
            .unflatten(-1, (3, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )

    def _weights(self, queries: Tensor, keys: Tensor, confidence: Tensor) -> Tensor:
        trust = functional.softplus(self.trust).view(-1, 1, 1)
        bias = trust * confidence.clamp_min(1e-6).log()[:, None, None, :]
        return (torch.matmul(queries, keys.transpose(2, 3)) / queries.shape[-1] ** 0.5 + bias).softmax(-1)
