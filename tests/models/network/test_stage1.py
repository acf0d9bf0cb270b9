"""Stage 1 of the network: its parts against known truth, and masks, permutations, gradients and export of the whole."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from calibration.errors import UserError
from calibration.hand import JOINTS
from models.network.backbone import Backbone
from models.network.casa import ConfidenceAwareAttention
from models.network.config import PARTS, NetworkConfig, recipe, without
from models.network.crop_coordinates import cell_centres_px, normalise, sample
from models.network.heatmap_head import soft_argmax_px
from models.network.point_features import look_at_points
from models.network.stage1 import Stage1, Stage1Output
from tests.models.network.test_lifting import CROP_PX, cameras, images

TINY = recipe("tiny")
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def inputs(config: NetworkConfig, batch: int, views: int, seed: int = 0) -> Inputs:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    P = np.stack([cameras(rng, views) for _ in range(batch)])
    P[..., :2, :] *= config.crop_px / CROP_PX
    crops = torch.randint(0, 256, (batch, views, config.crop_px, config.crop_px, 3), dtype=torch.uint8)
    latents = torch.randn(batch, config.hypotheses, views, 2 * JOINTS)
    return crops, torch.tensor(P, dtype=torch.float32), torch.ones(batch, views, dtype=torch.bool), latents


def network(config: NetworkConfig = TINY) -> Stage1:
    torch.manual_seed(0)
    return Stage1(config)


def assert_same(found: Stage1Output, expected: Stage1Output, atol: float) -> None:
    for name, ours, theirs in zip(Stage1Output._fields, found, expected, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
            continue
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


def test_soft_argmax_of_known_heatmaps() -> None:
    heatmaps = torch.zeros(2, 32, 32)
    heatmaps[0, 3, 20] = 1  # row 3, column 20: the cell of pixels 80..83 x 12..15
    heatmaps[1, 0, 0] = heatmaps[1, 0, 1] = 0.5
    torch.testing.assert_close(soft_argmax_px(heatmaps, 128), torch.tensor([[81.5, 13.5], [3.5, 1.5]]))
    centres = cell_centres_px(32, 128, heatmaps)
    truth_px = torch.tensor([50.3, 71.9])
    distance = (centres - truth_px[0]).square()[None, :] + (centres - truth_px[1]).square()[:, None]
    blob = (-distance / (2 * 6.0**2)).flatten().softmax(0).view(32, 32)
    torch.testing.assert_close(soft_argmax_px(blob, 128), truth_px, rtol=0, atol=1e-3)


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_samples_of_a_map_lie_where_its_cells_tile_the_crop(stride: int) -> None:
    centres = cell_centres_px(128 // stride, 128, torch.zeros(1))
    where = torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[
        None
    ]  # a map of each cell's own pixel position
    points_px = torch.tensor([[[30.0, 70.0], [64.25, 63.5], [100.0, 17.125]]])
    torch.testing.assert_close(sample(where, normalise(points_px, 128)), points_px, rtol=0, atol=1e-3)


def test_attention_to_a_joint_falls_with_its_confidence() -> None:
    torch.manual_seed(0)
    casa, features = ConfidenceAwareAttention(TINY), torch.randn(1, JOINTS, TINY.width)
    confidence = torch.full((1, JOINTS), 0.2)
    heard = []
    for value in (0.2, 0.1, 0.05, 0.001):
        confidence[0, 8] = value
        heard.append(casa.attention(features, confidence)[..., 8])
    assert all((later < earlier).all() for earlier, later in zip(heard, heard[1:], strict=False))
    assert (heard[-1] < 0.1 * heard[0]).all()


def test_the_step_of_a_view_carries_a_point_onto_its_estimate() -> None:
    rng = np.random.default_rng(0)
    P, truth_m = cameras(rng, 4), rng.uniform(-0.06, 0.06, (JOINTS, 3))
    moved_m = truth_m + rng.normal(0, 0.003, truth_m.shape)
    as_tensor = lambda value: torch.tensor(value, dtype=torch.float32)[None]  # noqa: E731
    keypoints_px = as_tensor(images(P, truth_m).transpose(1, 0, 2))
    points = as_tensor(np.stack([truth_m, moved_m]))
    seen, step_m, visible = look_at_points(points, as_tensor(P), keypoints_px, CROP_PX)
    torch.testing.assert_close(seen[:, :, 0], normalise(keypoints_px, CROP_PX), rtol=0, atol=1e-5)
    assert step_m[:, :, 0].abs().max() < 1e-6 and visible.min() == 1
    for view in range(4):
        carried_px = images(P[view : view + 1], moved_m + step_m[0, view, 1].double().numpy())[:, 0]
        before_px = images(P[view : view + 1], moved_m)[:, 0]
        left, first = (np.abs(each - keypoints_px[0, view].numpy()).max() for each in (carried_px, before_px))
        assert left < 0.1 * first


@pytest.mark.parametrize("training", [False, True])
def test_an_absent_view_changes_nothing(training: bool) -> None:
    crops, P, mask, latents = inputs(TINY, 2, 4)
    mask[0, 1] = mask[1, 3] = False
    one, other = network().train(training), network().train(training)
    expected = one(crops, P, mask, latents)
    crops, P, latents = crops.clone(), P.clone(), latents.clone()
    for frame, view in ((0, 1), (1, 3)):
        crops[frame, view] = torch.randint(0, 256, crops.shape[2:], dtype=torch.uint8)
        P[frame, view] = torch.randn(3, 4) if frame else 0
        latents[frame, :, view] = torch.randn(latents.shape[1::2])
    assert_same(other(crops, P, mask, latents), expected, atol=0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), f"{name}: statistics of an absent view"
    assert expected.confidence[0, 1].max() == 0 and expected.confidence[0, 0].min() > 0


@pytest.mark.parametrize("training", [False, True])
def test_an_absent_view_equals_a_view_less(training: bool) -> None:
    crops, P, mask, latents = inputs(TINY, 2, 4)
    mask[:, 2] = False
    found = network().train(training)(crops, P, mask, latents)
    kept = [0, 1, 3]
    fewer = network().train(training)(crops[:, kept], P[:, kept], mask[:, kept], latents[:, :, kept])
    assert_same(_pick_views(found, kept), fewer, atol=2e-5)


def test_permuting_views_changes_nothing() -> None:
    crops, P, mask, latents = inputs(TINY, 2, 5)
    mask[0, 4] = False
    order = [3, 0, 4, 1, 2]
    stage1 = network().eval()
    expected = _pick_views(stage1(crops, P, mask, latents), order)
    assert_same(stage1(crops[:, order], P[:, order], mask[:, order], latents[:, :, order]), expected, atol=2e-5)


def _pick_views(output: Stage1Output, views: list[int]) -> Stage1Output:
    names = ("heatmaps", "keypoints_px", "confidence", "log_spread", "presence", "right", "features")
    by_view = {name: getattr(output, name)[:, views] for name in names if getattr(output, name) is not None}
    return output._replace(**by_view, hypotheses_px=output.hypotheses_px[:, :, views], mode_px=output.mode_px[:, views])


def test_frames_without_any_view_or_light_stay_finite() -> None:
    crops, P, mask, latents = inputs(TINY, 2, 3)
    mask[1] = False
    crops[0] = 0
    for training in (False, True):
        output = network().train(training)(crops, P, mask, latents)
        assert all(value.isfinite().all() for value in output if value is not None)


def test_results_are_float32_and_near_under_bf16_autocast() -> None:
    given = inputs(TINY, 1, 4)
    stage1 = network().eval()
    expected = stage1(*given)
    with torch.autocast("cpu", torch.bfloat16):
        found = stage1(*given)
    assert {value.dtype for value in found if value is not None} == {torch.float32}
    assert (found.keypoints_px - expected.keypoints_px).abs().max() < 0.5
    assert (found.queries_m - expected.queries_m).abs().max() < 0.002


def test_zero_latents_give_the_mode_and_others_spread_around_it() -> None:
    crops, P, mask, latents = inputs(TINY, 1, 4)
    stage1 = network().eval()
    still = stage1(crops, P, mask, torch.zeros_like(latents))
    torch.testing.assert_close(still.hypotheses_px[:, 0], still.mode_px)
    torch.testing.assert_close(still.anchors_m.unflatten(1, (-1, JOINTS))[:, 0], still.queries_m)
    drawn = stage1(crops, P, mask, latents)
    assert torch.equal(drawn.queries_m, still.queries_m)
    spread = (drawn.hypotheses_px - drawn.mode_px.unsqueeze(1)).std() / TINY.crop_px
    assert 0.02 < spread < 0.03, "an untrained flow draws with its initial spread"


def test_in_use_a_share_of_the_correction_is_left_and_its_spread_stays() -> None:
    *given, latents = inputs(TINY, 1, 4)
    whole = network().eval()
    assert whole.flow is not None
    torch.nn.init.normal_(whole.flow.spread.bias, std=0.1)
    half = network(recipe("tiny", correction_share=0.5)).eval()
    half.load_state_dict(whole.state_dict())
    found, expected = half(*given, latents), whole(*given, latents)
    torch.testing.assert_close(found.keypoints_px, expected.keypoints_px)
    corrections_px = expected.mode_px - expected.keypoints_px
    assert corrections_px.abs().mean() > 0.1
    torch.testing.assert_close(found.mode_px - found.keypoints_px, corrections_px / 2, rtol=0, atol=1e-4)
    spreads = [each.hypotheses_px - each.mode_px.unsqueeze(1) for each in (found, expected)]
    torch.testing.assert_close(*spreads, rtol=0, atol=1e-4)


def test_in_use_trust_weighs_by_its_power_and_in_training_as_it_is() -> None:
    *given, latents = inputs(TINY, 1, 4)
    trusted, tempered = (network(recipe("tiny", trust_exponent=power)).eval() for power in (1.0, 0.5))
    tempered.load_state_dict(trusted.state_dict())
    weights: list[torch.Tensor] = []
    for stage1 in (trusted, tempered):
        agreeing = stage1._agreeing
        stage1._agreeing = lambda given, *more, plain=agreeing: weights.append(given) or plain(given, *more)  # type: ignore[method-assign]
        stage1(*given, latents)
    torch.testing.assert_close(weights[1], weights[0].sqrt())
    tempered.to_be_trained()
    torch.testing.assert_close(tempered(*given, latents).queries_m, trusted(*given, latents).queries_m)


def test_gradients_reach_every_parameter() -> None:
    stage1 = network()
    *given, latents = inputs(TINY, 2, 3)
    output = stage1(*given, latents)
    labels_px = TINY.crop_px * torch.rand(2, 3, JOINTS, 2)
    loss = stage1.pose_nll(output, labels_px, torch.rand(2, 3, JOINTS)).sum()
    (loss + sum((part * torch.randn_like(part)).sum() for part in output if part is not None)).backward()
    without_gradient = [name for name, p in stage1.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without_gradient


def test_gradients_of_the_likelihood_ignore_joints_without_label() -> None:
    stage1 = network()
    *given, latents = inputs(TINY, 1, 3)
    labels_px, confidence = TINY.crop_px * torch.rand(1, 3, JOINTS, 2), torch.ones(1, 3, JOINTS)
    confidence[0, 1] = confidence[0, 0, 4] = 0
    output = stage1(*given, latents)
    nll = stage1.pose_nll(output, labels_px, confidence)
    labels_px[0, 1] = labels_px[0, 0, 4] = torch.nan
    assert torch.equal(stage1.pose_nll(output, labels_px, confidence), nll)
    assert nll[0, 1] == 0 and (nll[0, [0, 2]] != 0).all()


@pytest.mark.parametrize("part", [part for part in PARTS if part in ("casa", "gcn", "flow")])
def test_parts_switch_off(part: str) -> None:
    crops, P, mask, latents = inputs(TINY, 1, 3)
    full, ablated = network(), network(without(TINY, part))
    assert not [name for name, _ in ablated.named_parameters() if name.startswith(part)]
    assert [name for name, _ in full.named_parameters() if name.startswith(part)]
    output = ablated(crops, P, mask, latents)
    if part == "flow":
        assert torch.equal(output.hypotheses_px, output.keypoints_px.unsqueeze(1).expand_as(output.hypotheses_px))


@pytest.mark.parametrize(("kind", "parameters"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_backbones_are_the_published_ones(kind: str, parameters: int) -> None:
    backbone = Backbone(NetworkConfig(backbone=kind))  # type: ignore[arg-type]
    classifier = 512 * 1000 + 1000
    assert sum(p.numel() for p in backbone.parameters()) == parameters - classifier
    assert {"conv1.weight", "bn1.running_var", "layer1.1.conv2.weight", "layer4.0.downsample.1.bias"} <= set(
        backbone.state_dict()
    )
    levels = backbone.eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert [tuple(level.shape[1:]) for level in levels] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_imagenet_weights_load_from_a_file(tmp_path: Path, suffix: str) -> None:
    source, target, path = Backbone(TINY), Backbone(TINY), tmp_path / f"weights{suffix}"
    for value in source.buffers():
        value.add_(1)
    state = source.state_dict() | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}
    (torch.save if suffix == ".pth" else save_file)(state, path)
    target.load_imagenet(path)
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


class _Trap:
    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (Path("executed"),)


def test_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backbone, other = Backbone(TINY), Backbone(recipe("tiny", base_channels=32))
    torch.save(other.state_dict(), "wide.pth")
    torch.save(Backbone(recipe("tiny", backbone="resnet34")).state_dict(), "deep.pth")
    torch.save([1, 2], "list.pth")
    Path("trap.pth").write_bytes(pickle.dumps(_Trap(), protocol=2))
    Path("cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name, said in (
        ("wide.pth", r"base_channels 64, this network has 16"),
        ("deep.pth", r"not the weights of a resnet18: 0 .* missing .* unknown"),
        ("list.pth", "no mapping of names"),
        ("trap.pth", "not a file of weights"),
        ("cut.safetensors", "not a file of weights"),
        ("missing.pth", "cannot read"),
        ("missing.safetensors", "cannot read"),
    ):
        with pytest.raises(UserError, match=said):
            backbone.load_imagenet(Path(name))
    assert not Path("executed").exists()


def test_config_names_what_is_wrong() -> None:
    for changes, said in (
        ({"widht": 64}, "widht"),
        ({"width": 15}, "multiple of heads"),
        ({"crop_px": 100}, "multiple of 32"),
        ({"neighbours": 64}, "cloud of 42 points"),
        ({"casa": 1}, "casa"),
        ({"correction_share": 1.5}, "correction_share is 1.5"),
        ({"trust_exponent": 0.0}, "trust_exponent is 0.0"),
    ):
        with pytest.raises(UserError, match=said):
            recipe("tiny", **changes)


@pytest.mark.slow
def test_exports_to_onnx_for_any_number_of_views(tmp_path: Path) -> None:
    import onnxruntime

    stage1, names = network().eval(), ["crops_rgb", "P_crop", "view_mask", "latents"]
    given_names = [name for name in Stage1Output._fields if name != "log_spread"]  # which heatmaps do not have
    views = torch.export.Dim("views", min=2, max=8)
    program = torch.onnx.export(
        stage1,
        inputs(TINY, 1, 4),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({1: views}, {1: views}, {1: views}, {2: views}),
        input_names=names,
        output_names=given_names,
    )
    assert program is not None
    program.save(tmp_path / "stage1.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "stage1.onnx", providers=["CPUExecutionProvider"])
    for count in (2, 4, 8):
        given = inputs(TINY, 1, count, seed=count)
        given[2][0, -1] = count == 2
        with torch.no_grad():
            expected = stage1(*given)
        found = session.run(None, dict(zip(names, (value.numpy() for value in given), strict=True)))
        outputs = dict(zip(given_names, map(torch.from_numpy, found), strict=True))
        assert_same(Stage1Output(**outputs, log_spread=None), expected, atol=1e-4)  # measured 1e-5
