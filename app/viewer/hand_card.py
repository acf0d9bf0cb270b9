"""The hands that are followed, each with its state: seen, held, predicted."""

from collections.abc import Sequence

import numpy as np

from app.run.settings import MOST_HANDS
from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.measure import Distance
from app.viewer.sheet import Sheet

_WIDTH, _ROW = 252, 26


def hand_card(hands: Sequence[HandPose], now_ns: int, views: int, old: bool, scale: float) -> Sheet:
    """One row for each hand: side, track, state, and in how many of the `views` it was seen or how long ago.

    `now_ns` is the set's time on the clock of the hands' capture times; `old` that the set is no longer true.
    """
    sheet = Sheet(_WIDTH, _ROW * min(len(hands), MOST_HANDS) + 8, scale)
    for row, hand in enumerate(hands[:MOST_HANDS]):
        y = 4 + _ROW * (row + 0.5)
        sheet.text(hand.hand, 12, y, 15, palette.STALE if old else palette.HANDS[hand.hand])
        sheet.text(str(hand.track_id), 76, y, 13, palette.QUIET, align=1)
        sheet.badge("old" if old else hand.state, 88, y, palette.STALE if old else colour_of(hand), 13)
        told = f"{len(hand.views)} of {views} views"
        if hand.state != "seen":
            told = f"{max(0, now_ns - hand.capture_time_ns) / 1e9:.1f} s ago"
        sheet.text(told, _WIDTH - 12, y, 13, palette.QUIET, align=1)
    return sheet


def distance_card(distance: Distance, scale: float) -> Sheet:
    """The two joints that are measured, and how far they are apart."""
    sheet = Sheet(_WIDTH, 50, scale)
    sheet.text(" to ".join(distance.names), 12, 15, 13, palette.QUIET)
    sheet.text(distance.text, 12, 35, 15, palette.WARNING)
    return sheet


def colour_of(hand: HandPose) -> np.ndarray:
    """The colour of a hand's state."""
    return {"seen": palette.GOOD, "held": palette.WARNING, "predicted": palette.BAD}[hand.state]
