"""Recorded hands as tables: tidy, one row a joint of a hand in a frame, or wide, one row a frame; CSV and Parquet."""

import csv
import json
from pathlib import Path

import numpy as np

from app.convert.hand_recording import HandRecording, RecordedHand
from app.convert.skeleton_animation import NODE_NAMES
from calibration.hand import BONES, JOINTS
from models.hand.joint_angles import JOINT_ANGLES, TURNS
from models.hand.wrist_angles import WRIST_ANGLE_NAMES

Columns = dict[str, np.ndarray]
_AXES = ("x", "y", "z")
_ROWS_AT_ONCE = 10_000
_OF_WRIST = TURNS[:2]
"""Where a tidy table has the wrist's flexion and deviation."""


def write_csv(path: Path, recording: HandRecording) -> None:
    """One row a joint, hand and frame."""
    _write_csv(path, tidy(recording))


def write_wide_csv(path: Path, recording: HandRecording) -> None:
    """One row a frame."""
    _write_csv(path, wide(recording))


def write_parquet(path: Path, recording: HandRecording) -> None:
    """One row a joint, hand and frame; the notes stand in the schema's metadata."""
    _write_parquet(path, tidy(recording), recording)


def write_wide_parquet(path: Path, recording: HandRecording) -> None:
    """One row a frame; the notes stand in the schema's metadata."""
    _write_parquet(path, wide(recording), recording)


def tidy(recording: HandRecording) -> Columns:
    """Columns by name, of the same length. A hand has rows from its first frame to its last; in gaps they say so."""
    parts = [_tidy(recording, hand) for hand in recording.hands]
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(together["frame"], kind="stable")
    return {name: values[order] for name, values in together.items()}


def _tidy(recording: HandRecording, hand: RecordedHand) -> Columns:
    begin, end = hand.span
    frames = np.arange(begin, end)
    points_m = hand.points_world_m[begin:end]
    std_m = np.sqrt(np.diagonal(hand.points_covariance_m2[begin:end], axis1=2, axis2=3))
    count = points_m.shape[1]
    valid = np.repeat(hand.valid[begin:end, None], count, axis=1)
    valid[:, JOINTS:] = np.isfinite(points_m[:, JOINTS:]).all(axis=2)
    confidence = np.full((len(frames), count), np.nan)
    confidence[:, :JOINTS] = hand.confidence[begin:end]

    def of_frames(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, count)

    columns: Columns = {
        "frame": of_frames(frames),
        "time_ns": of_frames(recording.times_ns[begin:end]),
        "time_s": of_frames(recording.times_s[begin:end]),
        "hand": np.full(count * len(frames), hand.side),
        "track": np.full(count * len(frames), hand.track_id),
        "joint": np.tile(np.array([*NODE_NAMES, *hand.arm_names]), len(frames)),
        "valid": valid.astype(np.int8).ravel(),
        "filled": of_frames(hand.filled[begin:end].astype(np.int8)),
    }
    for axis, name in enumerate(_AXES):
        columns[f"{name}_m"] = points_m[..., axis].ravel()
    for axis, name in enumerate(_AXES):
        columns[f"std_{name}_m"] = std_m[..., axis].ravel()
    columns["confidence"] = confidence.ravel()
    bones = np.full(count, np.nan)
    bones[BONES[:, 1]] = hand.fit.shape[:20]
    columns["bone_m"] = np.tile(bones, len(frames))
    for turn in TURNS:
        for suffix, angles in (("", hand.fit.angles_rad), ("_std", hand.fit.angles_std_rad)):
            of_joints = np.full((len(frames), count), np.nan)
            for number, angle in enumerate(JOINT_ANGLES):
                if angle.turn == turn:
                    of_joints[:, angle.joint] = np.rad2deg(angles[begin:end, number])
            if hand.arm is not None and turn in _OF_WRIST:
                wrist = hand.arm.wrist_std_rad if suffix else hand.arm.wrist_rad
                of_joints[:, 0] = np.rad2deg(wrist[begin:end, _OF_WRIST.index(turn)])
            columns[f"{turn}{suffix}_deg"] = of_joints.ravel()
    return columns


def wide(recording: HandRecording) -> Columns:
    """Columns by name, F rows; a hand's begin with its name, such as "right_1_wrist_x_m"."""
    columns: Columns = {
        "frame": np.arange(recording.frames),
        "time_ns": recording.times_ns,
        "time_s": recording.times_s,
    }
    for hand in recording.hands:
        columns[f"{hand.name}_valid"] = hand.valid.astype(np.int8)
        columns[f"{hand.name}_filled"] = hand.filled.astype(np.int8)
        for joint, name in enumerate(NODE_NAMES):
            for axis, letter in enumerate(_AXES):
                columns[f"{hand.name}_{name}_{letter}_m"] = hand.joints_world_m[:, joint, axis]
        for joint, name in enumerate(NODE_NAMES):
            columns[f"{hand.name}_{name}_std_m"] = np.sqrt(np.trace(hand.covariance_m2[:, joint], axis1=1, axis2=2) / 3)
        for joint, name in enumerate(NODE_NAMES):
            columns[f"{hand.name}_{name}_confidence"] = hand.confidence[:, joint]
        for number, angle in enumerate(JOINT_ANGLES):
            columns[f"{hand.name}_{angle.name}_deg"] = np.rad2deg(hand.fit.angles_rad[:, number])
            columns[f"{hand.name}_{angle.name}_std_deg"] = np.rad2deg(hand.fit.angles_std_rad[:, number])
        columns |= _wide_arm(hand)
        for bone, length_m in zip(BONES, hand.fit.shape[:20], strict=True):
            columns[f"{hand.name}_{NODE_NAMES[bone[1]]}_bone_m"] = np.full(recording.frames, length_m)
    return columns


def _wide_arm(hand: RecordedHand) -> Columns:
    """Of a hand with an arm: its points and the wrist's angles."""
    if hand.arm is None:
        return {}
    columns = {}
    std_m = np.sqrt(np.trace(hand.arm.covariance_m2, axis1=2, axis2=3) / 3)
    for number, name in enumerate(hand.arm_names):
        for axis, letter in enumerate(_AXES):
            columns[f"{hand.name}_{name}_{letter}_m"] = hand.arm.points_world_m[:, number, axis]
        columns[f"{hand.name}_{name}_std_m"] = std_m[:, number]
    for number, name in enumerate(WRIST_ANGLE_NAMES):
        columns[f"{hand.name}_{name}_deg"] = np.rad2deg(hand.arm.wrist_rad[:, number])
        columns[f"{hand.name}_{name}_std_deg"] = np.rad2deg(hand.arm.wrist_std_rad[:, number])
    return columns


def _write_csv(path: Path, columns: Columns) -> None:
    """Numbers that are not there are left empty."""
    count = len(next(iter(columns.values())))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        for begin in range(0, count, _ROWS_AT_ONCE):  # as text they take many times as much
            texts = [_texts(values[begin : begin + _ROWS_AT_ONCE]) for values in columns.values()]
            rows.writerows(zip(*texts, strict=True))


def _texts(values: np.ndarray) -> list:
    if not np.issubdtype(values.dtype, np.floating):
        return values.tolist()
    return ["" if value != value else f"{value:.8g}" for value in values.tolist()]  # NaN alone is not itself


def _write_parquet(path: Path, columns: Columns, recording: HandRecording) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    table = pa.table(arrays).replace_schema_metadata({"usthand": json.dumps(recording.notes())})
    parquet.write_table(table, str(path))
