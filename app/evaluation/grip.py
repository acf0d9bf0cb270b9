"""The grip test: fingertips of a hand that holds the calibration board lie on its two faces.

The board's pose is known far better than any hand's, so this is a truth in millimetres on real footage without any
marker on the hand. Which hand holds the board, and from which side, is taken from a reference (the detector's hands,
triangulated from all views) so that every method is judged on the same fingertips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.estimators.estimator import Hand
from app.worker.statistics import rounded
from calibration.board.board import Board
from calibration.board.pattern import board_size_m, pattern_origin_m
from calibration.hand import Side
from calibration.rotations import inverse_transform
from calibration.solve.board_in_rig import PosedInRig

SIDES: tuple[Side, Side] = ("left", "right")
TIPS = (4, 8, 12, 16, 20)
"""The fingertips among the joints, thumb first."""

_TO_STD = 1.4826  # of the median absolute deviation of a normal distribution


@dataclass(frozen=True, kw_only=True)
class GripSettings:
    """When a fingertip counts as one that holds the board.

    `margin_m`: how far outside of the pattern it may lie, since boards are glued to larger plates and held at their
    edges. `reach_m`: how far from the board's plane; three times the thickness of a finger.
    `farthest_m`: a method's hand whose joints are on average farther from the reference's is not that hand.
    `longest_gap_s`: where the reference loses a hand that held the board before and after for not longer than this, it
    is taken to hold it still, so that the reference, too, can miss fingertips.
    """

    margin_m: float = 0.08
    reach_m: float = 0.05
    farthest_m: float = 0.1
    longest_gap_s: float = 0.5


class _Held(NamedTuple):
    """A hand that holds the board in one set: which of its fingertips (5,) do, and where it is (21, 3)."""

    number: int
    side: Side
    tips: np.ndarray
    joints_m: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Grips:
    """Moments (n) in which a hand held the board, of all sessions.

    `hand` (n,) numbers the hands, one left and one right of each session; `expected` (n, 5) which fingertips hold;
    `front` (n,) is 1 where this hand's thumb belongs before its fingers as the printed face looks, -1 behind them.
    `heights_mm`: by method the fingertips (n, 5) in front of the board's plane, NaN where the method has no such hand
    or puts the tip off the board.
    """

    sets_with_board: int
    hand: np.ndarray
    expected: np.ndarray
    front: np.ndarray
    heights_mm: Mapping[str, np.ndarray]

    def joined(self, other: "Grips") -> "Grips":
        """With another session's."""
        return Grips(
            sets_with_board=self.sets_with_board + other.sets_with_board,
            hand=np.concatenate([self.hand, other.hand + self.hand.max(initial=-1) + 1]),
            expected=np.concatenate([self.expected, other.expected]),
            front=np.concatenate([self.front, other.front]),
            heights_mm={name: np.concatenate([each, other.heights_mm[name]]) for name, each in self.heights_mm.items()},
        )


def grips_of(
    board: Board,
    poses: Sequence[PosedInRig | None],
    times_ns: Sequence[int],
    reference: Sequence[Sequence[Hand]],
    given: Mapping[str, Sequence[Sequence[Hand]]],
    settings: GripSettings | None = None,
) -> Grips:
    """The fingertips of each method's hands beside the board, in those sets in which the `reference` holds it.

    All have an entry for each of S sets: the board's pose, the time, the hands of the reference and of each method.
    """
    settings = settings or GripSettings()
    to_board = [None if pose is None else inverse_transform(pose.T_world_board) for pose in poses]
    held = _held(board, to_board, times_ns, reference, settings)
    front = {side: _thumb_in_front(held, to_board, side) for side in SIDES}
    heights_mm = {name: np.full((len(held), len(TIPS)), np.nan) for name in given}
    for row, each in enumerate(held):
        T_board_world = to_board[each.number]
        for name, hands in given.items():
            joints_m = _nearest(hands[each.number], each.joints_m, settings)
            if joints_m is not None and T_board_world is not None:
                tips_board_m = _to(T_board_world, joints_m[list(TIPS)])
                on = each.tips & _on_board(board, tips_board_m, settings)
                heights_mm[name][row, on] = -1e3 * tips_board_m[on, 2]
    return Grips(
        sets_with_board=sum(pose is not None for pose in poses),
        hand=np.array([SIDES.index(each.side) for each in held], dtype=int),
        expected=np.array([each.tips for each in held], dtype=bool).reshape(len(held), len(TIPS)),
        front=np.array([front[each.side] for each in held], dtype=int),
        heights_mm=heights_mm,
    )


def grip_figures(grips: Grips, method: str, fewest: int = 5) -> dict[str, float | int | None]:
    """A method's figures; None where there is nothing to tell one from.

    `tips` fingertips held the board; `tips_missed` is the share of them where the method has no hand or puts the
    fingertip off the board. `normal_sd_mm`: the robust standard deviation of a tip's distance from the board's plane,
    about its own median, averaged over the tips of all hands that have `fewest` of it. `gap_mm`: the median distance
    from the index and middle fingertips to the thumb's across the board; `wrong_side` the share of `grips`, in which
    all of these are given, where the thumb is not on its side of them.
    """
    heights_mm = grips.heights_mm[method]
    given = np.isfinite(heights_mm)
    spreads_mm = [
        _TO_STD * float(np.median(np.abs(values - np.median(values))))
        for hand in np.unique(grips.hand)
        for tip in range(len(TIPS))
        if len(values := heights_mm[(grips.hand == hand) & given[:, tip], tip]) >= fewest
    ]
    gaps_mm = grips.front * (heights_mm[:, 0] - _row_means(heights_mm[:, 1:3]))
    gaps_mm = gaps_mm[np.isfinite(gaps_mm)]
    tips = int(grips.expected.sum())
    return {
        "tips": tips,
        "tips_missed": rounded(float(1 - given.sum() / tips)) if tips else None,
        "normal_sd_mm": rounded(float(np.mean(spreads_mm))) if spreads_mm else None,
        "gap_mm": rounded(float(np.median(gaps_mm))) if len(gaps_mm) else None,
        "wrong_side": rounded(float((gaps_mm <= 0).mean())) if len(gaps_mm) else None,
        "grips": len(gaps_mm),
    }


def _held(
    board: Board,
    to_board: Sequence[np.ndarray | None],
    times_ns: Sequence[int],
    reference: Sequence[Sequence[Hand]],
    settings: GripSettings,
) -> list[_Held]:
    """Each set's hands that hold the board, by the reference: with the thumb and the index or middle finger."""
    held = []
    for side in SIDES:
        of_side: dict[int, _Held] = {}
        there: set[int] = set()
        for number, (T_board_world, hands) in enumerate(zip(to_board, reference, strict=True)):
            hand = next((each for each in hands if each.side == side), None)
            if T_board_world is None or hand is None:
                continue
            there.add(number)
            tips = _on_board(board, _to(T_board_world, hand.joints_world_m[list(TIPS)]), settings)
            if tips[0] and tips[1:3].any():
                of_side[number] = _Held(number, side, tips, hand.joints_world_m)
        held += of_side.values()
        for before, after in zip(sorted(of_side)[:-1], sorted(of_side)[1:], strict=True):
            if (times_ns[after] - times_ns[before]) * 1e-9 > settings.longest_gap_s:
                continue
            missing = [n for n in range(before + 1, after) if n not in there and to_board[n] is not None]
            held += [of_side[before]._replace(number=number) for number in missing]
    return held


def _thumb_in_front(held: Sequence[_Held], to_board: Sequence[np.ndarray | None], side: Side) -> int:
    """1 where, in most of the reference's grips, the thumb lies before the fingers as the printed face looks; or -1."""
    votes = 0
    for each in held:
        T_board_world = to_board[each.number]
        if each.side == side and T_board_world is not None:
            depth_m = _to(T_board_world, each.joints_m[list(TIPS)])[:, 2]
            votes += 1 if depth_m[0] < depth_m[1:3][each.tips[1:3]].mean() else -1
    return 1 if votes >= 0 else -1


def _nearest(hands: Sequence[Hand], joints_m: np.ndarray, settings: GripSettings) -> np.ndarray | None:
    apart_m = [float(np.linalg.norm(hand.joints_world_m - joints_m, axis=1).mean()) for hand in hands]
    if not apart_m or not min(apart_m) <= settings.farthest_m:
        return None
    return hands[int(np.argmin(apart_m))].joints_world_m


def _on_board(board: Board, points_board_m: np.ndarray, settings: GripSettings) -> np.ndarray:
    """Which points (n, 3) in the board's frame lie on it, as far as hands are known."""
    low = -pattern_origin_m(board) - settings.margin_m
    high = low + np.array(board_size_m(board)) + 2 * settings.margin_m
    flat = points_board_m[:, :2]
    return ((flat >= low) & (flat <= high)).all(1) & (np.abs(points_board_m[:, 2]) <= settings.reach_m)


def _to(T: np.ndarray, points_m: np.ndarray) -> np.ndarray:
    return points_m @ T[:3, :3].T + T[:3, 3]


def _row_means(values: np.ndarray) -> np.ndarray:
    """Means (n,) of what is finite in each row; NaN where nothing is."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(finite, values, 0.0).sum(1) / finite.sum(1)
