"""NWB of neuroscience, with pynwb and ndx-pose: positions with their confidence, and joint angles.

https://github.com/rly/ndx-pose
"""

# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportInvalidTypeForm=false
# pynwb makes these classes and methods as it is loaded.

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from ndx_pose import PoseEstimation, PoseEstimationSeries, Skeleton, Skeletons
from pynwb import NWBHDF5IO, NWBFile, TimeSeries

from app.convert.hand_recording import HandRecording, RecordedHand, arm_bones
from app.convert.skeleton_animation import NODE_NAMES
from calibration.hand import BONES, JOINTS
from models.hand.joint_angles import JOINT_ANGLE_NAMES
from models.hand.wrist_angles import WRIST_ANGLE_NAMES

_START = datetime(1970, 1, 1, tzinfo=UTC)


def write_nwb(path: Path, recording: HandRecording) -> None:
    """Metres in the rig's axes, NaN in gaps. Time stamps are those of the recording, in seconds of its own clock.

    A hand with an arm has two nodes more, of which no confidence is known, and the wrist's angles.
    """
    notes = ", ".join(f"{key}: {value}" for key, value in recording.notes().items())
    file = NWBFile(
        session_description=f"Hands tracked by UST-Hand live. {notes}",
        identifier=f"usthand-{int(recording.times_ns[0])}-{recording.frames}",
        # The format wants a date, which a pose file does not have: time stamps count from here.
        session_start_time=_START,
    )
    behavior = file.create_processing_module("behavior", "3D hands from several calibrated cameras")
    skeletons = [_skeleton(hand) for hand in recording.hands]
    behavior.add(Skeletons(skeletons=skeletons))
    for hand, skeleton in zip(recording.hands, skeletons, strict=True):
        behavior.add(_positions(recording, hand, skeleton))
        angles = [("angles", JOINT_ANGLE_NAMES, "Joint angles", hand.fit.angles_rad, hand.fit.angles_std_rad)]
        if hand.arm is not None:
            wrist = hand.arm.wrist_rad, hand.arm.wrist_std_rad
            angles.append(("wrist_angles", WRIST_ANGLE_NAMES, "The wrist's angles", *wrist))
        for name, columns, what, angles_rad, std_rad in angles:
            for suffix, of_what, values in (
                ("", what, angles_rad),
                ("_std", f"Standard deviations of {what[0].lower()}{what[1:]}", std_rad),
            ):
                behavior.add(
                    TimeSeries(
                        name=f"{hand.name}_{name}{suffix}",
                        data=np.rad2deg(values),
                        unit="degrees",
                        timestamps=recording.times_ns / 1e9,
                        description=f"{of_what} by the ISB; columns: {', '.join(columns)}",
                    )
                )
        behavior.add(
            TimeSeries(
                name=f"{hand.name}_validity",
                data=hand.valid.astype(np.int8) + hand.filled.astype(np.int8),
                unit="1 seen, 2 interpolated, 0 gap",
                timestamps=recording.times_ns / 1e9,
                description="Whether the hand is there",
            )
        )
    # In memory first: where a disk is full, HDF5 fails once more as the program ends, which ends it by a signal.
    whole = BytesIO()
    with h5py.File(whole, "w") as content, NWBHDF5IO(file=content, mode="w") as io:
        io.write(file)
    path.write_bytes(whole.getbuffer())


def _skeleton(hand: RecordedHand) -> Skeleton:
    edges = np.array([*BONES, *arm_bones(len(hand.arm_names))], np.uint8)
    return Skeleton(name=f"skeleton_{hand.name}", nodes=[*NODE_NAMES, *hand.arm_names], edges=edges)


def _positions(recording: HandRecording, hand: RecordedHand, skeleton: Skeleton) -> PoseEstimation:
    series = []
    for joint, name in enumerate((*NODE_NAMES, *hand.arm_names)):
        confidence = {}
        if joint < JOINTS:
            confidence["confidence"] = hand.confidence[:, joint]
            confidence["confidence_definition"] = "in [0, 1], from how well the views agree; 0 where interpolated"
        series.append(
            PoseEstimationSeries(
                name=name,
                description=f"{name} of the {hand.side} hand, track {hand.track_id}",
                data=hand.points_world_m[:, joint],
                unit="meters",
                reference_frame=recording.axes,
                timestamps=recording.times_ns / 1e9 if joint == 0 else series[0],
                **confidence,
            )
        )
    return PoseEstimation(
        name=hand.name,
        pose_estimation_series=series,
        description=f"The {hand.side} hand, track {hand.track_id}: joints triangulated from all views",
        scorer="UST-Hand live",
        source_software="UST-Hand live",
        skeleton=skeleton,
    )
