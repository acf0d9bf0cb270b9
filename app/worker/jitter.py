"""How much a hand that rests trembles in the estimates."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from app.estimators.estimator import Hand

_WINDOW_NS = 500_000_000
_LEAST = 8
_RESTS_M = 0.01


class RestJitter:
    """The noise of estimated joints, from each estimate's distance to the line between the ones before and after it.

    Of estimates p0, p1, p2 of a steady motion at times t0, t1, t2, whose errors are independent and have the variance
    s^2, the difference p1 - (1 - a) p0 - a p2, a = (t1 - t0) / (t2 - t0), has the variance (1 + (1 - a)^2 + a^2) s^2.
    Only hands at rest count: those of which, over half a second, no joint's mean of the first half is further than
    10 mm from that of the second. An error that lasts (a bias) is no jitter.
    """

    def __init__(self) -> None:
        self._recent: dict[int, deque[Hand]] = {}
        self._sum_m2 = 0.0
        self._count = 0

    def add(self, hands: Iterable[Hand]) -> None:
        """The hands of the next set; a track that is not in it has ended."""
        recent = {}
        for hand in hands:
            track = self._recent.get(hand.track_id, deque())
            track.append(hand)
            while hand.capture_time_ns - track[0].capture_time_ns > _WINDOW_NS:
                track.popleft()
            recent[hand.track_id] = track
            if len(track) >= _LEAST and _rests(track):
                self._measure(*(track[index] for index in (-3, -2, -1)))
        self._recent = recent

    def _measure(self, before: Hand, middle: Hand, after: Hand) -> None:
        t0, t1, t2 = (each.capture_time_ns for each in (before, middle, after))
        a = (t1 - t0) / (t2 - t0)
        apart = middle.joints_world_m - (1 - a) * before.joints_world_m - a * after.joints_world_m
        self._sum_m2 += float((apart**2).sum() / (1 + (1 - a) ** 2 + a**2))
        self._count += len(apart)

    @property
    def mm(self) -> float | None:
        """Root mean square of the noise in 3D, millimetres; None where no hand rested."""
        return 1e3 * float(np.sqrt(self._sum_m2 / self._count)) if self._count else None


def _rests(track: deque[Hand]) -> bool:
    joints_m = np.stack([hand.joints_world_m for hand in track])
    half = len(joints_m) // 2
    return bool(np.linalg.norm(joints_m[:half].mean(0) - joints_m[-half:].mean(0), axis=1).max() < _RESTS_M)
