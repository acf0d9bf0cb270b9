"""The learnt forecast: the packaged network as PyTorch computes it, in any pose of the world, for both sides."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.hand import Side
from models.forecast.hand_forecast import (
    HISTORY,
    HORIZONS_MS,
    STEP_S,
    PoseHistory,
    features,
    forecast,
    weights,
)
from models.hand.builtin import BuiltinHand
from models.simulation.motion import HandMotion

MIRROR_X = np.diag([-1.0, 1, 1, 1])
MIRROR_Y = np.diag([1.0, -1, 1, 1])
RIGHT, MEAN_SHAPE = BuiltinHand("right"), BuiltinHand("right").default_shape()
TIPS = [4, 8, 12, 16, 20]


def history_at(time_s: float, seed: int = 77) -> PoseHistory:
    """Of a right hand, without noise."""
    motion, times_s = HandMotion(seed), time_s - STEP_S * np.arange(HISTORY)
    angles = np.array([motion.angles_rad(t) for t in times_s])
    joints = [RIGHT.joints(a, motion.T_world_hand(t), MEAN_SHAPE) for a, t in zip(angles, times_s, strict=True)]
    return PoseHistory(np.array(joints), angles, motion.T_world_hand(time_s))


def test_the_network_is_computed_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    w = {name: torch.tensor(array) for name, array in weights().items()}
    history = history_at(2.0)
    x = (torch.tensor(features(history, "right")) - w["mean"]) / w["std"]
    for layer in (1, 2):
        x = torch.nn.functional.silu(torch.nn.functional.linear(x, w[f"weight_{layer}"], w[f"bias_{layer}"]))
    x = torch.nn.functional.linear(x, w["weight_3"], w["bias_3"]).view(len(HORIZONS_MS), 21, 3).numpy() / 100
    assert np.allclose(forecast(history, "right").way_m, x @ history.T_world_hand[:3, :3].T, atol=1e-5)


def test_a_hand_that_is_turned_and_moved_goes_on_as_before_but_turned() -> None:
    history, turn = history_at(1.3), Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = turn, [0.3, -2, 1]
    moved = PoseHistory(history.joints_world_m @ turn.T + T[:3, 3], history.hinges_rad, T @ history.T_world_hand)
    assert np.allclose(forecast(moved, "right").way_m, forecast(history, "right").way_m @ turn.T, atol=1e-5)
    assert np.allclose(forecast(moved, "right").std_m, forecast(history, "right").std_m, atol=1e-9)


def test_a_left_hand_goes_on_as_the_right_hand_in_the_mirror() -> None:
    history = history_at(1.3)
    mirrored = PoseHistory(
        history.joints_world_m * [-1.0, 1, 1], history.hinges_rad, MIRROR_X @ history.T_world_hand @ MIRROR_Y
    )
    sides: tuple[Side, Side] = "left", "right"
    left, right = (forecast(each, side).way_m for each, side in zip((mirrored, history), sides, strict=True))
    assert np.allclose(left, right * [-1.0, 1, 1], atol=1e-5)


def test_it_is_nearer_to_the_truth_than_a_hand_that_stands_still_and_than_its_velocity() -> None:
    """Of motion that it was not learnt from."""
    errors = {"still": [], "velocity": [], "forecast": []}
    motion = HandMotion(77)
    for time_s in np.arange(1.0, 16.0, 0.2):
        history = history_at(time_s)
        now = history.joints_world_m[0]
        said = forecast(history, "right")
        speed = (now - history.joints_world_m[1]) / STEP_S
        for number, ms in ((1, 50.0), (2, 100.0)):
            assert HORIZONS_MS[number] == ms
            later_s = time_s + ms / 1e3
            truth = RIGHT.joints(motion.angles_rad(later_s), motion.T_world_hand(later_s), MEAN_SHAPE)
            ways = {"still": 0, "velocity": speed * ms / 1e3, "forecast": said.way_m[number]}
            for name, way_m in ways.items():
                errors[name].append(np.linalg.norm(now + way_m - truth, axis=1)[TIPS].mean())
    still, velocity, learnt = (np.mean(errors[name]) for name in ("still", "velocity", "forecast"))
    assert learnt < 0.7 * still
    assert learnt < velocity


def test_it_is_less_sure_the_farther_ahead_and_the_faster_a_joint_is() -> None:
    slow = history_at(2.0)
    fast = PoseHistory(slow.joints_world_m.copy(), slow.hinges_rad, slow.T_world_hand)
    fast.joints_world_m[2, 8] += 0.1
    later = np.diff(forecast(slow, "right").std_m, axis=0)
    assert np.all(later >= 0)
    assert np.all(later[:, TIPS] > 0)
    more = forecast(fast, "right").std_m[:, 8] - forecast(slow, "right").std_m[:, 8]
    assert np.all(more > 0)
