"""Hands as Rerun's archetypes: joints, bones, mesh, and each joint's ellipsoid of uncertainty."""

import numpy as np
import rerun as rr

from app.viewer import palette
from app.viewer.skeleton import BONES, joint_colours
from app.viewer.uncertainty import principal_axes
from calibration.hand import Side

_JOINT_M, _BONE_M = 0.004, 0.002
_STD = 2.0
"""Ellipsoids reach so many standard deviations."""


def log_hand(
    recording: rr.RecordingStream,
    name: str,
    side: Side,
    joints_world_m: np.ndarray,
    covariance_m2: np.ndarray,
    *,
    seen: bool = True,
) -> None:
    """Joints (21, 3) with their covariance (21, 3, 3), at the time that is set; grey where not `seen`."""
    colours = joint_colours(side) if seen else np.tile(palette.STALE, (21, 1))
    recording.log(f"{name}/joints", rr.Points3D(joints_world_m, colors=colours, radii=_JOINT_M))
    recording.log(f"{name}/bones", rr.LineStrips3D(joints_world_m[BONES], colors=colours[BONES[:, 1]], radii=_BONE_M))
    _log_uncertainty(recording, name, joints_world_m, covariance_m2, colours)


def log_arm(
    recording: rr.RecordingStream,
    name: str,
    side: Side,
    wrist_world_m: np.ndarray,
    arm_world_m: np.ndarray,
    covariance_m2: np.ndarray,
) -> None:
    """Elbow, and shoulder where it is known, (n, 3) with their covariance (n, 3, 3), and lines to them from the wrist.

    Cleared with the hand, and where n is 0.
    """
    place = f"{name}/arm"
    if not len(arm_world_m):
        recording.log(place, rr.Clear(recursive=True))
        return
    colour = palette.HANDS[side]
    recording.log(f"{place}/joints", rr.Points3D(arm_world_m, colors=colour, radii=_JOINT_M))
    line_m = np.concatenate([wrist_world_m[None], arm_world_m])
    recording.log(f"{place}/bones", rr.LineStrips3D([line_m], colors=colour, radii=_BONE_M))
    _log_uncertainty(recording, place, arm_world_m, covariance_m2, colour)


def _log_uncertainty(
    recording: rr.RecordingStream, name: str, points_world_m: np.ndarray, covariance_m2: np.ndarray, colours: np.ndarray
) -> None:
    """Ellipsoids of points (J, 3) with covariances (J, 3, 3); none where these are not known."""
    if not np.isfinite(covariance_m2).all():
        recording.log(f"{name}/uncertainty", rr.Clear(recursive=False))
        return
    half_sizes, quaternions_xyzw = ellipsoids(covariance_m2)
    recording.log(
        f"{name}/uncertainty",
        rr.Ellipsoids3D(centers=points_world_m, half_sizes=half_sizes, quaternions=quaternions_xyzw, colors=colours),
    )


def log_mesh(
    recording: rr.RecordingStream,
    name: str,
    side: Side,
    vertices_world_m: np.ndarray,
    triangles: np.ndarray,
    *,
    seen: bool = True,
) -> None:
    """A mesh of vertices (N, 3) and triangles (F, 3), in the hand's colour."""
    colour = palette.HANDS[side] if seen else palette.STALE
    recording.log(
        f"{name}/mesh",
        rr.Mesh3D(vertex_positions=vertices_world_m, triangle_indices=triangles, albedo_factor=[*colour, 1.0]),
    )


def ellipsoids(covariance_m2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half sizes (J, 3) and quaternions x y z w (J, 4) of the ellipsoids of two standard deviations."""
    std_m, axes = principal_axes(covariance_m2)
    axes[np.linalg.det(axes) < 0, :, 0] *= -1
    return _STD * std_m, quaternions_of(axes)


def quaternions_of(R: np.ndarray) -> np.ndarray:
    """Unit quaternions x y z w (J, 4) of rotations (J, 3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R).as_quat()
