"""The hands that were found in a stretch of a session: arrays, kept in a file so that an interrupted run goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from calibration.hand import JOINTS, Definition
from models.files.npzfile import read_npz, write_npz


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """H hands of V cameras, in order of time, and what was counted beside them.

    `time_ns` (H,) of their sets, `track` (H,) who they are, `right` (H,); `joints_m` (H, 21, 3) in the world;
    `seen` (H, V) in which cameras' images they are found; there, `keypoints_px` (H, V, 21, 2), `std_px` (H, V, 21) and
    `presence` (H, V) as the detector says; `frame_time_ns` (H, V) of the images, 0 where the set has none. `sets`,
    `sets_with_hand`, `unmatched` detections, (1,) each; `images` and `found` (V,): the images looked at and the
    detections in them; `detector_s` (1,); `definition` (1,), text: where on the hand the estimator's keypoints lie.
    """

    time_ns: np.ndarray
    track: np.ndarray
    right: np.ndarray
    joints_m: np.ndarray
    seen: np.ndarray
    frame_time_ns: np.ndarray
    keypoints_px: np.ndarray
    std_px: np.ndarray
    presence: np.ndarray
    sets: np.ndarray
    sets_with_hand: np.ndarray
    unmatched: np.ndarray
    images: np.ndarray
    found: np.ndarray
    detector_s: np.ndarray
    definition: np.ndarray

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def joint_definition(self) -> Definition:
        """`definition` as what it is."""
        return "detector" if self.definition[0] == "detector" else "anatomical"

    def write(self, path: Path) -> None:
        """Atomically. Raises OSError."""
        write_npz(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> "Stretch":
        """Raises UserError where it is damaged."""
        arrays = read_npz(path, "a part of the labelling", "Remove it, and label the session again.")
        return cls(**arrays)

    @classmethod
    def join(cls, parts: Sequence["Stretch"]) -> "Stretch":
        """One after another. Nobody is the same hand in two of them."""
        summed = ("sets", "sets_with_hand", "unmatched", "images", "found", "detector_s")
        tracks, first = [], 0
        for part in parts:
            tracks.append(part.track + first)
            first += int(part.track.max(initial=-1)) + 1
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name not in (*summed, "track", "definition")
        }
        sums = {name: np.sum([getattr(part, name) for part in parts], axis=0) for name in summed}
        return cls(**joined, **sums, track=np.concatenate(tracks), definition=parts[0].definition)


def empty_hands(count: int, views: int) -> dict[str, np.ndarray]:
    """The arrays of so many hands, none of which any camera sees."""
    return {
        "time_ns": np.zeros(count, np.int64),
        "track": np.zeros(count, np.int64),
        "right": np.zeros(count, bool),
        "joints_m": np.zeros((count, JOINTS, 3)),
        "seen": np.zeros((count, views), bool),
        "frame_time_ns": np.zeros((count, views), np.int64),
        "keypoints_px": np.zeros((count, views, JOINTS, 2)),
        "std_px": np.ones((count, views, JOINTS)),
        "presence": np.zeros((count, views)),
    }
