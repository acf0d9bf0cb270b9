"""Pose files for tests: the demo's two hands, one of them with gaps."""

from pathlib import Path

import numpy as np

from calibration.hand import Side
from models.simulation.hands import hands_at

START_NS = 5_000_000_000
STEP_NS = 20_000_000
GAPS: dict[Side, tuple[range, ...]] = {"left": (range(6, 9), range(20, 34)), "right": ()}
"""Frames in which a hand is missing."""
TRACKS: dict[Side, int] = {"left": 4, "right": 2}
STD_M = 0.001


def pose_arrays(frames: int = 40, noise_m: float = STD_M, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a pose file at 50 Hz."""
    generator = np.random.default_rng(seed)
    rows = []
    for frame in range(frames):
        time_ns = START_NS + frame * STEP_NS
        for side, joints in hands_at(time_ns / 1e9).items():
            if not any(frame in gap for gap in GAPS[side]):
                rows.append((time_ns, side, joints + generator.normal(0, noise_m, joints.shape)))
    n = len(rows)
    return {
        "time": np.array([row[0] for row in rows]),
        "hand": np.array([row[1] for row in rows]),
        "track": np.array([TRACKS[row[1]] for row in rows]),
        "joints": np.array([row[2] for row in rows], np.float32),
        "covariance": np.tile(np.float32(STD_M**2) * np.eye(3, dtype=np.float32), (n, 21, 1, 1)),
        "confidence": np.full((n, 21), 0.75, np.float32),
        "definition": np.array("anatomical"),
        "version": np.array(1),
    }


def write_pose_file(path: Path, arrays: dict[str, np.ndarray] | None = None, **changes: np.ndarray) -> Path:
    np.savez(path, **{**(arrays or pose_arrays()), **changes})  # pyright: ignore[reportArgumentType]
    return path


def true_joints_m(side: Side, frames: int = 40) -> np.ndarray:
    """(F, 21, 3)"""
    return np.stack([hands_at((START_NS + frame * STEP_NS) / 1e9)[side] for frame in range(frames)])
