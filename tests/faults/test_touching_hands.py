"""Two hands that touch, rendered: both stay followed, and nearer to the truth than MediaPipe's points, triangulated.

The figures of two hands that touch in docs/training.md: run with `-s`.
"""

from pathlib import Path

import numpy as np
import pytest

from models.hand import definition
from models.simulation.recording import Timing, record_session
from models.simulation.rendering_pool import RenderingPool, SceneSpec
from models.simulation.simulated_rig import random_rig
from models.simulation.simulated_scene import SceneSettings
from tests.support.live_run import usthand

pytestmark = pytest.mark.slow

_SETS, _SEED = 40, 11
_SCENE = SceneSettings(touching=1.0)


def errors_m(session: Path, poses: Path, estimator: str) -> np.ndarray:
    """(N, 21): of every published joint from where it really was."""
    options = ["--estimator", estimator, "--fast", "--no-viewer", "--no-mesh", "--poses", poses]
    done = usthand("replay", session, *options, timeout=900)
    assert done.returncode == 0, done.stderr
    with np.load(session / "truth.npz") as truth, np.load(poses) as found:
        assert found["definition"] == "detector"
        at = np.minimum(np.searchsorted(truth["times_ns"], found["time"]), _SETS - 1)
        off_m = []
        for side, index, joints_m in zip(found["hand"], at, found["joints"].astype(float), strict=True):
            joints_m = definition.convert(joints_m, "detector", "anatomical", side == "right")
            off_m.append(np.linalg.norm(joints_m - truth[f"{side}_joints_world_m"][index], axis=1))
    return np.array(off_m)


def test_hands_that_touch_are_followed_and_are_nearer_to_the_truth_than_mediapipes(tmp_path: Path) -> None:
    session = tmp_path / "session"
    with RenderingPool(2) as pool:
        record_session(session, SceneSpec(random_rig(_SEED), _SEED, _SCENE), Timing(_SETS), pool)
    of_network, of_mediapipe = (
        errors_m(session, tmp_path / f"{estimator}.npz", estimator) for estimator in ("ust-hand", "mediapipe")
    )
    print(
        f"mean (median) error {1e3 * of_network.mean():.1f} ({1e3 * np.median(of_network):.1f}) mm in "
        f"{len(of_network)} hands, MediaPipe's {1e3 * of_mediapipe.mean():.1f} ({1e3 * np.median(of_mediapipe):.1f})"
    )
    assert len(of_network) >= 0.8 * 2 * _SETS
    assert of_network.mean() < of_mediapipe.mean()
    assert (of_network.mean(1) < 0.04).mean() > 0.95, "each is the hand of its side"
