"""Two people before a rig, rendered: no hand is taken for one of the other side, however many are followed."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from models.simulation.recording import Timing, record_session
from models.simulation.rendering_pool import RenderingPool, SceneSpec
from models.simulation.simulated_rig import random_rig
from models.simulation.simulated_scene import SceneSettings, SimulatedScene
from tests.support.live_run import usthand

pytestmark = pytest.mark.slow

_SETS, _SEED = 40, 3
_NEAR_M = 0.06
_SCENE = SceneSettings(people=2, things=False, anywhere=False)


@dataclass(frozen=True, eq=False)
class HandsOf(SceneSpec):
    """The scene with these of its hands only."""

    names: tuple[str, ...] = ()

    def scene(self) -> SimulatedScene:
        whole = super().scene()
        return replace(whole, actors={name: whole.actors[name] for name in self.names})


@pytest.fixture(scope="module", params=[4, 3], ids=["four hands", "three hands"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "session"
    names = ("left", "right", "right_2", "left_2")[: request.param]
    with RenderingPool() as pool:
        record_session(path, HandsOf(random_rig(_SEED, people=2), _SEED, _SCENE, names), Timing(_SETS), pool)
    return path


@pytest.mark.parametrize(("estimator", "most"), [("mediapipe", 2), ("ust-hand", 4)])
def test_hands_of_two_people_are_of_their_own_side(session: Path, tmp_path: Path, estimator: str, most: int) -> None:
    """The left hand of one was published with the right hand of the other as a pair, and a right one as a left one."""
    poses = tmp_path / "poses.npz"
    options = ["--estimator", estimator, "--hands", str(most), "--fast", "--no-viewer", "--no-mesh", "--poses", poses]
    done = usthand("replay", session, *options, timeout=900)
    assert done.returncode == 0, done.stderr
    with np.load(session / "truth.npz") as file:
        middles_m = {
            name.removesuffix("_joints_world_m"): file[name].mean(1) for name in file.files if "_joints_" in name
        }
        times_ns = file["times_ns"]
    followed: dict[str, set[int]] = {}
    published: dict[str, int] = dict.fromkeys(middles_m, 0)
    with np.load(poses) as file:
        for side, track, time_ns, joints_m in zip(
            file["hand"], file["track"], file["time"], file["joints"], strict=True
        ):
            at = min(int(np.searchsorted(times_ns, time_ns)), _SETS - 1)
            off_m = {name: float(np.linalg.norm(joints_m.mean(0) - of[at])) for name, of in middles_m.items()}
            name = min(off_m, key=lambda name: off_m[name])
            if off_m[name] < _NEAR_M:
                assert name.partition("_")[0] == side, f"set {at}: {name} was published as {side}"
                followed.setdefault(name, set()).add(int(track))
                published[name] += 1
    assert len(followed) == min(most, len(middles_m))
    assert all(len(tracks) == 1 for tracks in followed.values()), "each keeps its number"
    assert sum(published.values()) > 0.8 * _SETS * len(followed)
