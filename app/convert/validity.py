"""The table beside a file of a format that cannot say in which frames a hand was measured."""

import csv
from pathlib import Path

import numpy as np

from app.convert.arm_animation import animate_arm
from app.convert.hand_recording import HandRecording, RecordedHand


def validity_file(path: Path) -> Path:
    """The table beside a file."""
    return path.with_name(f"{path.name}.valid.csv")


def write_validity(path: Path, recording: HandRecording, of_poses: bool) -> None:
    """Frame by frame and hand by hand: 1 where it was seen, 2 where it is interpolated, 0 where it is missing; also,
    `of_poses`, where its joints are those of no hand, so that a skeleton shows another frame's pose.

    Then each joint of an arm, in columns such as `right_1_elbow`: 1 where it is known, 0 where it is not.
    """
    arms = [(hand.name, animate_arm(hand, np.arange(recording.frames))) for hand in recording.hands]
    columns = {hand.name: _said(hand, hand.posed if of_poses else hand.valid) for hand in recording.hands}
    for hand_name, arm in arms:
        for name, known in zip(arm.names, arm.known.T, strict=True):
            columns[f"{hand_name}_{name}"] = known.astype(int)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["frame", *columns])
        said = np.stack(list(columns.values()), axis=1)
        rows.writerows([frame, *each] for frame, each in enumerate(said.tolist()))


def _said(hand: RecordedHand, there: np.ndarray) -> np.ndarray:
    return np.where(there, 1 + hand.filled, 0)
