"""`--fill`: short gaps closed by interpolation, and marked."""

from dataclasses import replace

import numpy as np

from app.convert.hand_recording import NANO, RecordedHand


def fill_gaps(hand: RecordedHand, times_s: np.ndarray, longest_s: float) -> RecordedHand:
    """The hand with each gap of at most `longest_s` filled; times (F,) in seconds.

    A gap lasts from the last frame before it to the first after it. Joints and covariances run linearly between the
    two, to which is added what a straight line can miss: a quarter of the way across the gap is taken as a deviation.
    The confidence stays 0 and `filled` says which frames they are.
    """
    joints, covariance, filled = hand.joints_world_m.copy(), hand.covariance_m2.copy(), hand.filled.copy()
    for begin, end in hand.gaps():
        before, after = begin - 1, end
        if round(times_s[after] - times_s[before], NANO) > longest_s:
            continue
        share = (times_s[begin:end] - times_s[before]) / (times_s[after] - times_s[before])
        way = joints[after] - joints[before]
        joints[begin:end] = joints[before] + share[:, None, None] * way
        bend = 16 * (share * (1 - share)) ** 2
        missed = np.einsum("j,ab->jab", np.sum((way / 4) ** 2, axis=1) / 3, np.eye(3))
        straight = share[:, None, None, None] * (covariance[after] - covariance[before]) + covariance[before]
        covariance[begin:end] = straight + bend[:, None, None, None] * missed
        filled[begin:end] = True
    return replace(hand, joints_world_m=joints, covariance_m2=covariance, filled=filled)


def without_filled(hand: RecordedHand) -> RecordedHand:
    """The hand with gaps where it is interpolated."""
    if not hand.filled.any():
        return hand
    joints, covariance = hand.joints_world_m.copy(), hand.covariance_m2.copy()
    joints[hand.filled], covariance[hand.filled] = np.nan, np.nan
    return replace(hand, joints_world_m=joints, covariance_m2=covariance, filled=np.zeros_like(hand.filled))
