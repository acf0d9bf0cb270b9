"""Which joints a hand hides from a camera itself, from the joints alone: for where no mesh is rendered."""

import numpy as np

from calibration.hand import BONES, JOINTS

_PALM = np.array([(0, 9), (0, 13), (5, 9), (9, 13), (13, 17), (5, 13), (9, 17)])
_LIMBS = np.concatenate([BONES, _PALM])
_RADIUS_M = 0.008
_SIGHT_M = 0.25
# A limb does not hide a joint that lies on it or at its end.
_OWN = np.zeros((JOINTS, len(_LIMBS)), dtype=bool)
_OWN[_LIMBS.T.ravel(), np.tile(np.arange(len(_LIMBS)), 2)] = True
_OWN[[[0], [1], [5], [9], [13], [17]], np.flatnonzero(np.isin(_LIMBS, [0, 5, 9, 13, 17]).all(1))] = True


def hidden_by_own_hand(joints_m: np.ndarray, camera_centre_m: np.ndarray) -> np.ndarray:
    """Mask (..., 21) of the joints (..., 21, 3) behind a finger or the palm, seen from `camera_centre_m` (..., 3).

    Fingers are taken as rods of 8 mm radius between the joints, the palm as such rods between the knuckles and the
    wrist. Distances between segments as C. Ericson, "Real-Time Collision Detection", 2005, 5.1.9.
    """
    sight = camera_centre_m[..., None, :] - joints_m
    sight = sight * (_SIGHT_M / np.linalg.norm(sight, axis=-1, keepdims=True))
    start = joints_m[..., _LIMBS[:, 0], :]
    limb = joints_m[..., _LIMBS[:, 1], :] - start
    # Of each joint's line of sight s * d1 and each limb start + t * d2: the nearest points, (..., 21, limbs).
    d1, d2 = sight[..., :, None, :], limb[..., None, :, :]
    r = joints_m[..., :, None, :] - start[..., None, :, :]
    a, e, b = (d1 * d1).sum(-1), (d2 * d2).sum(-1), (d1 * d2).sum(-1)
    c, f = (d1 * r).sum(-1), (d2 * r).sum(-1)
    s = np.clip((b * f - c * e) / np.maximum(a * e - b * b, 1e-12), 0, 1)
    t = np.clip((b * s + f) / np.maximum(e, 1e-12), 0, 1)
    s = np.clip((b * t - c) / a, 0, 1)
    gap = np.linalg.norm(r + s[..., None] * d1 - t[..., None] * d2, axis=-1)
    return ((gap < _RADIUS_M) & ~_OWN).any(-1)
