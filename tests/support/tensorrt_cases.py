"""What the tests of TensorRT share: when they can run, and one directory with engines, built once for all of them."""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import UserError
from deploy.batches import CropBatch
from deploy.engines.engine import Engine
from deploy.export.parity import STAGE1
from deploy.tensorrt.build import RTX_CAPABILITIES
from deploy.tensorrt.library import installed
from models.network.checkpoint import CheckpointInfo, save_checkpoint
from models.network.ust_hand import UstHand
from tests.deploy.test_export import TINY
from tests.support.live_run import last_json, usthand


def no_gpu() -> str | None:
    """Why no engine can run here; None where one can."""
    try:
        from deploy.tensorrt.cuda import find_gpu

        find_gpu()
    except (ImportError, UserError) as error:
        return str(error)
    return None


needs_rtx = pytest.mark.skipif(
    "tensorrt_rtx" not in installed(), reason="TensorRT for RTX is not installed (the extra `tensorrt-rtx`)"
)
needs_gpu = pytest.mark.skipif(no_gpu() is not None, reason=f"needs an NVIDIA GPU: {no_gpu()}")
needs_no_gpu = pytest.mark.skipif(no_gpu() is None, reason="says what is said without a GPU, and there is one")


@cache
def built_directory(folder: Path) -> Path:
    """The directory that the command makes of a tiny network; what it says of itself is checked here."""
    checkpoint = folder / "tensorrt.safetensors"
    torch.manual_seed(0)
    save_checkpoint(checkpoint, UstHand(TINY).state_dict(), CheckpointInfo(TINY, 7, {}))
    targets = ("--compute-capability", *RTX_CAPABILITIES)
    done = usthand("export", checkpoint, folder / "tensorrt", "--tensorrt", *targets, "--json", timeout=550)
    assert done.returncode == 0, done.stderr
    said = last_json(done.stdout)
    assert said["tensorrt"]["library"] == "tensorrt_rtx" and said["tensorrt"]["version"]
    engines = said["tensorrt"]["engines"]
    assert {(each["network"], each["compute_capability"]) for each in engines} == {
        (network, capability) for network in ("stage1", "stpt") for capability in RTX_CAPABILITIES
    }
    assert all(each["bytes"] == (folder / "tensorrt" / each["file"]).stat().st_size for each in engines)
    assert all(each["seconds"] > 0 and each["profiles"] for each in engines)
    return folder / "tensorrt"


def run_rings(engine: Engine, window: dict[str, np.ndarray]) -> np.ndarray:
    """`deploy.export.parity.run_window` with the engine's own rings: the newest frame's joints (21, 3)."""
    rings = engine.make_rings(1, nullcontext())
    rings.add(0, np.eye(3))
    for t, there in enumerate(window["frame_mask"]):
        if there:
            origin = window["origins_m"][t].astype(np.float64)
            rings.run_stage1([0], [origin], CropBatch(*(window[name][None, t] for name in STAGE1)))
        else:
            rings[0].miss()
    return rings.refine([0]).joints_m[0].copy()
