"""Stage 1 on what a landmark network said: points as they are, trust, presence, and views that disagree."""

import numpy as np
import torch

from models.network.config import recipe
from models.network.crop_coordinates import normalise
from models.network.landmark_features import SIGHTING, Sightings, confidence_of
from models.network.landmark_net import IMAGE_PX
from models.network.lifting import agreeing_weights
from models.network.stage1 import Stage1, Stage1Output
from models.network.ust_hand import draw_latents

CONFIG = recipe("live", casa=False, gcn=False, flow=False)
VIEWS = 4


def cameras(count: int) -> torch.Tensor:
    """P_crop (count, 3, 4) of cameras around the origin, half a metre away, which see 0.2 m across the crop."""
    found = []
    for angle in np.linspace(0, 1.5 * np.pi, count):
        R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        focal, middle = IMAGE_PX * 0.5 / 0.2, (IMAGE_PX - 1) / 2
        K = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
        found.append(K @ np.column_stack([R, [0, 0, 0.5]]))
    return torch.from_numpy(np.stack(found)).float()


def packed(points_px: torch.Tensor, presence: list[float]) -> torch.Tensor:
    """(1, V, SIGHTING) of points (V, J, 2) with these presence logits."""
    torch.manual_seed(3)
    views = len(points_px)
    depth = torch.zeros(views, 21, 1)
    return Sightings(
        keypoints_px=torch.cat([points_px, depth], -1),
        presence_logit=torch.tensor(presence),
        right_logit=torch.zeros(views),
        pooled=torch.rand(views, 1152),
        samples=torch.rand(views, 21, 368),
    ).pack()[None]


def seen_points(P: torch.Tensor, joints_m: torch.Tensor) -> torch.Tensor:
    homogeneous = torch.einsum("vab,jb->vja", P, torch.cat([joints_m, torch.ones(21, 1)], -1))
    return homogeneous[..., :2] / homogeneous[..., 2:]


def run(points_px: torch.Tensor, P: torch.Tensor, presence: list[float]) -> Stage1Output:
    torch.manual_seed(0)
    stage1 = Stage1(CONFIG).eval()
    mask = torch.ones(1, len(P), dtype=torch.bool)
    with torch.inference_mode():
        return stage1(packed(points_px, presence), P[None], mask, draw_latents(CONFIG, 1, len(P), 0))


def test_the_points_are_lifted_as_they_are() -> None:
    P, joints_m = cameras(VIEWS), 0.06 * (torch.rand(21, 3) - 0.5)
    found = run(seen_points(P, joints_m), P, [8.0] * VIEWS)
    assert found.heatmaps is None and found.keypoints_px.shape == (1, VIEWS, 21, 2)
    # Half precision of a share of 224 pixels is a tenth of one, which is 0.1 mm here.
    assert (found.queries_m[0] - joints_m).norm(dim=-1).max() < 5e-4
    assert (found.presence > 0.99).all()


def test_a_view_without_a_hand_does_not_count() -> None:
    P, joints_m = cameras(VIEWS), 0.06 * (torch.rand(21, 3) - 0.5)
    points_px = seen_points(P, joints_m)
    points_px[1] = IMAGE_PX * torch.rand(21, 2)
    found = run(points_px, P, [8.0, -14.0, 8.0, 8.0])
    assert found.presence[0, 1] < 1e-4
    assert (found.queries_m[0] - joints_m).norm(dim=-1).max() < 1e-3


def test_a_joint_that_one_view_puts_elsewhere_is_outvoted() -> None:
    P, joints_m = cameras(VIEWS), 0.06 * (torch.rand(21, 3) - 0.5)
    points_px = seen_points(P, joints_m)
    points_px[2, 8] += torch.tensor([40.0, -30.0])
    found = run(points_px, P, [8.0] * VIEWS)
    assert (found.queries_m[0, 8] - joints_m[8]).norm() < 0.003
    image = points_px.transpose(0, 1)
    weights = agreeing_weights(image, torch.ones(21, VIEWS), P, IMAGE_PX, rounds=3)
    assert weights[8].argmin() == 2 and weights[8, 2] < 0.2 and weights[7].min() > 0.99
    assert normalise(image, IMAGE_PX).abs().max() < 1.2


def test_confidence_falls_with_the_square_of_the_spread() -> None:
    spread = torch.tensor([0.001, 0.01, 0.1, 0.2])
    expected = 1 / (1 + (spread / 0.01) ** 2)
    torch.testing.assert_close(confidence_of(spread.log()), expected)
    assert SIGHTING == 63 + 2 + 1152 + 21 * 368
