"""Reads the pose file of `--poses` and puts its hands on one time axis."""

from pathlib import Path
from typing import cast, get_args

import numpy as np

from app.convert.hand_recording import HandRecording, RecordedHand
from app.run.pose_rows import VERSION
from calibration.errors import UserError
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
}
_NUMBERS = ("joints", "covariance", "confidence")
# What all hands may take in memory, each with a place for every frame: so much, or more of a file that is large itself.
_MOST_BYTES = 400_000_000
_MOST_OF_ARRAYS = 8
_FRAME_BYTES = 8 * JOINTS * (3 + 9 + 1)
_ALONE_HZ = 30.0
_ROUND_HZ = 1e-5


def read_recording(path: Path) -> HandRecording:
    """The hands of a pose file.

    Raises UserError where the file is missing, damaged, of another version, no pose file, or has no hand.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. {_ADVICE}")
    arrays = read_npz(path, "poses", _ADVICE, {*_SHAPES, "definition", "version", "set_time"})
    _check(path, arrays)
    joints = arrays["joints"].astype(np.float64)
    there = np.isfinite(joints).all(axis=(1, 2))
    if not there.any():
        raise UserError(f"{path}: there is no hand in it, so there is nothing to convert. {_ADVICE}")
    set_times_ns = arrays.get("set_time", np.empty(0, np.int64))
    arrays = {name: arrays[name][there] for name in _SHAPES} | {"definition": arrays["definition"]}
    named = sorted({(int(track), str(side)) for track, side in zip(arrays["track"], arrays["hand"], strict=True)})
    stored = sum(array.nbytes for array in arrays.values())
    most = max(_MOST_BYTES, _MOST_OF_ARRAYS * stored) // (_FRAME_BYTES * len(named))
    times_ns, frame_of, rate_hz = _time_axis(path, arrays["time"].astype(np.int64), set_times_ns, most)
    hands = []
    for track, side in named:
        rows = np.flatnonzero((arrays["track"] == track) & (arrays["hand"] == side))
        hands.append(_hand(arrays, rows, frame_of[rows], len(times_ns), cast(Side, side)))
    return HandRecording(
        times_ns=times_ns,
        rate_hz=rate_hz,
        definition=cast(Definition, str(arrays["definition"])),
        hands=tuple(hands),
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
    if not {str(side) for side in set(arrays["hand"].tolist())} <= set(get_args(Side)):
        raise UserError(f"{path}: `hand` is to be left or right. {_ADVICE}")
    if str(arrays["definition"]) not in get_args(Definition):
        raise UserError(f"{path}: unknown definition `{arrays['definition']}` of the joints. {_ADVICE}")


def _time_axis(
    path: Path, row_times_ns: np.ndarray, set_times_ns: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Times (F,) of all frames, the frame (n,) of each row, and the rate: that of most frames, by least squares.

    Frames are the frame sets (s,), as far as the file knows them; where time passes without one, as many more as fit,
    and at most so many.
    """
    seen_ns = np.unique(np.concatenate([row_times_ns, set_times_ns]))
    steps_ns = np.diff(seen_ns)
    if not len(steps_ns):
        return seen_ns, np.zeros(len(row_times_ns), int), _ALONE_HZ
    steps = np.maximum(np.round(steps_ns / np.median(steps_ns)), 1)
    if steps.sum() >= most:
        raise UserError(
            f"{path}: {(seen_ns[-1] - seen_ns[0]) / 1e9:.0f} s pass in it, so more than {most} frames of each of its "
            f"hands. {_ADVICE}"
        )
    frames = np.concatenate([[0], np.cumsum(steps)]).astype(int)
    slope, offset = np.polyfit(frames, seen_ns - seen_ns[0], 1)
    rate_hz = 1e9 / slope
    if abs(rate_hz / round(rate_hz, 2) - 1) < _ROUND_HZ:
        rate_hz = round(rate_hz, 2)
    times_ns = seen_ns[0] + np.round(offset + slope * np.arange(frames[-1] + 1)).astype(np.int64)
    times_ns[frames] = seen_ns
    return np.maximum.accumulate(times_ns), frames[np.searchsorted(seen_ns, row_times_ns)], float(rate_hz)


def _hand(arrays: dict[str, np.ndarray], rows: np.ndarray, at: np.ndarray, frames: int, side: Side) -> RecordedHand:
    def spread(name: str, elsewhere: float) -> np.ndarray:
        values = np.full((frames, *arrays[name].shape[1:]), elsewhere)
        values[at] = arrays[name][rows]
        return values

    return RecordedHand(
        side=side,
        track_id=int(arrays["track"][rows[0]]),
        joints_world_m=spread("joints", np.nan),
        covariance_m2=spread("covariance", np.nan),
        confidence=spread("confidence", 0.0),
        filled=np.zeros(frames, bool),
    )
