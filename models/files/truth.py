"""`truth.npz` of a simulated session: where the hands really were."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from calibration.hand import JOINTS
from models.files.npzfile import read_npz, write_npz

_HAND = re.compile(r"((?:left|right)(?:_[2-9])?)_joints_world_m")


@dataclass(frozen=True, eq=False, kw_only=True)
class HandTruth:
    """One hand at S times, seen by V cameras in the rig's order.

    `joints_world_m` (S, 21, 3), `angles_rad` (S, A), `T_world_hand` (S, 4, 4), `shape` (P,), `visible` (S, V, 21) bool:
    inside the image and not hidden.
    """

    joints_world_m: np.ndarray
    angles_rad: np.ndarray
    T_world_hand: np.ndarray
    shape: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True, eq=False)
class Truth:
    """The hands at `times_ns` (S,) int64, the recording's clock, rising.

    They are called "left" and "right", a second person's "left_2" and "right_2", and so on; one that was never there is
    not in it.
    """

    times_ns: np.ndarray
    hands: Mapping[str, HandTruth]


def write_truth(path: Path, truth: Truth) -> None:
    """Write `truth.npz` atomically."""
    arrays = {"times_ns": truth.times_ns.astype(np.int64)}
    for name, hand in truth.hands.items():
        arrays |= {f"{name}_{field.name}": getattr(hand, field.name) for field in fields(hand)}
    write_npz(path, arrays)


def read_truth(path: Path, cameras: int) -> Truth:
    """Read `truth.npz` of a rig with that many cameras.

    Raises UserError for a file that is missing or no such file, lacks an array, or has one of another shape. Nothing in
    the file is executed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Only sessions made with `usthand simulate` have the truth.")
    arrays = read_npz(path, "truth", "Simulate the session again.")
    times_ns = _checked(path, arrays, "times_ns", (None,))
    sets = len(times_ns)
    ends = {
        "joints_world_m": (sets, JOINTS, 3),
        "angles_rad": (sets, None),
        "T_world_hand": (sets, 4, 4),
        "shape": (None,),
        "visible": (sets, cameras, JOINTS),
    }
    present = [match[1] for name in arrays if (match := _HAND.fullmatch(name))]
    hands = {
        hand: HandTruth(**{name: _checked(path, arrays, f"{hand}_{name}", shape) for name, shape in ends.items()})
        for hand in present
    }
    return Truth(times_ns, hands)


def _checked(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"{path}: no `{name}`. Simulate the session again.")
    got = arrays[name].shape
    if len(got) != len(shape) or any(want not in (None, have) for want, have in zip(shape, got, strict=True)):
        expected = ", ".join("any" if side is None else str(side) for side in shape)
        raise UserError(f"{path}: `{name}` has shape {got}; expected ({expected}). Simulate the session again.")
    return arrays[name]
