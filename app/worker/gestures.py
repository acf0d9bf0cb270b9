"""Pinch, grab and point: what a hand is doing, with hysteresis, so that a joint's noise does not make it flicker."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from app.estimators.estimator import Hand
from app.transport.messages import Gesture
from calibration.hand import FINGER_JOINTS, Definition, Side
from models.hand import definition as joint_definition


@dataclass(frozen=True, kw_only=True)
class GestureSettings:
    """When a gesture begins and ends. It begins at the nearer of two limits and ends at the farther one."""

    close_m: float = 0.015
    """Of thumb tip and index tip (pinch), of fingertips and the palm's skin (grab, point): nearer, and it begins."""
    release_m: float = 0.030
    """Farther, and it ends. Twice as far, so that several millimetres of noise do not cross both limits."""
    palm_depth_m: float = 0.018
    """From the line of a metacarpal bone to the palm's skin. Of the fist of models/simulation/gestures.py
    the fingertips' ends are 20 to 30 mm from those lines, of its hook grip 38 to 57."""
    straight: float = 0.95
    """A pointing index finger: from its knuckle to its tip as the crow flies, as a share of its bones' lengths."""
    bent: float = 0.85
    """One that points no more."""


@dataclass(frozen=True, kw_only=True)
class GestureMeasures:
    """Of one hand: gaps in metres from the thumb's tip to the index finger's and from fingertips (4,) to the palm, and
    how straight the index finger is, up to 1."""

    pinch_m: float
    palm_m: np.ndarray
    straight: float


class Gestures:
    """What each followed hand does, set after set."""

    def __init__(self, settings: GestureSettings = GestureSettings()) -> None:
        self._settings = settings
        self._held: dict[int, frozenset[Gesture]] = {}

    def of(self, hands: Iterable[Hand], definition: Definition, followed: Iterable[int]) -> dict[int, list[Gesture]]:
        """The gestures of the hands seen in a set, by track. Tracks that are `followed` and not seen keep theirs."""
        kept = {track_id: self._held.get(track_id, frozenset()) for track_id in followed}
        seen = {hand.track_id: self._next(hand, definition) for hand in hands}
        self._held = kept | seen
        return {track_id: sorted(gestures) for track_id, gestures in seen.items()}

    def _next(self, hand: Hand, definition: Definition) -> frozenset[Gesture]:
        held, settings = self._held.get(hand.track_id, frozenset()), self._settings
        measured = measure(hand.joints_world_m, hand.side, definition, settings)

        def limit_m(gesture: Gesture) -> float:
            return settings.release_m if gesture in held else settings.close_m

        gestures: set[Gesture] = set()
        if measured.pinch_m < limit_m("pinch"):
            gestures.add("pinch")
        if measured.palm_m.max() < limit_m("grab"):
            gestures.add("grab")
        straight = measured.straight > (settings.bent if "point" in held else settings.straight)
        if straight and measured.palm_m[1:].max() < limit_m("point"):
            gestures.add("point")
        return frozenset(gestures)


def measure(
    joints_world_m: np.ndarray, side: Side, definition: Definition, settings: GestureSettings = GestureSettings()
) -> GestureMeasures:
    """Of joints (21, 3), wherever on the hand their `definition` puts them."""
    joints = joint_definition.convert(joints_world_m, definition, "anatomical", side == "right")
    tips = joints[[finger[-1] for finger in FINGER_JOINTS]]
    knuckles = joints[[finger[0] for finger in FINGER_JOINTS[1:]]]
    along = knuckles - joints[0]
    # (4 tips, 4 metacarpals): the nearest point of each bone's line, which ends in wrist and knuckle.
    share = np.clip((tips[1:, None] - joints[0]) @ along.T[None] / (along**2).sum(1), 0, 1)[:, 0]
    away = tips[1:, None] - joints[0] - share[..., None] * along
    index = joints[list(FINGER_JOINTS[1])]
    bones_m = np.linalg.norm(np.diff(index, axis=0), axis=1).sum()
    return GestureMeasures(
        pinch_m=float(np.linalg.norm(tips[0] - tips[1])),
        palm_m=np.linalg.norm(away, axis=-1).min(axis=1) - settings.palm_depth_m,
        straight=float(np.linalg.norm(index[-1] - index[0]) / max(bones_m, 1e-9)),
    )
