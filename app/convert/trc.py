"""TRC of Motion Analysis and .mot of OpenSim: markers, and joint angles.

https://opensimconfluence.atlassian.net/wiki/spaces/OpenSim/pages/53089000/Preparing+Your+Data
"""

from pathlib import Path

import numpy as np

from app.convert.hand_recording import Y_UP, HandRecording
from app.convert.skeleton_animation import NODE_NAMES
from models.hand.joint_angles import JOINT_ANGLE_NAMES
from models.hand.wrist_angles import WRIST_ANGLE_NAMES


def write_trc(path: Path, recording: HandRecording) -> None:
    """Markers in millimetres, y up, elbow and shoulder among them where they are known.

    In gaps the fields are empty, which OpenSim reads as missing.
    """
    markers = [f"{hand.name}_{name}" for hand in recording.hands for name in (*NODE_NAMES, *hand.arm_names)]
    points_mm = np.concatenate([1e3 * hand.points_world_m @ Y_UP.T for hand in recording.hands], axis=1)
    rate = f"{recording.rate_hz:.9g}"
    numbers = (rate, rate, recording.frames, len(markers), "mm", rate, 1, recording.frames)
    lines = [
        "PathFileType\t4\t(X/Y/Z)\tusthand.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        "\t".join(map(str, numbers)),
        "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number + 1}" for number in range(len(markers)) for axis in "XYZ"),
        "",
    ]
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        for frame, (time_s, points) in enumerate(zip(recording.frame_times_s, points_mm, strict=True)):
            fields = ["" if value != value else f"{value:.4f}" for value in points.ravel().tolist()]
            # OpenSim counts no field after a last tab.
            last = "\t" if fields[-1] == "" else ""
            file.write("\t".join([str(frame + 1), f"{time_s:.6f}", *fields]) + f"{last}\n")


def write_mot(path: Path, recording: HandRecording) -> None:
    """The joint angles of every hand in degrees, the wrist's where the arm is known; `nan` in gaps."""
    names, angles_rad = [], []
    for hand in recording.hands:
        names += [f"{hand.name}_{angle}" for angle in JOINT_ANGLE_NAMES]
        angles_rad.append(hand.fit.angles_rad)
        if hand.arm is not None:
            names += [f"{hand.name}_{angle}" for angle in WRIST_ANGLE_NAMES]
            angles_rad.append(hand.arm.wrist_rad)
    angles_deg = np.rad2deg(np.concatenate(angles_rad, axis=1))
    lines = [
        "usthand_joint_angles",
        "version=1",
        f"nRows={recording.frames}",
        f"nColumns={1 + len(names)}",
        "inDegrees=yes",
        *(f"{key}={value}" for key, value in recording.notes().items() if key != "axes"),
        f"world={recording.axes}",
        "endheader",
        "\t".join(["time", *names]),
    ]
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")
        for time_s, angles in zip(recording.frame_times_s, angles_deg.tolist(), strict=True):
            file.write("\t".join([f"{time_s:.6f}", *(f"{angle:.5f}" for angle in angles)]) + "\n")
