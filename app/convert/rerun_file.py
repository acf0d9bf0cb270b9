"""Rerun's file: joints, bones, uncertainty, and each joint angle as a curve.

https://rerun.io/docs/reference/types
"""

from pathlib import Path

import numpy as np
import rerun as rr

from app.convert.hand_recording import HandRecording, RecordedHand
from app.rerun_view.hands import log_hand
from app.rerun_view.log import APPLICATION, TIMELINE
from models.hand.joint_angles import JOINT_ANGLE_NAMES


def write_rrd(path: Path, recording: HandRecording) -> None:
    """Metres in the rig's axes; the timeline `capture_time` is the recording's clock. In gaps a hand is cleared."""
    stream = rr.RecordingStream(APPLICATION)
    stream.save(path)
    try:
        stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        stream.log("notes", rr.AnyValues(drop_untyped_nones=True, **recording.notes()), static=True)
        for hand in recording.hands:
            _log_frames(stream, hand, recording.times_ns)
            _log_angles(stream, hand, recording.times_ns)
    finally:
        stream.disconnect()


def _log_frames(stream: rr.RecordingStream, hand: RecordedHand, times_ns: np.ndarray) -> None:
    name = f"world/{hand.name}"
    there = False
    for frame, time_ns in enumerate(times_ns):
        if not (hand.valid[frame] or there):
            continue
        stream.set_time(TIMELINE, duration=np.timedelta64(int(time_ns), "ns"))
        there = bool(hand.valid[frame])
        if there:
            log_hand(
                stream, name, hand.side, hand.joints_world_m[frame], hand.covariance_m2[frame],
                seen=not hand.filled[frame],
            )  # fmt: skip
        else:
            stream.log(name, rr.Clear(recursive=True))


def _log_angles(stream: rr.RecordingStream, hand: RecordedHand, times_ns: np.ndarray) -> None:
    times = rr.TimeColumn(TIMELINE, duration=times_ns[hand.valid].astype("timedelta64[ns]"))
    for name, angles_rad in zip(JOINT_ANGLE_NAMES, hand.fit.angles_rad[hand.valid].T, strict=True):
        stream.send_columns(
            f"angles/{hand.name}/{name}", indexes=[times], columns=rr.Scalars.columns(scalars=np.rad2deg(angles_rad))
        )
