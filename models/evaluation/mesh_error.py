"""Errors of a hand's mesh: the built-in hand fitted to the joints, as the viewer shows it, against the true vertices.

A hand is followed through its windows in order, with a fitter that learns the person's bone lengths as it does live.
Crops of left hands are mirrored, so that all hands are right ones here.
"""

import numpy as np

from models.data.windows import WindowDataset
from models.evaluation.metrics import joint_errors_mm, procrustes_aligned
from models.evaluation.predict import METHODS, Predictions
from models.hand.builtin import BuiltinHand
from models.hand.fitter import HandFitter


def mesh_summaries(data: WindowDataset, predictions: Predictions, kept: np.ndarray) -> dict[str, dict[str, float]]:
    """MPVPE in mm by method: absolute, with the wrist aligned and Procrustes-aligned.

    Over the windows `kept` (n,) whose true vertices are known and in which every method's joints fix a hand; empty
    where there is none.
    """
    truth = {
        int(index): vertices
        for index in np.flatnonzero(kept)
        if (vertices := data.vertices_m(int(predictions.number[index]))) is not None
    }
    fitted = {name: _fit(data, predictions, predictions.joints_m[name], [*truth]) for name in METHODS}
    common = [index for index in truth if all(index in one for one in fitted.values())]
    if not common:
        return {}
    goal = np.stack([truth[index] for index in common])
    wrist_m = predictions.truth_m[common][:, :1]
    summaries = {}
    for name, one in fitted.items():
        joints, vertices = (np.stack([one[index][part] for index in common]) for part in (0, 1))
        summaries[name] = {
            "mpvpe_mm": float(joint_errors_mm(vertices, goal).mean()),
            "root_aligned_mpvpe_mm": float(joint_errors_mm(vertices + wrist_m - joints[:, :1], goal).mean()),
            "pa_mpvpe_mm": float(joint_errors_mm(procrustes_aligned(vertices, goal), goal).mean()),
        }
    return summaries


def _fit(
    data: WindowDataset, predictions: Predictions, joints_m: np.ndarray, indices: list[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Joints (21, 3) and vertices (W, 3) of the hands fitted to `joints_m` (n, 21, 3) by index, hand-centred metres."""
    model, fitters, fitted = BuiltinHand("right"), {}, {}
    for index in indices:
        place = data.place(int(predictions.number[index]))
        fitter = fitters.setdefault(place.sequence, HandFitter("right"))
        # Each frame has its own origin; the fitter goes on from the pose of the frame before.
        fit = fitter.fit(joints_m[index] + place.target_m)
        if fit is not None:
            joints, vertices = model.pose(fit.angles_rad, fit.T_world_hand, fitter.shape)
            fitted[index] = joints - place.target_m, vertices - place.target_m
    return fitted
