"""Rerun's file: joints, bones, uncertainty, and each joint angle as a curve.

https://rerun.io/docs/reference/types
"""

from pathlib import Path

import numpy as np
import rerun as rr

from app.convert.hand_recording import HandRecording, RecordedHand
from app.rerun_view.hands import log_arm, log_hand
from app.rerun_view.log import APPLICATION, TIMELINE
from app.rerun_view.whole_log import check_whole
from models.hand.joint_angles import JOINT_ANGLE_NAMES
from models.hand.wrist_angles import WRIST_ANGLE_NAMES


def write_rrd(path: Path, recording: HandRecording) -> None:
    """Metres in the rig's axes; the timeline `capture_time` is the recording's clock. In gaps a hand is cleared.

    Raises OSError where not all of it is on the disk.
    """
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
    check_whole(path)


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
            if hand.arm is not None:
                log_arm(stream, name, hand.side, hand.joints_world_m[frame, 0], *hand.arm_at(frame))
        else:
            stream.log(name, rr.Clear(recursive=True))


def _log_angles(stream: rr.RecordingStream, hand: RecordedHand, times_ns: np.ndarray) -> None:
    """The wrist's angles stand in the frames that know them alone."""
    curves = [(name, angles, hand.valid) for name, angles in zip(JOINT_ANGLE_NAMES, hand.fit.angles_rad.T, strict=True)]
    if hand.arm is not None:
        known = np.asarray(np.isfinite(hand.arm.wrist_rad).all(axis=1))
        curves += [(name, angles, known) for name, angles in zip(WRIST_ANGLE_NAMES, hand.arm.wrist_rad.T, strict=True)]
    for name, angles_rad, there in curves:
        times = rr.TimeColumn(TIMELINE, duration=times_ns[there].astype("timedelta64[ns]"))
        scalars = rr.Scalars.columns(scalars=np.rad2deg(angles_rad[there]))
        stream.send_columns(f"angles/{hand.name}/{name}", indexes=[times], columns=scalars)
