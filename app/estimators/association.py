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
from calibration.triangulation import Observations, triangulate_all

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
    """One detection per hand: of those whose keypoints nearly coincide the one with the best score stays."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        size = hand_size_px(detection.keypoints_px)
        if not any(_same_hand(detection.keypoints_px, other.keypoints_px, size) for other in kept):
            kept.append(detection)
    return kept


def _same_hand(keypoints_px: np.ndarray, other_px: np.ndarray, size_px: float) -> bool:
    """Whether two detections are of one hand; a hand that is read as the other hand in the same place is, too."""
    apart = np.linalg.norm(keypoints_px - other_px, axis=1).mean()
    middle = np.linalg.norm(keypoints_px.mean(0) - other_px.mean(0))
    return bool(apart < _SAME_HAND * size_px or (middle < 0.15 * size_px and apart < 2 * _SAME_HAND * size_px))


@dataclass(frozen=True)
class Seen:
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


def gather(cameras: list[RigCamera], detections: list[list[Detection]], std_scale: np.ndarray) -> Seen:
    """The detections of each camera as one list of arrays, each camera's stds multiplied with `std_scale` (V,)."""
    flat = [detection for found in detections for detection in found]
    if not flat:
        none = np.zeros(0)
        return Seen(none.astype(int), np.zeros((0, 21, 2)), np.zeros((0, 21, 2)), np.zeros((0, 21)), none, none)
    view = np.repeat(np.arange(len(cameras)), [len(found) for found in detections])
    keypoints_px = np.stack([detection.keypoints_px for detection in flat]).astype(np.float64)
    keypoints_norm = np.empty_like(keypoints_px)
    for index in np.unique(view):
        keypoints_norm[view == index] = cameras[index].camera.undistort(keypoints_px[view == index])
    focal = np.array([camera.camera.focal_px for camera in cameras])[view]
    return Seen(
        view,
        keypoints_px,
        keypoints_norm,
        np.stack([detection.std_px for detection in flat]) * (std_scale[view] / focal)[:, None],
        2 * np.sqrt(keypoints_norm.var(axis=1).sum(-1)),
        # What is hardly a hand says little about which hand it is.
        np.array([0.5 + (detection.right - 0.5) * detection.score**2 for detection in flat]),
    )


@dataclass(frozen=True)
class Proposals:
    """Where hands may be: K proposals.

    `in_view_m` (K, V, 21, 3) joints in world metres at each view's capture time, `side` (K,) evidence that it is a
    right hand (log-odds) from what was before.
    """

    in_view_m: np.ndarray
    side: np.ndarray


def pair_proposals(T_cam_world: np.ndarray, seen: Seen, gain: np.ndarray, shift_m: np.ndarray) -> np.ndarray:
    """Hands at each view's time (K, V, 21, 3), triangulated from every pair of detections in two views.

    `gain` (M, 21, V) and `shift_m` (M, 21, V, 3) are the ways in which a hand may be moving (that of each track, and at
    rest); each pair takes the one that fits it best. Pairs that do not fit, or are of no hand's size, are left out.
    """
    views = len(T_cam_world)
    first, second = np.nonzero(seen.view[:, None] < seen.view[None, :])
    count, ways = len(first), len(gain)
    if not count:
        return np.zeros((0, views, 21, 3))
    chosen = np.stack([first, second], axis=1)
    pair_views = seen.view[chosen]
    R, t = T_cam_world[:, :3, :3], T_cam_world[:, :3, 3]
    P = np.empty((ways, 21, views, 3, 4))
    P[..., :3] = gain[..., None, None] * R
    P[..., 3] = (R @ shift_m[..., None])[..., 0] + t
    P = P[:, :, pair_views].transpose(0, 2, 1, 3, 4, 5).reshape(ways * count, 21, 2, 3, 4)
    points = np.tile(seen.keypoints_norm[chosen].swapaxes(1, 2), (ways, 1, 1, 1))
    std = np.tile(seen.std_norm[chosen].swapaxes(1, 2), (ways, 1, 1))
    hands = triangulate_all(Observations(P, points, std, np.ones(std.shape, dtype=bool)))
    in_pair = (P[..., :3] @ hands[:, :, None, :, None])[..., 0] + P[..., 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.linalg.norm(in_pair[..., :2] / in_pair[..., 2:] - points, axis=-1)
    offset = np.where((in_pair[..., 2] > 1e-3) & np.isfinite(offset), offset, np.inf)
    middle = np.partition(offset, 10, axis=1)[:, 10].reshape(ways, count, 2)
    own = (middle / np.maximum(seen.size_norm[chosen], 1e-6)).max(-1)
    way = own.argmin(0)
    hands = hands.reshape(ways, count, 21, 3)[way, np.arange(count)]
    palm = np.linalg.norm(hands[:, 9] - hands[:, 0], axis=-1)
    good = (own.min(0) < GATE) & np.isfinite(hands).all((1, 2)) & (palm > _PALM_M[0]) & (palm < _PALM_M[1])
    hands, way = hands[good], way[good]
    return (hands[:, :, None] * gain[way][..., None] + shift_m[way]).swapaxes(1, 2)


def distances(T_cam_world: np.ndarray, seen: Seen, in_view_m: np.ndarray) -> np.ndarray:
    """How far each detection is from each proposal (K, D): median over the joints, as a share of the hand's size."""
    R, t = T_cam_world[seen.view, :3, :3], T_cam_world[seen.view, :3, 3]
    in_camera = in_view_m[:, seen.view] @ R.swapaxes(-1, -2) + t[:, None]
    depth = in_camera[..., 2:]
    offset = in_camera[..., :2] / np.where(depth > 1e-3, depth, 1e-3) - seen.keypoints_norm
    distance = np.sqrt((offset**2).sum(-1))
    distance[depth[..., 0] <= 1e-3] = np.inf
    middle = np.partition(distance, 10, axis=-1)[..., 10]
    return middle / np.maximum(seen.size_norm, 1e-6)


def choose_hands(T_cam_world: np.ndarray, seen: Seen, proposals: Proposals) -> list[tuple[int, bool, np.ndarray]]:
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
    middle = proposals.in_view_m.mean(1)
    apart = np.sqrt(((middle[:, None] - middle[None]) ** 2).sum(-1)).mean(-1)
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


def assign(distance: np.ndarray, seen: Seen, right: list[bool], views: int, gate: float = GATE) -> np.ndarray:
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
