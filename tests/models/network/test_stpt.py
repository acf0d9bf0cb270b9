"""Stage 2: what its attentions compute, what they must not depend on, and its covariance."""

import pytest
import torch
from torch import Tensor

from calibration.hand import JOINTS
from models.network.config import NetworkConfig, recipe
from models.network.covariance import CovarianceHead
from models.network.cross_attention import CrossAttention
from models.network.spatial_attention import SpatialAttention, nearest
from models.network.stpt import SpatiotemporalPointTransformer, STPTOutput
from models.network.temporal_attention import TemporalAttention

CONFIG = recipe("tiny")
T, P, D = CONFIG.frames, CONFIG.cloud_points, CONFIG.width


def build(config: NetworkConfig = CONFIG) -> SpatiotemporalPointTransformer:
    """A transformer with weights as after training, where no offset is nearly zero."""
    torch.manual_seed(1)
    model = SpatiotemporalPointTransformer(config)
    for block in model.blocks:
        torch.nn.init.normal_(block.offset[-1].weight, std=0.3)  # type: ignore[union-attr]
    return model.eval()


def clouds(seed: int = 0, batch: int = 2, config: NetworkConfig = CONFIG) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    queries_m = 0.05 * draw(batch, T, JOINTS, 3)
    anchors_m = (queries_m[:, :, None] + 0.01 * draw(batch, T, config.hypotheses, JOINTS, 3)).flatten(2, 3)
    return {
        "anchors_m": anchors_m,
        "anchor_features": draw(batch, T, config.cloud_points, D),
        "queries_m": queries_m,
        "query_features": draw(batch, T, JOINTS, D),
        "origins_m": torch.cat([0.2 * draw(batch, T - 1, 3), torch.zeros(batch, 1, 3)], dim=1),
        "frame_mask": torch.ones(batch, T, dtype=torch.bool),
    }


@torch.no_grad()
def refine(model: SpatiotemporalPointTransformer, inputs: dict[str, Tensor]) -> STPTOutput:
    return model(**inputs)


def test_the_choice_of_origins_changes_nothing() -> None:
    """Other origins of the frames, each by itself, describe the same points in space; tolerance: float32 at 1 m."""
    model, inputs = build(), clouds()
    before = refine(model, inputs)
    moved_m = 0.5 * torch.randn(T, 1, 3, generator=torch.Generator().manual_seed(2))
    other_world_m = torch.tensor([-0.4, 0.2, 0.7])
    other = inputs | {
        "anchors_m": inputs["anchors_m"] - moved_m,
        "queries_m": inputs["queries_m"] - moved_m,
        "origins_m": inputs["origins_m"] + moved_m[:, 0] + other_world_m,
    }
    after = refine(model, other)
    assert (before.queries_m[:, -1] - inputs["queries_m"]).norm(dim=-1).mean() > 2e-3
    torch.testing.assert_close(after.queries_m + moved_m, before.queries_m, atol=2e-6, rtol=0)
    torch.testing.assert_close(after.covariance_m2, before.covariance_m2, atol=1e-9, rtol=1e-3)


def test_points_that_move_between_the_frames_do_change_the_result() -> None:
    model, inputs = build(), clouds()
    moved = inputs | {"origins_m": inputs["origins_m"] * 2}
    assert (refine(model, moved).queries_m - refine(model, inputs).queries_m).abs().max() > 1e-5


@pytest.mark.parametrize("absent", [[0], [1], [0, 1]])
def test_an_absent_frame_changes_nothing_whatever_it_holds(absent: list[int]) -> None:
    model, inputs = build(), clouds()
    inputs["frame_mask"][:, absent] = False
    present = [t for t in range(T) if t not in absent]
    first = refine(model, inputs)
    for junk in (7.0, float("nan"), float("inf")):
        for name in ("anchors_m", "anchor_features", "queries_m", "query_features", "origins_m"):
            inputs[name][:, absent] = junk
        again = refine(model, inputs)
        assert torch.equal(again.queries_m[:, :, present], first.queries_m[:, :, present])
        assert torch.equal(again.covariance_m2, first.covariance_m2)
    everything = refine(model, inputs | {"frame_mask": torch.ones(2, T, dtype=torch.bool)})
    assert not torch.allclose(everything.queries_m[:, :, -1], first.queries_m[:, :, -1])


def test_the_order_of_the_hypotheses_changes_nothing() -> None:
    """Of those that the transformer reads, all that there are here."""
    config = recipe("tiny", anchors=CONFIG.hypotheses)
    model, inputs = build(config), clouds(config=config)
    order = torch.randperm(config.hypotheses, generator=torch.Generator().manual_seed(3))
    shuffled = {
        name: inputs[name].unflatten(2, (config.hypotheses, JOINTS))[:, :, order].flatten(2, 3)
        for name in ("anchors_m", "anchor_features")
    }
    before, after = refine(model, inputs), refine(model, inputs | shuffled)
    torch.testing.assert_close(after.queries_m, before.queries_m, atol=1e-6, rtol=0)


def test_hypotheses_beyond_those_that_are_read_shape_the_covariance_alone() -> None:
    model, inputs = build(), clouds()
    assert P == CONFIG.anchors * JOINTS < CONFIG.hypotheses * JOINTS
    moved_m = inputs["anchors_m"].clone()
    moved_m[:, :, P:] += 0.01
    before, after = refine(model, inputs), refine(model, inputs | {"anchors_m": moved_m})
    assert torch.equal(after.queries_m, before.queries_m)
    assert not torch.allclose(after.covariance_m2, before.covariance_m2, rtol=1e-3)
    fewer = build(recipe("tiny", hypotheses=CONFIG.anchors))
    alone = refine(fewer, inputs | {"anchors_m": inputs["anchors_m"][:, :, :P]})
    assert torch.equal(alone.queries_m, before.queries_m)


def test_nearest_agrees_with_sorting_all_distances() -> None:
    points_m = torch.randn(3, 40, 3) + 5
    found = nearest(points_m, 6)
    distances = (points_m[:, :, None].double() - points_m[:, None].double()).norm(dim=-1)
    expected = distances.argsort(dim=-1)[..., :6]
    assert torch.equal(found.sort(dim=-1).values, expected.sort(dim=-1).values)


@torch.no_grad()
def test_spatial_attention_is_its_equation() -> None:
    """Against a loop over points, neighbours and the paper's symbols."""
    torch.manual_seed(0)
    attention, points_m, x = SpatialAttention(D, 4), 0.05 * torch.randn(1, 9, 3), torch.randn(1, 9, D)
    phi, psi, alpha = attention.projections(attention.norm(x))[0].split(D, dim=-1)
    for i in range(9):
        near = (points_m[0] - points_m[0, i]).norm(dim=-1).argsort()[:4]
        delta = torch.stack([attention.position((points_m[0, i] - points_m[0, j]) / 0.02) for j in near])
        logits = torch.stack([attention.weight(phi[i] - psi[j] + d) for j, d in zip(near, delta, strict=True)])
        y = (logits.softmax(dim=0) * (alpha[near] + delta)).sum(dim=0)
        torch.testing.assert_close(attention(points_m, x)[0, i], x[0, i] + attention.out(y), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_temporal_attention_keeps_points_apart() -> None:
    torch.manual_seed(0)
    attention, points_m, x = TemporalAttention(D, 2, T), torch.randn(1, T, 5, 3), torch.randn(1, T, 5, D)
    mask = torch.ones(1, T, dtype=torch.bool)
    before = attention(points_m, x, mask)
    points_m[:, :, 2], x[:, :, 2] = 9.0, 9.0
    after = attention(points_m, x, mask)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(after[:, :, others], before[:, :, others])
    assert not torch.allclose(after[:, :, 2], before[:, :, 2])


@torch.no_grad()
def test_temporal_attention_knows_the_order_of_time() -> None:
    torch.manual_seed(0)
    attention, points_m, x = TemporalAttention(D, 2, T), torch.zeros(1, T, 5, 3), torch.randn(1, T, 5, D)
    mask = torch.ones(1, T, dtype=torch.bool)
    backwards = attention(points_m, x.flip(1), mask).flip(1)
    assert not torch.allclose(backwards, attention(points_m, x, mask), atol=1e-3)


@torch.no_grad()
def test_cross_attention_hears_near_anchors_more() -> None:
    """With the same features everywhere, what a query hears of an anchor falls with the anchor's distance."""
    torch.manual_seed(0)
    attention = CrossAttention(D, 2)
    query, anchors = torch.randn(1, 1, D), torch.randn(1, 1, D).repeat(1, 3, 1)

    def change(anchor: int) -> float:
        anchors_m = torch.tensor([[[0.002, 0, 0], [0.03, 0, 0], [0.3, 0, 0]]])
        before = attention(torch.zeros(1, 1, 3), query, anchors_m, anchors)
        spoken = anchors.clone()
        spoken[:, anchor] += torch.randn(D, generator=torch.Generator().manual_seed(5))
        return float((attention(torch.zeros(1, 1, 3), query, anchors_m, spoken) - before).abs().sum())

    near, far, farthest = change(0), change(1), change(2)
    assert near > 1.5 * far > 0 and farthest < 1e-5


@torch.no_grad()
def test_covariances_are_positive_definite_and_follow_the_spread_of_the_hypotheses() -> None:
    torch.manual_seed(0)
    head, features, queries_m = CovarianceHead(D), torch.randn(2, JOINTS, D), torch.zeros(2, JOINTS, 3)
    anchors_m = 0.004 * torch.randn(2, CONFIG.hypotheses, JOINTS, 3)
    plain = head(features, queries_m, anchors_m.flatten(1, 2))
    wide = head(features, queries_m, (anchors_m * torch.tensor([1, 1, 3])).flatten(1, 2))
    same = head(features, queries_m, torch.zeros(2, CONFIG.hypotheses * JOINTS, 3))
    far = head(features, queries_m, torch.full((2, CONFIG.hypotheses * JOINTS, 3), 9.0))
    for covariance_m2 in (plain, wide, same, far):
        torch.testing.assert_close(covariance_m2, covariance_m2.transpose(-1, -2))
        assert torch.linalg.eigvalsh(covariance_m2.double()).min() >= 0.9 * 0.0003**2
    torch.testing.assert_close(wide[..., :2, :2], plain[..., :2, :2], atol=1e-10, rtol=1e-4)
    torch.testing.assert_close((wide - same)[..., 2, 2], 9 * (plain - same)[..., 2, 2], atol=1e-9, rtol=1e-3)


@pytest.mark.parametrize("part", ["spatial", "temporal", "cross", "stpt"])
def test_a_part_that_is_off_is_gone(part: str) -> None:
    names = [name for name, _ in build(recipe("tiny", **{part: False})).named_parameters()]
    assert not any((part in name) or (part == "stpt" and "blocks" in name) for name in names)
    inputs = clouds()
    output = refine(build(recipe("tiny", **{part: False})), inputs)
    assert output.queries_m.shape == (2, 1 if part == "stpt" else CONFIG.blocks, T, JOINTS, 3)
    assert torch.equal(output.queries_m[:, 0], inputs["queries_m"]) == (part == "stpt")


def test_gradients_reach_every_parameter_and_input() -> None:
    model, inputs = build().train(), clouds()
    for name in ("anchors_m", "anchor_features", "queries_m", "query_features"):
        inputs[name].requires_grad_()
    output = model(**inputs)
    (output.queries_m.square().sum() + 1e4 * output.covariance_m2.sum()).backward()
    tensors = dict(model.named_parameters()) | {n: t for n, t in inputs.items() if t.requires_grad}
    assert [name for name, t in tensors.items() if t.grad is None or not t.grad.abs().sum() > 0] == []
