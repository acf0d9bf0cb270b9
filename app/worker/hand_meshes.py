"""A mesh for every hand that is followed: the built-in hand in the pose that comes nearest to the joints."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.estimators.estimator import Hand
from app.transport.messages import FittedPose
from calibration.hand import Definition, Side
from models.hand.builtin import BuiltinHand
from models.hand.fitter import HandFitter

log = logging.getLogger(__name__)

_KEEP_S = 1.0
_SAME_SHAPE = 0.01


@dataclass
class _Followed:
    """A track's fitter, and the shape (21,) that its mesh has: the fitter's, renewed in steps while that is learnt."""

    fitter: HandFitter
    shape: np.ndarray
    seen_time_ns: int = 0
    fitted: FittedPose | None = None


class HandMeshes:
    """Fits the built-in hand to hands, set after set. What was learnt of a hand goes with its track."""

    def __init__(self) -> None:
        sides: tuple[Side, ...] = ("left", "right")
        self._models = {side: BuiltinHand(side) for side in sides}
        self._followed: dict[int, _Followed] = {}

    def fit(self, hands: Sequence[Hand], definition: Definition) -> dict[int, bytes]:
        """Vertices (N, 3) in world metres as little-endian float32, by track; a hand that no mesh fits is left out.

        The hands' joints are where the `definition` puts them; the mesh is fitted to where the bones turn.
        """
        if hands:
            oldest_ns = hands[0].capture_time_ns - round(_KEEP_S * 1e9)
            self._followed = {i: track for i, track in self._followed.items() if track.seen_time_ns >= oldest_ns}
        vertices = {}
        for hand in hands:
            try:
                posed = self._pose(hand, definition)
            except (ArithmeticError, ValueError) as error:
                # LinAlgError is a ValueError. The joints are published all the same, and the track starts anew.
                log.warning("no mesh for hand %d: %s", hand.track_id, error)
                self._followed.pop(hand.track_id, None)
                continue
            if posed is not None and np.isfinite(posed).all():
                vertices[hand.track_id] = posed.astype("<f4").tobytes()
        return vertices

    def fitted(self, track_id: int) -> FittedPose | None:
        """What the mesh of a hand of the last set was posed by."""
        return self._followed[track_id].fitted if track_id in self._followed else None

    def _pose(self, hand: Hand, definition: Definition) -> np.ndarray | None:
        model = self._models[hand.side]
        track = self._followed.get(hand.track_id)
        if track is None or track.fitter.side != hand.side:
            fitter = HandFitter(hand.side, hand.bones, definition)
            track = self._followed[hand.track_id] = _Followed(fitter, model.default_shape())
        track.seen_time_ns = hand.capture_time_ns
        track.fitted = None
        fitted = track.fitter.fit(hand.joints_world_m, hand.covariance_m2)
        if fitted is None:
            return None
        shape = track.fitter.shape
        # A new shape costs the model ten times a new pose. What is held in the end is taken as it is.
        if np.abs(shape / track.shape - 1).max() > (0.0 if track.fitter.bones.held else _SAME_SHAPE):
            track.shape = shape
        track.fitted = FittedPose(
            hinges_rad=fitted.angles_rad.tolist(),
            T_world_hand=fitted.T_world_hand.tolist(),
            shape=track.shape.tolist(),
        )
        return model.pose(fitted.angles_rad, fitted.T_world_hand, track.shape)[1]
