"""The torch engine: frame by frame through the ring it gives what the network gives for whole windows."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import UserError
from deploy.engines import make_engine
from deploy.engines.cloud_rings import CloudRing
from deploy.engines.torch_engine import TorchEngine
from deploy.export.parity import run_window
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.config import recipe
from models.network.ust_hand import UstHand
from models.training.step import INPUTS
from tests.support.window_cases import DotWindows, batch_of, run_pipeline

TINY = recipe("tiny", crop_px=32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, UstHand(TINY).state_dict(), CheckpointInfo(TINY, 0, {}))
    return path


def test_frames_one_by_one_give_what_a_window_gives(checkpoint: Path) -> None:
    engine = make_engine(str(checkpoint))
    assert isinstance(engine, TorchEngine)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batch = batch_of(DotWindows(size_px=32), 1, 3)
    batch["view_mask"][0, 2, 1] = False  # a view is absent for a frame
    latents = engine._latents[:, :, :3]
    ring = CloudRing(engine.shape, np.eye(3))
    for t in range(5):
        frame = (batch[name][:, t].numpy() for name in ("crops_rgb", "P_crop", "view_mask"))
        clouds = engine.run_stage1(*frame)
        assert clouds.queries_m.shape == (1, 21, 3) and clouds.anchor_features.shape == (1, 42, TINY.width)
        ring.push(clouds, 0, batch["origins_m"][0, t].double().numpy())
    refined = engine.refine(ring.window())
    with torch.no_grad():
        whole = engine._network(*(batch[name] for name in INPUTS), latents)
    assert refined.joints_m == pytest.approx(whole.joints_m.numpy(), abs=1e-6)
    assert refined.covariance_m2 == pytest.approx(whole.covariance_m2.numpy(), rel=1e-3)
    torch.set_num_threads(threads)
    engine.close()


@pytest.mark.parametrize("hands", [1, 3, 8])
def test_hands_of_a_pipeline_get_what_each_alone_gets(hands: int, checkpoint: Path) -> None:
    engine = make_engine(str(checkpoint))
    windows = [
        {name: value.numpy() for name, value in DotWindows(size_px=32)[seed, 0, 3].items()} for seed in range(hands)
    ]
    for number, window in enumerate(windows):
        window["frame_mask"][number % 4] = False
    expected_m = np.stack([run_window(engine, window) for window in windows])
    assert run_pipeline(engine, windows) == pytest.approx(expected_m, abs=1e-6)


def test_engines_and_checkpoints_that_cannot_be_are_named(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(UserError, match="unknown engine `cuda`; known: auto, torch"):
        make_engine(str(checkpoint), "cuda")
    with pytest.raises(UserError, match="no such checkpoint"):
        make_engine(str(tmp_path / "none.safetensors"))
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(UserError, match="not whole"):
        make_engine(str(torn))
    torn.write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match="a pickle"):
        make_engine(str(torn))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_a_captured_size_gives_what_it_gives_uncaptured(checkpoint: Path) -> None:
    plain, captured = make_engine(str(checkpoint), "torch"), make_engine(str(checkpoint), "torch")
    captured.prepare([1], 3)
    for number in range(3):
        batch = batch_of(DotWindows(size_px=32), number + 1, 3)
        frame = [batch[name][-1:, 0].numpy() for name in ("crops_rgb", "P_crop", "view_mask")]
        for found, expected in zip(captured.run_stage1(*frame), plain.run_stage1(*frame), strict=True):
            assert found == pytest.approx(expected, abs=1e-5)
