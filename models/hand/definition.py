"""Where each keypoint lies: two definitions, and the map between them.

`anatomical` is that of the built-in hand and of simulated truth: joints at the bones' ends, fingertips at the skin's
farthest point. `detector` is that of MediaPipe's landmark network: its points on hands whose anatomical joints are
known lie elsewhere by 3 to 12 mm, most of all the thumb's base and the fingertips. The map moves each joint by a
constant in a frame of its own: along the bone that ends in it, to the side and out of the back of the hand, as shares
of the palm's length (wrist to the middle finger's base). The constants are medians over rendered hands, of the
network's points fused over the views; `python -m models.data.measure_definition CACHE` measures them again.
"""

import numpy as np

from calibration.hand import BONES, JOINTS, Definition

_WRIST, _INDEX, _MIDDLE, _LITTLE = 0, 5, 9, 17
_PARENT = np.zeros(JOINTS, int)
_PARENT[BONES[:, 1]] = BONES[:, 0]

# Shares of the palm's length, by joint: along the bone, to the side (of a right hand's thumb), out of the palm's back.
_TO_DETECTOR = np.array(
    [
        [-0.0003, 0.0134, 0.0106],
        [0.075, -0.0082, 0.0739],
        [-0.0425, 0.0087, -0.0013],
        [-0.0725, 0.0036, 0.0039],
        [-0.1025, 0.0024, -0.0007],
        [-0.024, 0.0041, -0.0152],
        [-0.0418, 0.0013, -0.0186],
        [-0.0613, 0.0018, 0.0152],
        [-0.0859, 0.0033, 0.0209],
        [-0.0097, 0.0029, -0.012],
        [-0.0261, 0.0113, -0.0133],
        [-0.0581, 0.0029, 0.0052],
        [-0.0936, 0.0118, 0.0088],
        [0.0126, -0.0204, -0.0148],
        [-0.0067, 0.009, -0.0045],
        [-0.069, -0.0044, 0.0094],
        [-0.0927, 0.0038, -0.008],
        [0.0126, -0.0235, -0.0049],
        [-0.0078, 0.0068, 0.0107],
        [-0.0252, -0.0047, 0.0017],
        [-0.0888, 0.0019, 0.0005],
    ]
)
_TO_ANATOMICAL = np.array(
    [
        [0.0036, -0.0132, -0.0112],
        [-0.0933, 0.005, -0.0636],
        [0.0377, -0.01, 0.0054],
        [0.0709, -0.0022, -0.0028],
        [0.0981, 0.0029, 0.0039],
        [0.0244, -0.0024, 0.018],
        [0.0356, 0.0004, 0.0217],
        [0.0525, -0.0012, -0.0083],
        [0.0765, -0.0027, -0.0243],
        [0.006, -0.0026, 0.0127],
        [0.0219, -0.0114, 0.0174],
        [0.0508, -0.0033, 0.0018],
        [0.0807, -0.0117, -0.0206],
        [-0.0154, 0.0191, 0.0132],
        [0.0016, -0.0064, 0.0105],
        [0.0631, -0.0008, -0.0054],
        [0.0816, -0.0126, -0.0059],
        [-0.0139, 0.0205, 0.0046],
        [0.0032, -0.01, -0.0059],
        [0.0219, 0.0003, 0.0002],
        [0.0746, -0.0102, -0.0044],
    ]
)


def bone_frames(joints_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (..., 21, 3, 3), rows along, side and out, of joints (..., 21, 3) of right hands (or mirrored left ones),
    and the palm's length (...)."""
    palm = joints_m[..., _MIDDLE, :] - joints_m[..., _WRIST, :]
    out = np.cross(
        joints_m[..., _INDEX, :] - joints_m[..., _WRIST, :], joints_m[..., _LITTLE, :] - joints_m[..., _WRIST, :]
    )
    along = joints_m - joints_m[..., _PARENT, :]
    along[..., _WRIST, :] = palm
    along = _unit(along)
    side = _unit(np.cross(np.broadcast_to(out[..., None, :], along.shape), along))
    return np.stack([along, side, np.cross(along, side)], axis=-2), np.linalg.norm(palm, axis=-1)


def convert(
    joints_m: np.ndarray, source: Definition, target: Definition, right: bool | np.ndarray = True
) -> np.ndarray:
    """Joints (..., 21, 3) in the other definition: of right hands, or mirrored left ones, and of left hands where
    `right` (...) is False."""
    if source == target:
        return joints_m
    offsets = _TO_DETECTOR if target == "detector" else _TO_ANATOMICAL
    # The map is of right hands, and of left ones in a mirror, whichever that is.
    mirror = np.where(np.asarray(right)[..., None, None], 1.0, [1.0, -1.0, 1.0])
    frames, palm_m = bone_frames(mirror * joints_m)
    return joints_m + mirror * (palm_m[..., None, None] * np.einsum("...jab,ja->...jb", frames, offsets))


def measure(joints_m: np.ndarray, others_m: np.ndarray) -> np.ndarray:
    """The constants (21, 3) that take joints (N, 21, 3) to those of the other definition (N, 21, 3): medians."""
    frames, palm_m = bone_frames(joints_m)
    offsets = np.einsum("njab,njb->nja", frames, others_m - joints_m) / palm_m[:, None, None]
    return np.nanmedian(offsets, axis=0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
