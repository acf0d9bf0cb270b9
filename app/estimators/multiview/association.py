"""Which detections of different views are one hand, decided for all hands at once.

Every track and every pair of detections from two views proposes where a hand is in the world. A proposal is supported,
in each view, by the detection that lies nearest to its projection. The proposals, each as a right or a left hand, that
together have the most support are the hands; a detection supports one of them only.
"""

from dataclasses import dataclass

import numpy as np

from app.estimators.multiview.assignment import best_assignment
from app.estimators.multiview.detection_batch import DetectionBatch, distances
from app.estimators.multiview.proposals import Proposals
from app.estimators.settings import AssociationSettings, TrackerSettings

_NOBODY = -1


@dataclass(frozen=True)
class ChosenHand:
    """A proposal's index, whether it is taken as a right hand, and its detection of each view (V,), -1 for none."""

    proposal: int
    right: bool
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Some hands: their options, which detections (D,) are free yet, which options (2 K,) are still apart from them,
    the sum of what they are worth, and how many more of them are right than left."""

    options: tuple[int, ...]
    free: np.ndarray
    apart: np.ndarray
    worth: float
    surplus: int


def choose_hands(
    T_cam_world: np.ndarray,
    detections: DetectionBatch,
    proposals: Proposals,
    hands: int,
    settings: AssociationSettings,
    tracker: TrackerSettings,
) -> list[ChosenHand]:
    """The hands, at most so many: found by a beam search over sets of proposals that grow by one hand at a time."""
    count, views = len(proposals.side), len(T_cam_world)
    if not count or len(detections) < 2:
        return []
    distance = distances(T_cam_world, detections, proposals.in_view_m)
    # Options: each proposal as a right hand, then each as a left one.
    disagree = np.stack([1 - detections.right, detections.right])[:, None]
    fit = (1 - distance / settings.gate) * detections.presence
    support = np.where(fit > 0, np.maximum(fit - settings.side_cost * disagree, 0.01), 0.0).reshape(2 * count, -1)
    prior = settings.track_cost * np.clip(proposals.side, -settings.most_track, settings.most_track)
    bonus = np.concatenate([prior, -prior]) - settings.hand_cost
    favour = np.tile(settings.followed_gain * (np.arange(count) < proposals.followed), 2)
    middle = proposals.in_view_m.mean((1, 2))
    apart = np.linalg.norm(middle[:, None] - middle, axis=-1) >= tracker.same_hand_m
    starts = np.flatnonzero(np.diff(detections.view, prepend=-1))

    def grow(choices: list[_Choice]) -> list[_Choice]:
        """The best choices with one hand more, each set of detections once."""
        free = np.stack([choice.free for choice in choices])
        by_view = np.maximum.reduceat(support * free[:, None], starts, axis=-1)
        gain = by_view.sum(-1) + bonus
        there = (gain > 0) & ((by_view > 0).sum(-1) >= 2) & np.stack([choice.apart for choice in choices])
        worth = np.where(there, gain + favour + np.array([choice.worth for choice in choices])[:, None], -np.inf)
        surplus = np.array([choice.surplus for choice in choices])[:, None] + np.repeat([1, -1], count)
        order = np.argsort(settings.same_side_cost * (np.abs(surplus) // 2) - worth, axis=None, kind="stable")
        grown: dict[tuple[bytes, int], _Choice] = {}
        for flat in order[: settings.beam * count]:
            at, option = divmod(int(flat), 2 * count)
            if worth[at, option] == -np.inf or len(grown) == settings.beam:
                break
            supported = support[option] * choices[at].free
            best = np.repeat(by_view[at, option], np.diff(starts, append=len(supported)))
            still = choices[at].free & ~((supported == best) & (best > 0))
            key = still.tobytes(), int(surplus[at, option])
            if key not in grown:
                grown[key] = _Choice(
                    options=(*choices[at].options, option),
                    free=still,
                    apart=choices[at].apart & np.tile(apart[option % count], 2),
                    worth=float(worth[at, option]),
                    surplus=key[1],
                )
        return list(grown.values())

    choices = [
        _Choice(
            options=(),
            free=np.ones(len(detections), bool),
            apart=np.ones(2 * count, bool),
            worth=0.0,
            surplus=0,
        )
    ]
    best, most = choices[0], 0.0
    for _ in range(hands):
        choices = grow(choices)
        if not choices:
            break
        top = max(choices, key=lambda choice: _value(choice, settings))
        if _value(top, settings) > most:
            best, most = top, _value(top, settings)
    rights = [option < count for option in best.options]
    indices = [option % count for option in best.options]
    taken = assign(distance[indices], detections, rights, views, settings)
    chosen = [ChosenHand(*each) for each in zip(indices, rights, taken, strict=True) if (each[2] >= 0).sum() >= 2]
    return sorted(chosen, key=lambda hand: not hand.right)


def _value(choice: _Choice, settings: AssociationSettings) -> float:
    return choice.worth - settings.same_side_cost * (abs(choice.surplus) // 2)


def assign(
    distance: np.ndarray, detections: DetectionBatch, right: list[bool], views: int, settings: AssociationSettings
) -> np.ndarray:
    """The detection of each hand in each view (H, V), -1 for none, given `distance` (H, D)."""
    hands = len(distance)
    rows = np.full((hands, views), _NOBODY)
    fit = np.where(distance < settings.gate, 1 - distance / settings.gate, -np.inf)
    fit -= settings.side_cost * np.where(np.array(right)[:, None], 1 - detections.right, detections.right)
    for view in range(views):
        members = np.flatnonzero(detections.view == view)
        # A hand that has no detection here takes one of the last columns.
        options = np.column_stack([fit[:, members], np.full((hands, hands), -1.0)])
        for hand, pick in enumerate(best_assignment(options)):
            if pick < len(members):
                rows[hand, view] = members[pick]
    return rows
