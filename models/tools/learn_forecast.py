"""Learns models/forecast/hand_forecast.npz: python -m models.tools.learn_forecast

Motion is simulated by seed; to each person's joints noise is added as of a rig of four cameras, part of it anew in each
frame and part that lasts for some frames, and the built-in hand is fitted, as the application does. The last twelve
people are not learnt from: on them the error is printed and the spread is measured.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn
from tqdm import tqdm

from calibration.hand import FINGER_JOINTS, JOINTS, Side
from models.files.npzfile import write_npz
from models.forecast.hand_forecast import (
    HISTORY,
    HORIZONS_MS,
    STEP_S,
    WEIGHTS,
    PoseHistory,
    features,
    in_hand,
    speeds_m_s,
)
from models.hand.fitter import HandFitter
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, chain
from models.simulation.detector_noise import DIFFICULTY
from models.simulation.hands import home_world_m
from models.simulation.motion import HandMotion

log = logging.getLogger(__name__)

FRAMES = 600
HELD_OUT = 12
_SETTLED = 30
_HOLD = 7
_FRESH_M, _LASTING_M, _CLAIMED_M = 0.8e-3, 1.1e-3, 2e-3
_WIDTH, _DROPOUT, _BATCH, _RATE = 160, 0.15, 256, 3e-3
# What an error at each horizon is divided by in the loss, centimetres: about what is left of it.
_SCALE_CM = (0.35, 0.5, 0.8, 1.1, 1.4)
_TIPS = [finger[-1] for finger in FINGER_JOINTS]
_SIDES: tuple[Side, ...] = ("left", "right")


class SimulatedHand(NamedTuple):
    """One hand over FRAMES: as measured (F, 21, 3), truth by horizon in ms, and the fitted hand."""

    side: Side
    measured_m: np.ndarray
    truth_m: dict[int, np.ndarray]
    hinges_rad: np.ndarray
    T_world_hand: np.ndarray
    joints_m: np.ndarray


class Examples(NamedTuple):
    """N moments: inputs, the ways in the hand's frame (N, 5, 21, 3) in centimetres, speeds (N, 21), and the errors of
    the measured joints (N, 21) in metres."""

    inputs: np.ndarray
    ways_cm: np.ndarray
    speeds_m_s: np.ndarray
    measured_errors_m: np.ndarray


def simulate(seed: int) -> Iterator[SimulatedHand]:
    """Both hands of a person; every third holds them anywhere, not as before a desk."""
    for number, side in enumerate(_SIDES):
        motion = HandMotion([seed, number], side, home_world_m=home_world_m(side, 2), anywhere=seed % 3 == 0)
        random = np.random.default_rng([seed, number, 9])
        times_s = np.arange(FRAMES) * STEP_S
        truth = {round(ms): _joints(motion, times_s + ms / 1e3) for ms in (0, *HORIZONS_MS)}
        spread = np.exp(0.4 * _lasting(random, (1,)))[..., None] * DIFFICULTY[None, :, None] * random.uniform(0.6, 1.5)
        noise = _FRESH_M * random.normal(size=truth[0].shape) + _LASTING_M * _lasting(random, (JOINTS, 3))
        measured = truth[0] + spread * noise
        fitter, claimed = HandFitter(side), np.tile(_CLAIMED_M**2 * np.eye(3), (JOINTS, 1, 1))
        fits = [fitter.fit(joints, claimed) for joints in measured]
        yield SimulatedHand(
            side=side,
            measured_m=measured,
            truth_m=truth,
            hinges_rad=np.array([fit.angles_rad for fit in fits if fit]),
            T_world_hand=np.array([fit.T_world_hand for fit in fits if fit]),
            joints_m=np.array([fit.joints_world_m for fit in fits if fit]),
        )


def _joints(motion: HandMotion, times_s: np.ndarray) -> np.ndarray:
    joints = chain(np.array([motion.angles_rad(t) for t in times_s]), MEAN_BONE_LENGTHS_M).joints_m
    if motion.side == "left":
        joints[..., 1] *= -1
    T = np.array([motion.T_world_hand(t) for t in times_s])
    return np.einsum("nij,nkj->nki", T[:, :3, :3], joints) + T[:, None, :3, 3]


def _lasting(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(F, *shape), normal, which changes over seven frames."""
    knots = random.normal(size=(FRAMES // _HOLD + 3, *shape))
    angle = (np.arange(FRAMES) % _HOLD / _HOLD * np.pi / 2).reshape(-1, *[1] * len(shape))
    at = np.arange(FRAMES) // _HOLD
    return np.cos(angle) * knots[at] + np.sin(angle) * knots[at + 1]


def examples(hands: list[SimulatedHand]) -> Examples:
    frames = np.arange(_SETTLED, FRAMES)
    parts = []
    for hand in hands:
        back = frames[:, None] - np.arange(HISTORY)
        history = PoseHistory(hand.joints_m[back], hand.hinges_rad[back], hand.T_world_hand[frames])
        now = hand.joints_m[frames]
        ways = [in_hand(hand.truth_m[round(ms)][frames] - now, history.T_world_hand, hand.side) for ms in HORIZONS_MS]
        errors = np.linalg.norm(hand.measured_m[frames] - hand.truth_m[0][frames], axis=-1)
        parts.append((features(history, hand.side), 100 * np.stack(ways, axis=1), speeds_m_s(history), errors))
    return Examples(*(np.concatenate(each).astype(np.float32) for each in zip(*parts, strict=True)))


def learn(known: Examples, epochs: int) -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    """The network, and mean and deviation of its inputs."""
    torch.manual_seed(0)
    mean, std = known.inputs.mean(0), known.inputs.std(0) + 1e-3
    inputs, ways = torch.tensor((known.inputs - mean) / std), torch.tensor(known.ways_cm)
    outputs = len(HORIZONS_MS) * JOINTS * 3
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], _WIDTH),
        nn.SiLU(),
        nn.Dropout(_DROPOUT),
        nn.Linear(_WIDTH, _WIDTH),
        nn.SiLU(),
        nn.Linear(_WIDTH, outputs),
    )
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.05)
    steps = epochs * -(-len(inputs) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    scale = torch.tensor(_SCALE_CM)[:, None]
    for _ in tqdm(range(epochs), desc="learning", file=sys.stderr, disable=None):
        for chosen in torch.randperm(len(inputs)).split(_BATCH):
            said = network(inputs[chosen]).view(-1, len(HORIZONS_MS), JOINTS, 3)
            loss = ((said - ways[chosen]).norm(dim=-1) / scale).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval(), mean, std


def measure(network: nn.Sequential, mean: np.ndarray, std: np.ndarray, held_out: Examples) -> np.ndarray:
    """Tells fingertips' errors; returns the spread (5, 21, 2): the deviation of a coordinate of each joint at rest, and
    for each m/s, of what the forecast errs more than the joint as measured. Squares of them add up."""
    with torch.no_grad():
        said = network(torch.tensor((held_out.inputs - mean) / std)).view(-1, len(HORIZONS_MS), JOINTS, 3).numpy()
    errors_m = np.linalg.norm(said - held_out.ways_cm, axis=-1) / 100
    base_m = held_out.measured_errors_m[:, _TIPS].mean()
    for ms, of_tips in zip(HORIZONS_MS, errors_m[..., _TIPS].mean(axis=(0, 2)), strict=True):
        log.info("%g ms ahead: fingertips %.2f mm, %.2f times as measured", ms, 1e3 * of_tips, of_tips / base_m)
    more_m2 = (errors_m**2 - held_out.measured_errors_m[:, None] ** 2) / 3
    spread = np.zeros((len(HORIZONS_MS), JOINTS, 2))
    for joint in range(JOINTS):
        speeds_m_s = held_out.speeds_m_s[:, joint].astype(float)
        line = np.stack([np.ones_like(speeds_m_s), speeds_m_s**2], axis=1)
        spread[:, joint] = [np.sqrt(nnls(line, more)[0]) for more in more_m2[..., joint].T]
    return np.maximum.accumulate(spread)  # later is never surer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=66)
    parser.add_argument("--epochs", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    people = [list(simulate(1000 + seed)) for seed in tqdm(range(args.people), desc="simulating", disable=None)]
    known = examples([hand for hands in people[:-HELD_OUT] for hand in hands])
    held_out = examples([hand for hands in people[-HELD_OUT:] for hand in hands])
    network, mean, std = learn(known, args.epochs)
    arrays = {"mean": mean, "std": std, "spread": measure(network, mean, std, held_out)}
    for number, layer in enumerate((each for each in network if isinstance(each, nn.Linear)), 1):
        arrays |= {f"weight_{number}": layer.weight.detach().numpy(), f"bias_{number}": layer.bias.detach().numpy()}
    write_npz(WEIGHTS, {name: array.astype(np.float16) for name, array in arrays.items()})


if __name__ == "__main__":
    main()
