"""Which of the networks that a round made is best, by sets that it did not learn from.

The measure is that of the withheld view (app/evaluation/withheld.py) on the points of the landmark network alone: those
of all views but one, triangulated, against what the network before sees in that view.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.adaptation.crops import CropPlaces, to_image
from app.adaptation.teacher import observations, without_each_view
from app.labelling.stretch import Stretch
from app.worker.statistics import rounded
from calibration.hand import hand_size_px
from calibration.rig import Rig

_NS = 1e-9
FARTHEST = 0.4
"""Of the hand's size: errors beyond it count as so large."""


@dataclass(frozen=True, kw_only=True)
class CheckedRound:
    """`before` and, of each share of the way to the trained network, `after`: mean errors in % of the hand's size."""

    before: float
    after: dict[float, float]

    @property
    def best(self) -> tuple[float, float]:
        """The share that is best, and its error."""
        return min(self.after.items(), key=lambda each: each[1])

    def better(self) -> list[float]:
        """The best share and the smaller ones that do not raise the error, the largest first."""
        most, _ = self.best
        return sorted((share for share, error in self.after.items() if share <= most and error <= self.before))[::-1]

    def figures(self) -> dict[str, Any]:
        share, error = self.best
        return {"before_percent": rounded(self.before), "after_percent": rounded(error), "share": share}


def withheld_percent(
    rig: Rig,
    hands: Stretch,
    check: np.ndarray,
    velocity_m_s: np.ndarray,
    places: CropPlaces,
    points_px: np.ndarray,
    presence: np.ndarray,
) -> np.ndarray:
    """Errors (S, n) in % of S networks whose `points_px` (S, L, 21, 2) and `presence` (S, L) are given, the first of
    which is the one before, on the joints of the hands to `check` (H,)."""
    judge = to_image(rig, hands, places, points_px[0], presence[0])
    sizes_px = np.array([[max(hand_size_px(view), 1.0) for view in hand] for hand in judge.px])
    found = []
    for points, here in zip(points_px, presence, strict=True):
        said = to_image(rig, hands, places, points, here)
        blind_m = without_each_view(observations(rig, hands, [said], velocity_m_s), len(rig.cameras))
        errors = np.full(judge.px.shape[:3], np.nan)
        for view, camera in enumerate(rig.cameras):
            lag_s = (hands.frame_time_ns[:, view] - hands.time_ns) * _NS
            there_px = camera.project(blind_m[view] + lag_s[:, None, None] * velocity_m_s)
            errors[:, view] = np.linalg.norm(there_px - judge.px[:, view], axis=-1) / sizes_px[:, view, None]
        errors[~judge.seen] = np.nan
        found.append(errors[check].ravel())
    errors = np.stack(found)
    known = np.isfinite(errors).all(0)
    return 100 * np.minimum(errors[:, known], FARTHEST)
