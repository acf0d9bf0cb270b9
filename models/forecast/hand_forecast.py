"""How a hand moves on within 200 ms, by a small network that has seen much simulated motion.

It is given the fitted hand of the last fifth of a second in the hand's own frame, and knows what a velocity alone does
not: that fingers move together, speed up and slow down as in `models/simulation/motion.py`, and stop where they cannot
go on. Two hidden layers; a left hand is mirrored. `models/tools/learn_forecast.py` learns it.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calibration.hand import JOINTS, Side
from models.files.npzfile import read_npz
from models.hand.builtin import mirror_of

WEIGHTS = Path(__file__).with_name("hand_forecast.npz")
STEP_S = 1 / 30
"""Between the poses of the history."""
HISTORY = 7
"""Poses of it: of now and of six steps before."""
HORIZONS_MS = (20.0, 50.0, 100.0, 150.0, 200.0)
_CM = 100.0


class PoseHistory(NamedTuple):
    """A fitted hand now, at step 0, and at HISTORY - 1 steps before."""

    joints_world_m: np.ndarray
    """(..., 7, 21, 3)"""
    hinges_rad: np.ndarray
    """(..., 7, 21)"""
    T_world_hand: np.ndarray
    """(..., 4, 4) of now."""


class Forecast(NamedTuple):
    """At each of HORIZONS_MS: what is added to the joints of now (..., 5, 21, 3) in the world, and the standard
    deviation (..., 5, 21) along each axis of what it errs more than the joints as measured, both in metres."""

    way_m: np.ndarray
    std_m: np.ndarray


@lru_cache(maxsize=1)
def weights() -> dict[str, np.ndarray]:
    """Of the packaged network, as float32."""
    found = read_npz(WEIGHTS, "a forecast's weights", "Install the package again.")
    return {name: array.astype(np.float32) for name, array in found.items()}


def forecast(history: PoseHistory, side: Side) -> Forecast:
    """How the hand goes on."""
    w = weights()
    x = (features(history, side) - w["mean"]) / w["std"]
    for layer in (1, 2):
        x = x @ w[f"weight_{layer}"].T + w[f"bias_{layer}"]
        x = x / (1 + np.exp(-x))  # SiLU
    way = (x @ w["weight_3"].T + w["bias_3"]).reshape(*x.shape[:-1], len(HORIZONS_MS), JOINTS, 3) / _CM
    R = history.T_world_hand[..., None, :3, :3]
    way_m = (way * mirror_of(side)) @ R.swapaxes(-1, -2)
    still_m, moving_s = np.moveaxis(w["spread"], -1, 0)
    return Forecast(way_m, np.hypot(still_m, moving_s * speeds_m_s(history)[..., None, :]))


def features(history: PoseHistory, side: Side) -> np.ndarray:
    """(..., 441): how far joints were from their places of now, in the hand's frame, its hinges, how these turned."""
    joints, hinges = history.joints_world_m, history.hinges_rad
    before = in_hand(joints[..., 1:, :, :] - joints[..., :1, :, :], history.T_world_hand[..., None, :, :], side)
    now = hinges[..., 0, :]
    turned = (now - hinges[..., 1, :]) * 5, (now - hinges[..., 3, :]) * 2
    flat = before.reshape(*before.shape[:-3], -1) * 30
    return np.concatenate([flat, now, *turned], axis=-1).astype(np.float32)


def in_hand(ways_m: np.ndarray, T_world_hand: np.ndarray, side: Side) -> np.ndarray:
    """Ways (..., n, 3) in the world as a right hand's in its own frame."""
    return (ways_m @ T_world_hand[..., :3, :3]) * mirror_of(side)


def speeds_m_s(history: PoseHistory) -> np.ndarray:
    """(..., 21): of each joint over the last two steps."""
    joints = history.joints_world_m
    return np.linalg.norm(joints[..., 0, :, :] - joints[..., 2, :, :], axis=-1) / (2 * STEP_S)
