"""3D points from their images in calibrated views: the confidence-weighted Direct Linear Transform (DLT).

A view that sees X at (u, v) gives two equations, linear in X:  (u P3 - P1) . (X, 1) = 0 and (v P3 - P2) . (X, 1) = 0,
with Pi the rows of P (Hartley and Zisserman, "Multiple View Geometry", section 12.2). Each view's two are weighted by
w, and the least-squares solution is that of the 3x3 normal equations, solved here by the adjugate: N^-1 = adj(N) /
det(N). Unlike a singular value decomposition this exports to ONNX.

What makes float32 enough: image coordinates run from -1 to 1 over the crop, P is scaled to depth 1 at the origin,
which lies at the hand, and refinements solve again for what the solution left over. They also undo the pull to the
origin of the tiny ridge that keeps degenerate cases (a single view, no view) finite. Two cameras 5 degrees apart still
give exact images back to 0.003 mm.
"""

import torch
from torch import Tensor

from models.network.crop_coordinates import normalise
from models.network.precision import float32_region

REFINEMENTS = 2
_AGREEMENT = 0.04
"""A distance between a view's point and all views', as a share of the crop's side, that quarters the view's weight."""
RIDGE = 3e-7
"""The share of the mean diagonal of N added to it."""


def condition_cameras(P_crop: Tensor, crop_px: int) -> Tensor:
    """P (..., 3, 4) to crop pixels, made P (..., 3, 4) to normalised crop coordinates with depth 1 at the origin.

    An all-zero P, that of an absent view, stays all-zero.
    """
    P = P_crop.float()
    depth = P[..., 2:3, 3:4]
    P = P / torch.where(depth.abs() < 1e-9, torch.ones_like(depth), depth)
    third = P[..., 2:3, :]
    return torch.cat([(2 * P[..., :2, :] + third) / crop_px - third, third], -2)


def project(points_m: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised crop coordinates (..., 2) and depths (..., 1) of points (..., 3) by a conditioned P (..., 3, 4)."""
    seen = (P[..., :3] * points_m.unsqueeze(-2)).sum(-1) + P[..., 3]
    depth = seen[..., 2:]
    return seen[..., :2] / depth.clamp_min(1e-2), depth


def triangulate(
    points_px: Tensor, weights: Tensor, P_crop: Tensor, crop_px: int, refinements: int = REFINEMENTS
) -> Tensor:
    """Hand-centred points (..., 3) in metres, float32, from their images in V views.

    Args:
        points_px: (..., V, 2) crop pixels.
        weights: (..., V), 0 or more; only their ratios matter, and 0 removes a view exactly.
        P_crop: (..., V, 3, 4), hand-centred metres to crop pixels.
        crop_px: side of the crops.
        refinements: how often it is solved again for what is left over.

    Leading dimensions broadcast. With fewer than two views of weight the result is finite: the point of the ray
    nearest to the origin, or the origin.
    """
    with float32_region(points_px):
        P = condition_cameras(P_crop, crop_px)
        return _least_squares(_equations(normalise(points_px.float(), crop_px), P), weights.float(), refinements)


def agreeing_weights(points_px: Tensor, weights: Tensor, P_crop: Tensor, crop_px: int, rounds: int) -> Tensor:
    """The weights (..., V), less where a view disagrees with the point that all views give, solved for so many rounds.

    Arguments as of `triangulate`; each round weighs by `agreement` with the point of the last weights.
    """
    with float32_region(points_px):
        image, P = normalise(points_px.float(), crop_px), condition_cameras(P_crop, crop_px)
        equations, agreeing = _equations(image, P), weights.float()
        for _ in range(rounds):
            seen, _ = project(_least_squares(equations, agreeing, 1).unsqueeze(-2), P)
            agreeing = weights * _agreement(image, seen)
        return agreeing


def _equations(image: Tensor, P: Tensor) -> Tensor:
    """(..., V, 2, 4): what the images (..., V, 2) say of a point, with conditioned cameras (..., V, 3, 4)."""
    return image.unsqueeze(-1) * P[..., 2:, :] - P[..., :2, :]


def _least_squares(equations: Tensor, weights: Tensor, refinements: int) -> Tensor:
    """(..., 3): the weighted least-squares solution of equations (..., V, 2, 4)."""
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-20)
    weighted = equations[..., :3] * weights[..., None, None]
    # Row by row: OpenVINO 2026.4 multiplies tensors of seven axes wrongly.
    N = torch.stack([(row * equations[..., :3]).sum((-3, -2)) for row in weighted.split(1, -1)], -2)
    trace = N.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    N = N + (RIDGE / 3 * trace + 1e-9) * torch.eye(3, device=N.device)
    adjugate, determinant = _adjugate(N)
    points_m, left = equations.new_zeros(3), equations[..., 3]
    for _ in range(1 + refinements):
        b = -(weighted * left.unsqueeze(-1)).sum((-3, -2))
        points_m = points_m + (adjugate * b.unsqueeze(-2)).sum(-1) / determinant
        left = equations[..., 3] + (equations[..., :3] * points_m[..., None, None, :]).sum(-1)
    return points_m


def agreement(points_m: Tensor, points_px: Tensor, P_crop: Tensor, crop_px: int) -> Tensor:
    """How much views' images (B, V, J, 2) of points (B, J, 3) are to be trusted: (B, V, J) in 0..1.

    1 / (1 + (r / _AGREEMENT)^2)^2 of the distance r to the point's projection (S. Geman and D. McClure, 1987).
    """
    with float32_region(points_px):
        seen, _ = project(points_m.unsqueeze(1), condition_cameras(P_crop, crop_px)[:, :, None])
        return _agreement(normalise(points_px.float(), crop_px), seen)


def _agreement(image: Tensor, seen: Tensor) -> Tensor:
    return (1 + ((image - seen) / 2).square().sum(-1) / _AGREEMENT**2) ** -2


def _adjugate(N: Tensor) -> tuple[Tensor, Tensor]:
    """Of positive definite N (..., 3, 3) the adjugate, which the cross products of its rows are, and the determinant
    (..., 1)."""
    rows = N.unbind(-2)
    adjugate = torch.stack([_cross(rows[1], rows[2]), _cross(rows[2], rows[0]), _cross(rows[0], rows[1])], -2)
    return adjugate, (rows[0] * adjugate[..., 0, :]).sum(-1, keepdim=True).clamp_min(1e-30)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (a0, a1, a2), (b0, b1, b2) = a.unbind(-1), b.unbind(-1)
    return torch.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)
