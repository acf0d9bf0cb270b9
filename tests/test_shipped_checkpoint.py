"""The packaged checkpoint: what it says of itself, and the hands that come out of it, also through the live path."""

import json

import numpy as np

from models.data.generate import GenerateSettings, generate
from models.data.truth import read_truth
from models.data.windows import WindowDataset
from models.evaluation.evaluate import evaluate
from models.network.config import recipe
from models.training.checkpoint import load_checkpoint
from models.training.package import package
from models.weights import SHIPPED, checkpoint_path
from tests.live_run import last_json, usthand


def test_it_is_small_and_names_its_data_and_settings(tmp_path):
    path = checkpoint_path(SHIPPED)
    assert path.stat().st_size < 30e6
    _, info = load_checkpoint(SHIPPED, recipe("small"))
    assert info.provenance["manifests_sha256"]
    assert info.provenance["config"]["seed"] >= 0
    assert json.loads(path.with_suffix(".json").read_text())["step"] == info.step
    package(path, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_it_sees_people_that_it_never_saw(tmp_path):
    """A chance pose in the right place is some 45 mm off; 12 and 20 mm leave room for these few windows."""
    settings = GenerateSettings(split="test", seed=77, people=3, clips=4, frames=6, views=4, grades={"moderate": 1.0})
    list(generate(tmp_path / "test", settings))
    network, _ = load_checkpoint(SHIPPED)
    data = WindowDataset([tmp_path / "test"], network.config.crop_px, network.config.frames, truth=True)
    methods = evaluate(network, data, 30, 4).figures["methods"]
    assert methods["ust_hand"]["median_mm"] < 12
    assert methods["ust_hand"]["mpjpe_mm"] < 20
    assert methods["ust_hand"]["mpjpe_mm"] < methods["dlt_heatmaps"]["mpjpe_mm"]


def test_a_simulated_recording_through_the_live_path(tmp_path):
    session, poses = tmp_path / "session", tmp_path / "poses.npz"
    made = usthand("simulate", session, "--sets", "24", "--cameras", "4", "--seed", "6", "--in-front", "--no-things")
    assert made.returncode == 0, made.stderr
    done = usthand("replay", session, "--estimator", "ust-hand", "--fast", "--no-viewer", "--poses", poses, "--json")
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert summary["frame_sets"] == 24
    assert summary["sets_with_hand"] > 0.8
    truth = read_truth(session / "truth.npz", cameras=4)
    errors_mm = []
    with np.load(poses) as file:
        for side, time_ns, joints in zip(file["hand"], file["time"], file["joints"], strict=True):
            nearest = np.abs(truth.times_ns - time_ns).argmin()
            errors_mm.append(1e3 * np.linalg.norm(joints - truth.hands[side].joints_world_m[nearest], axis=1))
    assert len(errors_mm) > 20
    assert np.median(errors_mm) < 20
