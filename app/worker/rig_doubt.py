"""Whether a run's rig is that of its cameras: with another one, hands that several views see do not fit together."""

from collections.abc import Sequence

import numpy as np

from app.estimators.estimator import Estimate, Hand
from calibration.rig import Rig

# Of sound rigs up to 8 % of the sets contradict, in two views that miss a lot; where cameras were exchanged 58 to 100 %
# do, unless they are neighbours in a row, whose poses hardly differ.
_SHARE = 0.5
_LEAST_SETS = 20


class RigDoubt:
    """Fed with every set. A set counts where two views saw a hand of one side, or a hand was found.

    It contradicts where no two views agree on a hand, or only two do though three saw one of one side or it lies in
    four pictures.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._judged = self._contradicting = 0

    def add(self, estimate: Estimate, camera_ids: Sequence[str]) -> None:
        """`camera_ids` are the cameras that the set has frames of."""
        if estimate.views_with_hand < 2 and not estimate.hands:
            return
        agreeing = {_agreeing(hand): hand for hand in estimate.hands}
        best = max(agreeing, default=0)
        self._judged += 1
        self._contradicting += best < 2 or (
            best == 2 and (estimate.views_with_hand >= 3 or self._pictures_with(agreeing[best], camera_ids) >= 4)
        )

    def notes(self) -> list[str]:
        """What to tell, where there is something."""
        if self._judged < _LEAST_SETS or self._contradicting <= _SHARE * self._judged:
            return []
        share = f"in {self._contradicting} of {self._judged} sets hands that several views see do not fit together"
        asked = "Is this the session's rig? `usthand calibrate --check` compares."
        return [f"the views contradict each other: {share}. {asked}"]

    def _pictures_with(self, hand: Hand, camera_ids: Sequence[str]) -> int:
        """Of how many of these cameras' images all of the hand lies in."""
        inside = 0
        for camera_id in camera_ids:
            camera = self._rig[camera_id]
            pixels = camera.project(hand.joints_world_m)
            # NaN, behind the camera, compares as outside.
            inside += bool(((pixels >= 0) & (pixels < (camera.camera.width, camera.camera.height))).all())
        return inside


def _agreeing(hand: Hand) -> int:
    """How many views have half of the hand's joints where the others do."""
    return sum(bool(np.mean(mask) >= 0.5) for mask in hand.inliers.values())
