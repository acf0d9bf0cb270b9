"""The packaged checkpoint: what it says of itself, and the hands that come out of it, also through the live path."""

import json
import re

import numpy as np
import pytest

from app.estimators.ust_hand.estimator import UstHandEstimator
from app.estimators.ust_hand.hand_finder import Found, VolumeSearch
from calibration.frames import Frame, FrameSet
from deploy.engines import make_engine
from deploy.pipeline.pipeline import Pipeline
from models.data.generate import GenerateSettings, generate
from models.data.windows import WindowDataset
from models.evaluation.evaluate import evaluate
from models.files.truth import read_truth
from models.network.checkpoint import load_checkpoint
from models.network.config import recipe
from models.simulation.hands import hands_at
from models.simulation.simulated_rig import ring_rig
from models.tools.package import package
from models.weights import SHIPPED, checkpoint_path
from tests.support.live_run import last_json, usthand


def test_it_is_small_and_names_its_data_and_settings(tmp_path):
    path = checkpoint_path(SHIPPED)
    assert path.stat().st_size < 30e6
    _, info = load_checkpoint(SHIPPED, recipe("live"))
    assert info.provenance["manifests_sha256"]
    assert info.provenance["config"]["seed"] >= 0
    assert re.fullmatch("[0-9a-f]{12}", info.provenance["commit"])  # one that holds all that made it
    assert json.loads(path.with_suffix(".json").read_text())["step"] == info.step
    package(path, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_it_sees_people_that_it_never_saw(tmp_path):
    """A chance pose in the right place is some 45 mm off; 12 and 20 mm leave room for these few windows."""
    settings = GenerateSettings(
        split="test",
        seed=77,
        people=3,
        clips=4,
        frames=6,
        views=4,
        size_px=280,
        upright=True,
        grades={"moderate": 1.0},
    )
    list(generate(tmp_path / "test", settings))
    network, _ = load_checkpoint(SHIPPED)
    data = WindowDataset([tmp_path / "test"], network.config.crop_px, network.config.frames, truth=True)
    figures = evaluate(network, data, 30, None).figures
    methods, by_views = figures["methods"], figures["by_views"]
    assert methods["ust_hand"]["median_mm"] < 12
    assert methods["ust_hand"]["mpjpe_mm"] < 20
    assert methods["ust_hand"]["mpjpe_mm"] < methods["dlt_heatmaps"]["mpjpe_mm"]
    assert by_views["4"]["ust_hand"] < by_views["2"]["ust_hand"]
    assert by_views["4"]["ust_hand"] < by_views["4"]["dlt_heatmaps"]
    assert 0.75 < figures["coverage"]["0.9"] < 0.98


def test_it_takes_black_images_for_no_hand():
    """Neither where a finder is wrong nor in a search of its own."""
    rig = ring_rig(4)
    black = np.zeros((rig.cameras[0].camera.height, rig.cameras[0].camera.width, 3), np.uint8)
    pipeline = Pipeline(make_engine(SHIPPED), 4)
    search = VolumeSearch(rig, pipeline)
    truth = hands_at(0.0)

    class Wrong:
        views_with_hand = 0

        def find(self, *_):
            return [Found(side, joints) for side, joints in truth.items()]

    estimator = UstHandEstimator(rig, pipeline, Wrong())  # type: ignore[arg-type]
    for number in range(6):
        time_ns = number * 33_333_333
        frames = {
            each.camera_id: Frame(
                camera_id=each.camera_id,
                sequence=number,
                capture_time_ns=time_ns,
                grab_time_ns=0,
                publish_time_ns=0,
                pixels=black,
            )
            for each in rig.cameras
        }
        seen = FrameSet(number, time_ns, frames, 0)
        assert estimator.estimate(seen).hands == []
        assert search.find(seen, [], list(truth.values())) == []
    pipeline.close()


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
