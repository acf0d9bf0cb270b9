"""What the attentions over point clouds share: the unit of length, and attention that also returns where it looked."""

from torch import Tensor

from models.network.precision import float32_region

LENGTH_M = 0.02
"""Offsets between points enter the network in this unit, about a finger's width."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, own_m: Tensor, points_m: Tensor, bias: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Multi-head attention (A. Vaswani et al., 2017) over points: softmax(q k / sqrt(d) + bias).

    Query (N, Q, D), key and value (N, P, D) at positions `own_m` (N, Q, 3) and `points_m` (N, P, 3), bias broadcast to
    (N, heads, Q, P). Returns the mean of the values (N, Q, D) and, for each head, the mean of the points' positions
    relative to the query's, (N, Q, heads x 3) in LENGTH_M: so the result knows from where it was told, at the cost
    of no pairwise encoding, and does not depend on the origin. The weights and positions are float32 throughout.
    """
    D = query.shape[-1]
    q, k, v = (each.unflatten(-1, (heads, D // heads)).transpose(1, 2) for each in (query, key, value))
    with float32_region(query):
        logits = (q @ k.transpose(-1, -2)).float() * (heads / D) ** 0.5 + bias
        weights = logits.softmax(dim=-1)
        centre_m = points_m.mean(dim=1, keepdim=True)
        seen_m = weights @ (points_m - centre_m)[:, None] - (own_m - centre_m)[:, None]
        told = weights.to(v.dtype) @ v
    return told.transpose(1, 2).flatten(2), seen_m.transpose(1, 2).flatten(2) / LENGTH_M
