"""Two calibrations of one rig compared: which cameras kept their places, which moved, and how far."""

import numpy as np

from calibration.rotations import inverse_transform, rotation_angle


def pair_effects_px(T_old: np.ndarray, T_new: np.ndarray, focal: np.ndarray, depth_m: float) -> np.ndarray:
    """How far camera b seems displaced in pixels (C, C), indexed [a, b], if camera a stood still.

    `T_old`, `T_new` (C, 4, 4) are `T_cam_world`, each in a world of its own; `depth_m` is the board's distance.
    """
    change = _relative(T_new) @ inverse_transform(_relative(T_old))
    turned = 0.5 * rotation_angle(change[..., :3, :3])
    return focal[None] * (displacement_m(change, depth_m) / depth_m + turned)


def displacement_m(change: np.ndarray, depth_m: float) -> np.ndarray:
    """How far a change of camera axes (..., 4, 4) moves a point ahead.

    About the board, not about the camera: a turn and a move that cancel there do no harm.
    """
    at_board = np.array([0, 0, depth_m, 1.0])
    return np.linalg.norm((change @ at_board - at_board)[..., :3], axis=-1)


def still_cameras(effect_px: np.ndarray, moved_px: float) -> np.ndarray | None:
    """The largest group (C,) that kept its shape; None where no two cameras did."""
    worst = np.maximum(effect_px, effect_px.T)
    groups_of = worst < 2 * moved_px
    score = groups_of.sum(1) - 1e-6 * np.median(worst, axis=1)
    best = int(np.argmax(score))
    return groups_of[best] if groups_of[best].sum() >= 2 else None


def aligned(T_new: np.ndarray, T_old: np.ndarray, still: np.ndarray) -> np.ndarray:
    """The new poses in the old world: aligned on the first camera that stood still; all `still` ones (C,) as before."""
    anchor = int(np.flatnonzero(still)[0])
    T = T_new @ inverse_transform(T_new[anchor]) @ T_old[anchor]
    return np.where(still[:, None, None], T_old, T)


def scale_change_percent(T_old: np.ndarray, T_new: np.ndarray) -> float:
    """By how much the distances between cameras have grown, in the median."""
    lengths = []
    for T in (T_old, T_new):
        centres = inverse_transform(T)[:, :3, 3]
        lengths.append(np.linalg.norm(centres[:, None] - centres, axis=-1)[np.triu_indices(len(T), 1)])
    return float(100 * (np.median(lengths[1] / lengths[0]) - 1))


def _relative(T: np.ndarray) -> np.ndarray:
    """`T_b_a` (C, C, 4, 4), indexed [a, b]."""
    return T[None] @ inverse_transform(T)[:, None]
