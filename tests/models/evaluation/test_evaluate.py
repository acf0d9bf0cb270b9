"""`usthand evaluate` and what is under it, on a small cache and a network that has learned nothing."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from calibration.errors import UserError
from models.data.crop_cache import read_cache, write_manifest, write_shard
from models.data.fused_labels import in_definition
from models.data.generate import GenerateSettings, generate
from models.data.relabel import relabel
from models.data.windows import WindowDataset
from models.evaluation.__main__ import _finite, main
from models.evaluation.evaluate import choose_windows, compared, evaluate
from models.evaluation.mesh_error import mesh_summaries
from models.evaluation.metrics import joint_errors_mm
from models.evaluation.predict import METHODS, _as_hands, predict, widest_angle_deg
from models.hand.mesh import load_mesh
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import PARTS, recipe, without
from models.network.ust_hand import UstHand
from models.simulation.detector_noise import GRADES
from tests.support.live_run import last_json, usthand

CONFIG = recipe("tiny")


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The evaluation's own process, here, since each new one imports torch for seconds."""
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, words)])
    return main()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "test"
    settings = GenerateSettings(
        split="test", people=1, clips=3, frames=8, views=4, size_px=80, grades={"moderate": 1.0}
    )
    list(generate(out, settings))
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "tiny.safetensors"
    save_checkpoint(path, UstHand(CONFIG).state_dict(), CheckpointInfo(CONFIG, 0, {}))
    return path


def test_labels_of_another_grade_are_on_the_same_crops(cache):
    _, (shard,) = read_cache(cache, truth=True)
    perfect, noisy = (relabel(shard, GRADES[grade], 3) for grade in ("perfect", "noisy"))
    assert shard.joints_m is not None
    row, view = np.argwhere(shard.rows >= 0)[0]
    crop = shard.rows[row, view]
    seen = shard.P_crop[crop] @ np.append(shard.joints_m[row, 4], 1)
    assert perfect.labels_px[crop, 4] == pytest.approx(seen[:2] / seen[2], abs=1e-3)
    both = (perfect.label_confidence > 0) & (noisy.label_confidence > 0)
    off = np.linalg.norm(perfect.labels_px - noisy.labels_px, axis=-1)[both]
    assert np.median(off) > 1
    again = relabel(shard, GRADES["noisy"], 3)
    assert np.array_equal(again.labels_px, noisy.labels_px)


def test_the_dlt_of_a_detectors_labels_is_of_the_views_that_a_window_has(
    cache, checkpoint, tmp_path, monkeypatch, capsys
):
    """Labels of the detector's definition are moved after they are triangulated: before, all views would have a say."""
    manifest, (plain,) = read_cache(cache, truth=True)
    moved = in_definition(relabel(plain, GRADES["perfect"], 0), "anatomical", "detector")
    exact = replace(moved, joints_m=plain.joints_m)
    noise_px = np.random.default_rng(0).normal(0, 3.0, exact.labels_px.shape).astype(np.float32)
    errors = {}
    for name, shard in (("exact", exact), ("noisy", replace(exact, labels_px=exact.labels_px + noise_px))):
        write_shard(tmp_path / name, 0, shard)
        write_manifest(tmp_path / name, msgspec.structs.replace(manifest, definition="detector"))
        for views in (2, 4):
            words = "--checkpoint", checkpoint, "--data", tmp_path / name, "--views", views, "--json"
            assert command(monkeypatch, *words) == 0
            said = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert said["windows_compared"] > 10
            errors[name, views] = said["methods"]["dlt_labels"]["mpjpe_mm"]
            assert name == "noisy" or said["label_error_of_crop"]["p90"] < 0.001
    # To the detector's definition and back.
    assert errors["exact", 4] < 2 and errors["exact", 2] == pytest.approx(errors["exact", 4], abs=0.05)
    assert errors["noisy", 2] > 1.3 * errors["noisy", 4]


def test_the_dlt_of_perfect_labels_is_the_truth_with_any_number_of_views(cache):
    data = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    data.change_shards(lambda number, shard: relabel(shard, GRADES["perfect"], number))
    network = UstHand(CONFIG)
    for views in (2, 3, 4):
        predictions = predict(network, data, np.arange(6), views)
        kept = compared(predictions)
        assert kept.any()
        errors = joint_errors_mm(predictions.joints_m["dlt_labels"][kept], predictions.truth_m[kept])
        assert errors.max() < 0.05
        assert predictions.label_error.max() < 1e-4


def test_an_evaluation_compares_all_methods_on_the_same_windows(cache):
    data = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    torch.manual_seed(1)
    evaluation = evaluate(UstHand(CONFIG), data, 8, None)
    figures = evaluation.figures
    assert set(figures["methods"]) == set(METHODS)
    assert figures["methods"]["dlt_labels"]["mpvpe_mm"] > 1
    assert set(figures["by_views"]) == {"2", "3", "4"}
    kept = compared(evaluation.predictions)
    ours = joint_errors_mm(
        evaluation.predictions.joints_m["ust_hand"][kept], evaluation.predictions.truth_m[kept]
    ).mean()
    assert figures["methods"]["ust_hand"]["mpjpe_mm"] == pytest.approx(ours)
    assert figures["by_views"]["4"]["ust_hand"] == pytest.approx(ours)
    by_angle = figures["two_views_by_angle"].values()
    mean = sum(some["windows"] * some["ust_hand"] for some in by_angle) / sum(some["windows"] for some in by_angle)
    two = evaluate(UstHand(CONFIG), data, 8, 2).figures
    assert two["two_views_by_angle"].keys() == figures["two_views_by_angle"].keys()
    assert mean == pytest.approx(evaluation.figures["by_views"]["2"]["ust_hand"], rel=0.05)
    labels = figures["methods"]["dlt_labels"]["mpjpe_mm"]
    assert figures["gain_over_dlt_labels"] == pytest.approx(1 - ours / labels)
    with pytest.raises(UserError, match="--views 1"):
        evaluate(UstHand(CONFIG), data, 8, 1)


def test_joints_that_two_views_leave_unsure_are_nearer_to_the_truth_as_a_persons_hand(cache):
    data = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    numbers = np.arange(len(data))
    truth_m = np.stack([data[int(number)]["joints_m"][-1].numpy() for number in numbers]).astype(np.float64)
    variance_m2 = np.array([0.002, 0.002, 0.012]) ** 2
    given_m = truth_m + np.random.default_rng(4).normal(0, np.sqrt(variance_m2), truth_m.shape)
    covariance_m2 = np.broadcast_to(np.diag(variance_m2), (*truth_m.shape[:2], 3, 3))
    error_mm = joint_errors_mm(given_m, truth_m).mean()
    for views, share in ((2, 0.9), (4, 1.0)):  # of four views the bones' lengths alone count
        joined = {"given": given_m, "covariance": covariance_m2, "views": np.full(len(numbers), views)}
        alone_mm = joint_errors_mm(_as_hands(data, numbers, joined), truth_m).mean()
        assert alone_mm < share * error_mm
    half_mm = joint_errors_mm(_as_hands(data, numbers, joined | {"points": truth_m}), truth_m).mean()
    assert half_mm < 0.6 * alone_mm  # half-way to points that are right


def test_the_mesh_of_true_joints_is_near_the_true_mesh_and_moves_with_them(cache):
    """The fitter has to learn the bones and does not know how thick the fingers are: some millimetres remain."""
    data = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    found = predict(UstHand(CONFIG), data, np.arange(12), 3)
    known = np.all(np.isfinite(found.truth_m), axis=(1, 2))
    joints_m = dict.fromkeys(METHODS, found.truth_m) | {"stage1_mode": found.truth_m + [0.02, 0, 0]}
    figures = mesh_summaries(data, replace(found, joints_m=joints_m), known)
    assert set(figures) == set(METHODS)
    exact, moved = figures["ust_hand"], figures["stage1_mode"]
    assert 0 < exact["pa_mpvpe_mm"] < exact["mpvpe_mm"] < 5
    assert 15 < moved["mpvpe_mm"] < 25
    for key in ("root_aligned_mpvpe_mm", "pa_mpvpe_mm"):
        assert moved[key] == pytest.approx(exact[key], abs=0.05)
    for number in np.flatnonzero(known):
        vertices_m = data.vertices_m(int(number))
        assert vertices_m is not None
        tips_m = vertices_m[load_mesh().tips]
        assert np.linalg.norm(tips_m - found.truth_m[number][[4, 8, 12, 16, 20]], axis=1).max() < 0.012
    data.change_shards(lambda number, shard: replace(shard, vertices_m=None))
    assert mesh_summaries(data, found, known) == {}


def test_windows_whose_truth_is_not_known_are_left_out(cache):
    """A session's labels may hold a hand that its truth does not."""
    data = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    torch.manual_seed(1)
    network = UstHand(CONFIG)
    known = evaluate(network, data, 40, 4)
    here = int(np.flatnonzero(compared(known.predictions))[0])

    def forget(number, shard):
        joints = shard.joints_m.copy()
        joints[shard.time_ns == data.place(here).time_ns] = np.nan
        return replace(shard, joints_m=joints)

    forgetful = WindowDataset([cache], CONFIG.crop_px, CONFIG.frames, truth=True)
    forgetful.change_shards(forget)
    figures = evaluate(network, forgetful, 40, 4).figures
    assert figures["windows_compared"] < known.figures["windows_compared"]
    numbers = [*figures["methods"]["ust_hand"].values(), *figures["coverage"].values(),
               *figures["acceleration_error_mm"].values(), *figures["keypoint_error_of_crop"].values()]  # fmt: skip
    assert np.isfinite(numbers).all()
    forgetful.change_shards(lambda number, shard: replace(shard, joints_m=np.full_like(shard.joints_m, np.nan)))
    with pytest.raises(UserError, match="nothing to compare"):
        evaluate(network, forgetful, 40, 4)


def test_the_angle_between_views_is_that_between_their_cameras():
    def camera(azimuth_deg: float) -> torch.Tensor:
        """Half a metre from the target, on a circle around it; it looks anywhere."""
        angle = np.deg2rad(azimuth_deg)
        centre = 0.5 * np.array([np.cos(angle), np.sin(angle), 0])
        square = np.random.default_rng(int(azimuth_deg)).normal(0, 300, (3, 3))
        return torch.tensor(np.concatenate([square, -square @ centre[:, None]], axis=1))

    nowhere = torch.zeros(3, 4, dtype=torch.float64)
    P = torch.stack([torch.stack([camera(10), camera(60), nowhere]), torch.stack([camera(5), camera(15), camera(175)])])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert widest_angle_deg(P, mask).numpy() == pytest.approx([50, 170], abs=1e-3)


def test_windows_are_chosen_in_runs_from_all_over_the_data():
    assert choose_windows(10, 20, 0).tolist() == list(range(10))
    assert [len(choose_windows(1000, wanted, 0)) for wanted in (1, 5, 8, 100)] == [1, 5, 8, 100]
    chosen = choose_windows(1000, 80, 0)
    assert len(chosen) == 80
    assert (np.diff(chosen) == 1).sum() >= 70
    assert chosen.min() < 200
    assert chosen.max() > 800


@pytest.mark.parametrize("part", ["", *PARTS])
def test_the_command_with_each_part_switched_off(cache, checkpoint, part, tmp_path, capsys, monkeypatch):
    """In this process, since the command's own would import torch each time."""
    from models.evaluation import __main__ as command

    words = [
        "evaluate",
        "--checkpoint",
        str(checkpoint),
        "--data",
        str(cache),
        "--windows",
        "8",
        "--views",
        "3",
        "--json",
    ]
    monkeypatch.setattr("sys.argv", words + (["--ablate", part] if part else []))
    assert command.main() == 0
    figures = last_json(capsys.readouterr().out)
    assert figures["views"] == 3
    assert figures["ablated"] == (part or "nothing")
    assert np.isfinite(figures["methods"]["ust_hand"]["mpjpe_mm"])
    if part == "stpt":
        assert figures["methods"]["ust_hand"] == figures["methods"]["stage1_mode"]


def test_figures_that_the_data_does_not_give_are_null_in_json():
    figures = {"a": float("nan"), "b": {"c": [1.5, float("inf")]}, "d": "nan"}
    assert json.loads(json.dumps(_finite(figures), allow_nan=False)) == {"a": None, "b": {"c": [1.5, None]}, "d": "nan"}


def test_the_command_writes_a_report_and_says_where_its_figures_come_from(cache, checkpoint, tmp_path):
    report = tmp_path / "report.html"
    done = usthand("evaluate", "--checkpoint", checkpoint, "--data", cache, "--windows", "8", "--labels", "noisy",
                   "--report", report, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = last_json(done.stdout)
    assert figures["labels"] == "noisy"
    assert len(figures["checkpoint_sha256"]) == 16
    page = report.read_text()
    assert figures["seed"] == 0 and figures["command"] in page and set(figures["coverage"]) == {"0.5", "0.9"}
    curves = page[page.index("<h2>PCK</h2>") :]
    assert "<svg" in curves[: curves.index("</section>")]
    assert f"{figures['methods']['ust_hand']['mpjpe_mm']:.2f}" in page
    # Eight windows in a row, which are of two hands: the worst of each.
    assert page.count("data:image/jpeg") == 2
    assert f"usthand evaluate --checkpoint {checkpoint} --data {cache} --labels noisy" in page
    assert "DLT of the pseudo-labels" in done.stdout
    assert f"{figures['label_error_of_crop']['median']:.2%} of the crop's side" in done.stdout
    assert f"{100 * figures['keypoint_error_of_crop']['p90']:.2f}</td>" in page


def test_bad_input_is_named_and_ends_with_2(cache, checkpoint, tmp_path, monkeypatch, capsys):
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(checkpoint.read_bytes()[:2000])
    pickled = tmp_path / "pickled.safetensors"
    pickled.write_bytes(pickle.dumps({"weights": 1}))
    lacking = tmp_path / "lacking.safetensors"
    smaller = without(CONFIG, "gcn")
    save_checkpoint(lacking, UstHand(smaller).state_dict(), CheckpointInfo(smaller, 0, {}))
    cases = [
        (["--checkpoint", lacking, "--data", cache, "--ablate", "gcn"], "no such part"),
        (["--checkpoint", pickled, "--data", cache], "a pickle"),
        (["--checkpoint", checkpoint, "--data", cache, "--views", "1"], "--views 1"),
        (["--checkpoint", checkpoint, "--data", cache, "--report", tmp_path], "is a folder"),
        (["--checkpoint", tmp_path / "none.safetensors", "--data", cache], "no such checkpoint"),
        (["--checkpoint", torn, "--data", cache], "not whole"),
        (["--checkpoint", checkpoint, "--data", tmp_path], "session.yaml"),
        (["--checkpoint", checkpoint, "--data", cache, "--views", "9"], "--views 9"),
        (["--checkpoint", checkpoint, "--data", cache, "--windows", "0"], "--windows 0"),
    ]
    for words, says in cases:
        assert command(monkeypatch, *words) == 2
        assert says in capsys.readouterr().err


def test_black_images_give_finite_joints():
    network = UstHand(CONFIG).eval()
    size, V = CONFIG.crop_px, 3
    P = torch.zeros(1, 5, V, 3, 4)
    P[..., 0, 0] = P[..., 1, 1] = 300.0
    P[..., :2, 3] = 20.0
    P[..., 2, 2] = 1.0
    P[..., 2, 3] = 0.6
    with torch.no_grad():
        out = network(
            torch.zeros(1, 5, V, size, size, 3, dtype=torch.uint8),
            P,
            torch.ones(1, 5, V, dtype=torch.bool),
            torch.zeros(1, 5, 3),
            torch.ones(1, 5, dtype=torch.bool),
            torch.zeros(1, CONFIG.hypotheses, V, 42),
        )
    assert torch.isfinite(out.joints_m).all()
    assert (torch.linalg.eigvalsh(out.covariance_m2) > 0).all()
