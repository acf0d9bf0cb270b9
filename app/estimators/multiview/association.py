"""Which detections of different views are one hand, decided for both hands at once.

Every track and every pair of detections from two views proposes where a hand is in the world. A proposal is supported,
in each view, by the detection that lies nearest to its projection. The two proposals, one as the right and one as the
left hand, that together have the most support are the hands; a detection supports one of them only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.estimators.detection import Detection
from calibration.rig import RigCamera
from calibration.triangulation import dlt_equations, moving_projections, solve3

GATE = 0.8
_SAME_HAND = 0.3
_SIDE_COST = 0.35
_TRACK_COST = 0.06
_HAND_COST = 0.7
_SAME_HAND_M = 0.03
_PALM_M = (0.04, 0.16)
_NOBODY = -1


def hand_size_px(keypoints_px: np.ndarray) -> float:
    """Size of a hand in the image: the root mean square spread of its keypoints (21, 2), times two."""
    return 2 * float(np.sqrt(keypoints_px.var(axis=0).sum()))


def merge_duplicates(detections: Sequence[Detection]) -> list[Detection]:
    """One detection per hand: of those whose keypoints nearly coincide the likeliest hand stays."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.presence):
        size = hand_size_px(detection.keypoints_px)
        if not any(_same_hand(detection.keypoints_px, other.keypoints_px, size) for other in kept):
            kept.append(detection)
    return kept


def _same_hand(keypoints_px: np.ndarray, other_px: np.ndarray, size_px: float) -> bool:
    """Whether two detections are of one hand; a hand that is read as the other hand in the same place is, too."""
    apart = np.linalg.norm(keypoints_px - other_px, axis=1).mean()
    middle = np.linalg.norm(keypoints_px.mean(0) - other_px.mean(0))
    return bool(apart < _SAME_HAND * size_px or (middle < 0.15 * size_px and apart < 2 * _SAME_HAND * size_px))


@dataclass(frozen=True, kw_only=True)
class DetectionBatch:
    """The detections of one frame set, in one list of length D.

    `view` (D,) indexes the cameras; `keypoints_px` and `keypoints_norm` (D, 21, 2) distorted pixels and normalised
    image coordinates; `std_norm` (D, 21); `size_norm` (D,) the hand's size in the image; `right` (D,) the probability
    of a right hand.
    """

    view: np.ndarray
    keypoints_px: np.ndarray
    keypoints_norm: np.ndarray
    std_norm: np.ndarray
    size_norm: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.view)


def gather(cameras: list[RigCamera], detections: list[list[Detection]], std_scale: np.ndarray) -> DetectionBatch:
    """The detections of each camera as one list of arrays, each camera's stds multiplied with `std_scale` (V,)."""
    flat = [detection for found in detections for detection in found]
    if not flat:
        none = np.zeros(0)
        return DetectionBatch(
            view=none.astype(int),
            keypoints_px=np.zeros((0, 21, 2)),
            keypoints_norm=np.zeros((0, 21, 2)),
            std_norm=np.zeros((0, 21)),
            size_norm=none,
            right=none,
        )
    counts = [len(found) for found in detections]
    view = np.repeat(np.arange(len(cameras)), counts)
    keypoints_px = np.array([detection.keypoints_px for detection in flat], dtype=np.float64)
    keypoints_norm = np.empty_like(keypoints_px)
    end = 0
    for camera, count in zip(cameras, counts, strict=True):
        start, end = end, end + count
        keypoints_norm[start:end] = camera.camera.undistort(keypoints_px[start:end])
    focal = np.array([camera.camera.focal_px for camera in cameras])[view]
    centred = keypoints_norm - keypoints_norm.sum(1, keepdims=True) / keypoints_norm.shape[1]
    return DetectionBatch(
        view=view,
        keypoints_px=keypoints_px,
        keypoints_norm=keypoints_norm,
        std_norm=np.array([detection.std_px for detection in flat]) * (std_scale[view] / focal)[:, None],
        size_norm=2 * np.sqrt(np.einsum("djc,djc->d", centred, centred) / centred.shape[1]),
        # What is hardly a hand says little about which hand it is.
        right=np.array([0.5 + (detection.right_probability - 0.5) * detection.presence**2 for detection in flat]),
    )


@dataclass(frozen=True)
class Proposals:
    """Where hands may be: K proposals.

    `in_view_m` (K, V, 21, 3) joints in world metres at each view's capture time, `side` (K,) evidence that it is a
    right hand (log-odds) from what was before.
    """

    in_view_m: np.ndarray
    side: np.ndarray


def pair_proposals(T_cam_world: np.ndarray, seen: DetectionBatch, gain: np.ndarray, shift_m: np.ndarray) -> np.ndarray:
    """Hands at each view's time (K, V, 21, 3), triangulated from every pair of detections in two views.

    `gain` (M, 21, V) and `shift_m` (M, 21, V, 3) are the ways in which a hand may be moving (that of each track, and at
    rest); each pair takes the one that fits it best. Pairs that do not fit, or are of no hand's size, are left out.
    """
    views = len(T_cam_world)
    first, second = np.nonzero(seen.view[:, None] < seen.view[None, :])
    count = len(first)
    if not count:
        return np.zeros((0, views, 21, 3))
    # Components first, then detections, ways and joints, as in calibration.triangulation.
    P = moving_projections(T_cam_world, gain, shift_m).transpose(4, 3, 2, 0, 1)[:, :, seen.view]
    points = seen.keypoints_norm.transpose(2, 0, 1)[:, :, None]
    A = dlt_equations(P, points, 1 / seen.std_norm[:, None])
    hands = solve3(A[:, :, first] + A[:, :, second])
    own = np.maximum(_fit_of(P, points, seen, hands, first), _fit_of(P, points, seen, hands, second))
    way = own.argmin(1)
    hands = hands[:, np.arange(count), way].transpose(1, 2, 0)
    palm = np.linalg.norm(hands[:, 9] - hands[:, 0], axis=-1)
    good = (own.min(1) < GATE) & np.isfinite(hands).all((1, 2)) & (palm > _PALM_M[0]) & (palm < _PALM_M[1])
    hands, way = hands[good], way[good]
    return (hands[:, :, None] * gain[way][..., None] + shift_m[way]).swapaxes(1, 2)


def _fit_of(
    P: np.ndarray, points: np.ndarray, seen: DetectionBatch, hands: np.ndarray, member: np.ndarray
) -> np.ndarray:
    """How far hands (3, K, M, 21) are from each pair's `member` (K,) of the detections: (K, M), as `distances`."""
    P = P[:, :, member]
    in_camera = P[0] * hands[0] + P[1] * hands[1] + P[2] * hands[2] + P[3]
    depth = in_camera[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = in_camera[:2] / depth - points[:, member]
        squared = offset[0] ** 2 + offset[1] ** 2
    squared[~((depth > 1e-3) & np.isfinite(squared))] = np.inf
    return np.sqrt(np.partition(squared, 10, axis=-1)[..., 10]) / np.maximum(seen.size_norm[member, None], 1e-6)


def in_cameras(T_cam_world: np.ndarray, in_view_m: np.ndarray) -> np.ndarray:
    """World points (..., V, 21, 3) in the axes of the view that each is for."""
    return in_view_m @ T_cam_world[:, :3, :3].swapaxes(-1, -2) + T_cam_world[:, None, :3, 3]


def distances(T_cam_world: np.ndarray, seen: DetectionBatch, in_view_m: np.ndarray) -> np.ndarray:
    """How far each detection is from each proposal (K, D): median over the joints, as a share of the hand's size."""
    in_camera = in_cameras(T_cam_world, in_view_m)
    # Not in front of the camera is infinitely far.
    depth = np.where(in_camera[..., 2] > 1e-3, in_camera[..., 2], np.nan)
    x = (in_camera[..., 0] / depth)[:, seen.view] - seen.keypoints_norm[..., 0]
    y = (in_camera[..., 1] / depth)[:, seen.view] - seen.keypoints_norm[..., 1]
    squared = x * x + y * y
    squared[np.isnan(squared)] = np.inf
    return np.sqrt(np.partition(squared, 10, axis=-1)[..., 10]) / np.maximum(seen.size_norm, 1e-6)


def choose_hands(
    T_cam_world: np.ndarray, seen: DetectionBatch, proposals: Proposals
) -> list[tuple[int, bool, np.ndarray]]:
    """The at most two hands: (proposal, whether it is taken as the right hand, detection of each view or -1 (V,))."""
    count, views = len(proposals.side), len(T_cam_world)
    if not count or len(seen) < 2:
        return []
    distance = distances(T_cam_world, seen, proposals.in_view_m)
    fit = 1 - distance / GATE
    prior = _TRACK_COST * np.clip(proposals.side, -6, 6)
    best = {}
    for right in (True, False):
        disagree = 1 - seen.right if right else seen.right
        support = np.where(fit > 0, np.maximum(fit - _SIDE_COST * disagree, 0.01), 0.0)
        best[right] = (*_two_best(support, seen.view, views), prior if right else -prior)

    one, one_at, two, _, bonus_right = best[True]
    other, other_at, other_two, _, bonus_left = best[False]
    alone_right = _worth(one, bonus_right)
    alone_left = _worth(other, bonus_left)
    same = (one_at[:, None] == other_at[None]) & (one_at[:, None] >= 0)
    keep_right = one[:, None] + other_two[None]
    keep_left = two[:, None] + other[None]
    gives_way = same & (keep_left > keep_right)
    right_share = np.where(gives_way, two[:, None], one[:, None])
    left_share = np.where(same & ~gives_way, other_two[None], other[None])
    both = _worth(right_share, bonus_right[:, None]) + _worth(left_share, bonus_left[None])
    middle = (proposals.in_view_m.sum(1) / views).transpose(2, 0, 1)
    between = middle[:, :, None] - middle[:, None]
    apart = np.sqrt(between[0] ** 2 + between[1] ** 2 + between[2] ** 2).sum(-1) / between.shape[-1]
    both[apart < _SAME_HAND_M] = -np.inf

    right_index, left_index = np.unravel_index(both.argmax(), both.shape)
    top = max(both.max(), alone_right.max(), alone_left.max())
    if top <= 0:
        return []
    if both.max() == top:
        chosen = [(int(right_index), True), (int(left_index), False)]
    elif alone_right.max() == top:
        chosen = [(int(alone_right.argmax()), True)]
    else:
        chosen = [(int(alone_left.argmax()), False)]
    taken = assign(distance[[index for index, _ in chosen]], seen, [right for _, right in chosen], views)
    return [(index, right, rows) for (index, right), rows in zip(chosen, taken, strict=True) if (rows >= 0).sum() >= 2]


def _worth(support: np.ndarray, bonus: np.ndarray) -> np.ndarray:
    """Support over views (..., V) summed; nothing where fewer than two views support."""
    enough = (support > 0).sum(-1) >= 2
    return np.where(enough, support.sum(-1) + bonus - _HAND_COST, -np.inf)


def _two_best(support: np.ndarray, view: np.ndarray, views: int) -> tuple[np.ndarray, ...]:
    """Per proposal and view the best and second best support and their detections: four arrays (K, V)."""
    shape = (len(support), views)
    one, two = np.zeros(shape), np.zeros(shape)
    one_at, two_at = np.full(shape, _NOBODY), np.full(shape, _NOBODY)
    for index in range(views):
        members = np.flatnonzero(view == index)
        if not len(members):
            continue
        order = np.argsort(-support[:, members], axis=1, kind="stable")[:, :2]
        values = np.take_along_axis(support[:, members], order, axis=1)
        one[:, index], one_at[:, index] = values[:, 0], np.where(values[:, 0] > 0, members[order[:, 0]], _NOBODY)
        if len(members) > 1:
            two[:, index], two_at[:, index] = values[:, 1], np.where(values[:, 1] > 0, members[order[:, 1]], _NOBODY)
    return one, one_at, two, two_at


def assign(distance: np.ndarray, seen: DetectionBatch, right: list[bool], views: int, gate: float = GATE) -> np.ndarray:
    """The detection of each hand in each view (H, V), -1 for none, given `distance` (H, D) for one or two hands."""
    rows = np.full((len(distance), views), _NOBODY)
    fit = np.where(distance < gate, 1 - distance / gate, -np.inf)
    for hand, is_right in enumerate(right):
        fit[hand] -= _SIDE_COST * (1 - seen.right if is_right else seen.right)
    for view in range(views):
        members = np.flatnonzero(seen.view == view)
        if not len(members):
            continue
        options = np.column_stack([fit[:, members], np.full(len(distance), -1.0)])
        nobody = len(members)
        picks = [options[0].argmax()] if len(distance) == 1 else _best_two(options, nobody)
        for hand, pick in enumerate(picks):
            if pick != nobody:
                rows[hand, view] = members[pick]
    return rows


def _best_two(options: np.ndarray, nobody: int) -> tuple[int, int]:
    total = options[0][:, None] + options[1][None]
    total[np.arange(nobody), np.arange(nobody)] = -np.inf
    first, second = np.unravel_index(total.argmax(), total.shape)
    return int(first), int(second)
