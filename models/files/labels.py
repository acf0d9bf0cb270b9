"""`labels.npz` of a session: the 2D hands that a detector found in its images, and how sure it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from calibration.errors import UserError
from calibration.hand import JOINTS, Definition
from models.files.npzfile import read_npz, write_npz

_TEXTS = ("source", "definition", "rig_id", "made_of")
_AGAIN = "Write it again: docs/labels.md says how."


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One row per hand that was found in one image (L); a hand that was missed has no row.

    `camera` (L,) int16 counts the rig's cameras, `time_ns` (L,) int64 is the frame's capture time, `right` (L,) bool
    whether it is a right hand, `keypoints_px` (L, 21, 2) float32 distorted pixels, `confidence` (L, 21) float32 in
    [0, 1]; `source` says what made them, `definition` where on the hand their points lie. `rig_id` is the calibration
    by which views were compared and `made_of` tells labels made of something else apart; both are empty where unknown.
    """

    camera: np.ndarray
    time_ns: np.ndarray
    right: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray
    source: str
    definition: Definition = "anatomical"
    rig_id: str = ""
    made_of: str = ""

    def __len__(self) -> int:
        return len(self.camera)


_FIELDS: dict[str, tuple[type, tuple[int, ...]]] = {
    "camera": (np.int16, ()),
    "time_ns": (np.int64, ()),
    "right": (np.bool_, ()),
    "keypoints_px": (np.float32, (JOINTS, 2)),
    "confidence": (np.float32, (JOINTS,)),
}


def write_labels(path: Path, labels: Labels, cameras: int) -> None:
    """Write `labels.npz` atomically. Raises UserError where `read_labels` would."""
    arrays = {name: np.asarray(getattr(labels, name)) for name in _FIELDS}
    _check(path, arrays, cameras)
    arrays = {name: arrays[name].astype(dtype) for name, (dtype, _) in _FIELDS.items()}
    _check_definition(path, labels.definition)
    texts = {name: np.array(getattr(labels, name)) for name in _TEXTS}
    write_npz(path, {**arrays, **texts})


def read_labels(path: Path, cameras: int) -> Labels:
    """Read `labels.npz` of a rig with that many cameras.

    A file without a `definition`, as they were before, is of the `detector`'s where its source is MediaPipe.

    Raises UserError for a file that is missing or no such file, a wrong shape or kind of number, a camera that the rig
    does not have, a value that is not finite, a confidence outside of [0, 1], or an unknown definition. Nothing in the
    file is executed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Write it first: docs/labels.md says how.")
    arrays = read_npz(path, "labels", _AGAIN, {*_FIELDS, *_TEXTS})
    missing = sorted({*_FIELDS, "source"} - set(arrays))
    if missing:
        raise UserError(f"{path}: no `{missing[0]}`; labels have {', '.join(_FIELDS)}, source. {_AGAIN}")
    source = str(arrays.pop("source"))
    before = "detector" if source.lower().startswith("mediapipe") else "anatomical"
    definition = str(arrays.pop("definition", before))
    _check(path, arrays, cameras)
    rig_id, made_of = (str(arrays.pop(name, "")) for name in ("rig_id", "made_of"))
    known = _check_definition(path, definition)
    return Labels(**arrays, source=source, definition=known, rig_id=rig_id, made_of=made_of)


def _check_definition(path: Path, name: str) -> Definition:
    for known in get_args(Definition):
        if name == known:
            return known
    raise UserError(f"{path}: `definition` is {name!r}; known: {', '.join(get_args(Definition))}. {_AGAIN}")


def _check(path: Path, arrays: dict[str, np.ndarray], cameras: int) -> None:
    rows = arrays["camera"].shape[0] if arrays["camera"].ndim else 0
    for name, (dtype, end) in _FIELDS.items():
        array = arrays[name]
        if array.shape != (rows, *end):
            raise UserError(f"{path}: `{name}` has shape {array.shape}; expected {(rows, *end)}. {_AGAIN}")
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise UserError(f"{path}: `{name}` holds {array.dtype}; expected {np.dtype(dtype)}. {_AGAIN}")
    unknown = (arrays["camera"] < 0) | (arrays["camera"] >= cameras)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise UserError(
            f"{path}: row {row} is of camera {arrays['camera'][row]}, but the rig has cameras 0 to {cameras - 1}. "
            "Use the labels with the rig that they were made with."
        )
    for name in ("keypoints_px", "confidence"):
        bad = ~np.isfinite(arrays[name]).all(axis=tuple(range(1, arrays[name].ndim)))
        if bad.any():
            row = int(np.argmax(bad))
            raise UserError(
                f"{path}: `{name}` of row {row} holds NaN or infinity. Leave the row out, or give the joint that was "
                "not found any place and confidence 0."
            )
    outside = ((arrays["confidence"] < 0) | (arrays["confidence"] > 1)).any(axis=1)
    if outside.any():
        raise UserError(f"{path}: `confidence` of row {int(np.argmax(outside))} is outside of 0 to 1. {_AGAIN}")
