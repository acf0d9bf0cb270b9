"""Reads the pose file of `--poses` and puts its hands on one time axis."""

from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import psutil

from app.convert.hand_recording import ARM_POINTS, HandRecording, RecordedArm, RecordedHand
from app.convert.tracks import joined, one_side_each
from app.convert.up import UPS
from app.run.pose_rows import VERSION
from calibration.errors import UserError, reason_of
from calibration.hand import JOINTS, Definition, Side
from models.files.npzfile import read_npz

_ADVICE = "Write it with `usthand replay SESSION --poses poses.npz`."
_SHAPES = {
    "time": (),
    "hand": (),
    "track": (),
    "joints": (JOINTS, 3),
    "covariance": (JOINTS, 3, 3),
    "confidence": (JOINTS,),
    "filled": (),
}
_ARM_SHAPES = {
    "arm_time": (),
    "arm_hand": (),
    "arm_track": (),
    "arm_side": (),
    **{f"arm_{point}": (3,) for point in ARM_POINTS},
    **{f"arm_{point}_covariance": (3, 3) for point in ARM_POINTS},
}
"""A file has these where arms were looked for."""
_DONE = ("filled_gaps_up_to_ms", "smoothed")
"""A file that `usthand convert` wrote has these, and `filled`."""
_NUMBERS = ("joints", "covariance", "confidence")
# What all hands may take in memory, each with a place for every frame: so much, or more of a file that is large itself.
_MOST_BYTES = 1_000_000_000
_MOST_OF_ARRAYS = 8
_FRAME_BYTES = 8 * JOINTS * (3 + 9 + 1)
_LEAST_MEMORY = 5
"""Memory that the format with the least takes beside the arrays, in sizes of these: measured, as `.npz`."""
_ALONE_HZ = 30.0
_ROUND_HZ = 1e-5


class NoHand(UserError):
    """A pose file in which no hand was seen."""


def read_recording(path: Path, join: bool = False) -> HandRecording:
    """The hands of a pose file; with `join` one of each side, whatever numbers it was followed under.

    Raises UserError where the file is missing, damaged, of another version, or no pose file, or its hands cannot be
    joined, NoHand where no hand is in it.
    """
    path = Path(path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise UserError(f"{path}: the file cannot be opened ({reason_of(error)}). {_ADVICE}") from None
    if is_folder:
        raise UserError(f"`{path}` is a folder. Give the file of poses in it, such as {path / 'poses.npz'}.")
    if not is_file:
        raise UserError(f"{path}: no such file. {_ADVICE}")
    arrays = read_npz(
        path, "poses", _ADVICE, {*_SHAPES, *_ARM_SHAPES, *_DONE, "definition", "up_in_rig", "version", "set_time"}
    )
    arrays.setdefault("filled", np.zeros(np.shape(arrays.get("time", ())), bool))
    _check(path, arrays)
    _check_done(path, arrays)
    up = str(arrays.get("up_in_rig", "z"))
    fill_ms, smoothed = (arrays.get(name, np.zeros(())) for name in _DONE)
    arms = _arms(path, arrays)
    joints = arrays["joints"].astype(np.float64)
    there = np.isfinite(joints).all(axis=(1, 2))
    if not there.any():
        raise NoHand(f"{path}: there is no hand in it, so there is nothing to convert. {_ADVICE}")
    set_times_ns = arrays.get("set_time", np.empty(0, np.int64))
    definition = cast(Definition, str(arrays["definition"]))
    rows = {name: arrays[name][there] for name in _SHAPES}
    one_side_each(rows, arms)
    if join:
        rows = joined(path, rows, arms)
    named = sorted({(int(track), str(side)) for track, side in zip(rows["track"], rows["hand"], strict=True)})
    stored = sum(array.nbytes for array in rows.values())
    _check_memory(path, _LEAST_MEMORY * stored)
    most = max(_MOST_BYTES, _MOST_OF_ARRAYS * stored) // (_FRAME_BYTES * len(named))
    advice = _ADVICE if len(named) <= 2 or join else "Of one person `--join` makes one hand of each side."
    times_ns, frame_of, rate_hz = _time_axis(path, rows["time"].astype(np.int64), set_times_ns, most, advice)
    hands = []
    for track, side in named:
        own = np.flatnonzero((rows["track"] == track) & (rows["hand"] == side))
        hand = _hand(rows, own, frame_of[own], len(times_ns), cast(Side, side))
        hands.append(replace(hand, arm=_arm(arms, hand, times_ns)))
    return HandRecording(
        times_ns=times_ns,
        rate_hz=rate_hz,
        definition=definition,
        hands=tuple(hands),
        fill_ms=float(fill_ms),
        smoothed=bool(smoothed),
        up_in_rig=up,
    )


def _check_memory(path: Path, least: int) -> None:
    free = psutil.virtual_memory().available
    if least > free:
        raise UserError(
            f"{path}: to convert its hands takes {least / 1e9:.1f} GB of memory and more, and {free / 1e9:.1f} GB are "
            "free. Close other programs, or convert it elsewhere; of a recorded session "
            "`usthand replay SESSION --from 0 --to 3600 --poses part.npz` writes the poses of an hour."
        )


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    version = arrays.get("version", np.array(1))
    if version.shape != () or version != VERSION:
        raise UserError(f"{path}: a pose file of version {version}, and this program reads {VERSION}. {_ADVICE}")
    missing = [name for name in (*_SHAPES, "definition") if name not in arrays]
    if missing:
        raise UserError(f"{path}: no pose file, for it has no {', '.join(f'`{name}`' for name in missing)}. {_ADVICE}")
    rows = len(arrays["time"]) if arrays["time"].ndim else 0
    for name, shape in _SHAPES.items():
        if arrays[name].shape != (rows, *shape):
            raise UserError(
                f"{path}: `{name}` has the shape {arrays[name].shape}, expected {(rows, *shape)}. {_ADVICE}"
            )
    if not all(np.issubdtype(arrays[name].dtype, np.floating) for name in _NUMBERS):
        raise UserError(f"{path}: {', '.join(_NUMBERS)} are to be numbers. {_ADVICE}")
    if not all(np.issubdtype(arrays[name].dtype, np.integer) for name in ("time", "track")):
        raise UserError(f"{path}: `time` and `track` are to be whole numbers. {_ADVICE}")
    set_times = arrays.get("set_time", np.empty(0, np.int64))
    if set_times.ndim != 1 or not np.issubdtype(set_times.dtype, np.integer):
        raise UserError(f"{path}: `set_time` is to be whole numbers, one for each frame set. {_ADVICE}")
    if not {str(side) for side in set(arrays["hand"].tolist())} <= set(get_args(Side)):
        raise UserError(f"{path}: `hand` is to be left or right. {_ADVICE}")
    if str(arrays["definition"]) not in get_args(Definition):
        raise UserError(f"{path}: unknown definition `{arrays['definition']}` of the joints. {_ADVICE}")


def _check_done(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if arrays["filled"].dtype != bool:
        raise UserError(f"{path}: `filled` is to be true or false. {_ADVICE}")
    for name in _DONE:
        done = arrays.get(name, np.zeros(()))
        if done.shape != () or done.dtype.kind not in "bif" or not np.isfinite(done):
            raise UserError(f"{path}: `{name}` is to be one number. {_ADVICE}")
    if str(arrays.get("up_in_rig", "z")) not in UPS:
        raise UserError(f"{path}: `up_in_rig` is to be one of {' '.join(UPS)}. {_ADVICE}")


def _time_axis(
    path: Path, row_times_ns: np.ndarray, set_times_ns: np.ndarray, most: int, advice: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """Times (F,) of all frames, the frame (n,) of each row, and the rate: that of most frames, by least squares.

    Frames are the frame sets (s,), as far as the file knows them; where time passes without one, as many more as fit,
    evenly, and at most so many.
    """
    seen_ns = np.unique(np.concatenate([row_times_ns, set_times_ns]))
    steps_ns = np.diff(seen_ns)
    if not len(steps_ns):
        return seen_ns, np.zeros(len(row_times_ns), int), _ALONE_HZ
    steps = np.maximum(np.round(steps_ns / np.median(steps_ns)), 1)
    if steps.sum() >= most:
        raise UserError(
            f"{path}: {(seen_ns[-1] - seen_ns[0]) / 1e9:.0f} s pass in it, so more than {most} frames of each of its "
            f"hands. {advice}"
        )
    frames = np.concatenate([[0], np.cumsum(steps)]).astype(int)
    rate_hz = 1e9 / np.polyfit(frames, seen_ns - seen_ns[0], 1)[0]
    if abs(rate_hz / round(rate_hz, 2) - 1) < _ROUND_HZ:
        rate_hz = round(rate_hz, 2)
    between_ns = np.interp(np.arange(frames[-1] + 1), frames, (seen_ns - seen_ns[0]).astype(np.float64))
    times_ns = seen_ns[0] + np.round(between_ns).astype(np.int64)
    times_ns[frames] = seen_ns
    return times_ns, frames[np.searchsorted(seen_ns, row_times_ns)], float(rate_hz)


def _hand(arrays: dict[str, np.ndarray], rows: np.ndarray, at: np.ndarray, frames: int, side: Side) -> RecordedHand:
    def spread(name: str, elsewhere: float | bool) -> np.ndarray:
        values = np.full((frames, *arrays[name].shape[1:]), elsewhere)
        values[at] = arrays[name][rows]
        return values

    return RecordedHand(
        side=side,
        track_id=int(arrays["track"][rows[0]]),
        joints_world_m=spread("joints", np.nan),
        covariance_m2=spread("covariance", np.nan),
        confidence=spread("confidence", 0.0),
        filled=spread("filled", False),
    )


def _arms(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows of arms, without their prefix; none of a file that has none."""
    if "arm_time" not in arrays:
        return {}
    count = arrays["arm_time"].shape
    for name, shape in _ARM_SHAPES.items():
        if name not in arrays or arrays[name].shape != (*count, *shape) or len(count) != 1:
            raise UserError(f"{path}: `{name}` does not go with the arms of the file. {_ADVICE}")
    numbers = [name for name, shape in _ARM_SHAPES.items() if shape]
    if not all(np.issubdtype(arrays[name].dtype, np.floating) for name in numbers):
        raise UserError(f"{path}: {', '.join(numbers)} are to be numbers. {_ADVICE}")
    return {name.removeprefix("arm_"): arrays[name] for name in _ARM_SHAPES}


def _arm(arms: dict[str, np.ndarray], hand: RecordedHand, times_ns: np.ndarray) -> RecordedArm | None:
    """The arm of a hand, at the times (F,) at which the hand is there; None where no frame has one."""
    if not arms:
        return None
    rows = np.flatnonzero((arms["track"] == hand.track_id) & (arms["hand"] == hand.side))
    at = np.minimum(np.searchsorted(times_ns, arms["time"][rows]), len(times_ns) - 1)
    same = (times_ns[at] == arms["time"][rows]) & hand.valid[at]
    rows, at = rows[same], at[same]
    if not len(rows):
        return None
    points = np.full((len(times_ns), len(ARM_POINTS), 3), np.nan)
    covariance = np.full((len(times_ns), len(ARM_POINTS), 3, 3), np.nan)
    for number, point in enumerate(ARM_POINTS):
        points[at, number], covariance[at, number] = arms[point][rows], arms[f"{point}_covariance"][rows]
    unknown = np.full((len(times_ns), 2), np.nan)
    return RecordedArm(
        side="right" if np.mean(arms["side"][rows] == "right") > 0.5 else "left",
        points_world_m=points,
        covariance_m2=covariance,
        wrist_rad=unknown,
        wrist_std_rad=unknown,
    )
