"""What a 2D hand detector would say, from where the joints really are: in three grades.

The errors are those that detectors make: jitter that grows with the hand's size in the image and where a joint is
hidden; a bias that stays for some frames; hidden joints drawn to a neighbouring finger or put anywhere; two fingers
taken for one another; joints far off; hands that are missed for a while. Lengths are shares of the hand's size in the
image (`hand_size_px`). The confidence follows the expected and the true error, each loosely, as a detector's does.
`docs/labels.md` compares the grades with a real detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.hand import FINGER_JOINTS, JOINTS, hand_size_px

_HOLD_FRAMES = 7
_FRAME_SPREAD = 0.6
# Wrist and thumb base are hard to place, and fingertips harder than knuckles.
DIFFICULTY = np.array([1.6, 1.8, 1.4, 1.1, 1.2, *[1.0, 0.9, 0.9, 1.05] * 4])


@dataclass(frozen=True, kw_only=True)
class NoiseGrade:
    """`jitter` and `bias`: standard deviations per axis of a visible, easy joint, new in each frame and slowly varying,
    as shares of the hand's size; `hidden` multiplies both where a joint is hidden. The rest are probabilities:
    `dragged` that a hidden joint is drawn to a neighbouring finger, `swapped` that two fingers change places, `outlier`
    of a joint anywhere, `missed` of a hand that is seen well, `missed_hidden` more of one that is hidden entirely.
    """

    jitter: float
    bias: float
    hidden: float
    dragged: float
    swapped: float
    outlier: float
    missed: float
    missed_hidden: float


GRADES = {
    "noisy": NoiseGrade(
        jitter=0.029, bias=0.039, hidden=2.6, dragged=0.45, swapped=0.06, outlier=0.030, missed=0.06, missed_hidden=0.6
    ),
    "moderate": NoiseGrade(
        jitter=0.016,
        bias=0.024,
        hidden=2.2,
        dragged=0.25,
        swapped=0.015,
        outlier=0.006,
        missed=0.015,
        missed_hidden=0.35,
    ),
    "perfect": NoiseGrade(
        jitter=0.0, bias=0.0, hidden=1.0, dragged=0.0, swapped=0.0, outlier=0.0, missed=0.0, missed_hidden=0.0
    ),
}


@dataclass(frozen=True)
class NoisyHands:
    """A detector's word on one hand in N frames of one camera.

    `keypoints_px` (N, 21, 2), `confidence` (N, 21) in [0, 1], `std_px` (N, 21) the error to be expected, `found` (N,).
    """

    keypoints_px: np.ndarray
    confidence: np.ndarray
    std_px: np.ndarray
    found: np.ndarray


def detect(
    keypoints_px: np.ndarray, visible: np.ndarray, frames: np.ndarray, seed: int | Sequence[int], grade: NoiseGrade
) -> NoisyHands:
    """The detector's word on true keypoints (N, 21, 2) with `visible` (N, 21), in the frames of those numbers (N,).

    One call is about one hand in one camera. What is said of a frame depends on the frame's number, its truth and the
    seed alone, not on the other frames asked for. A hand with a keypoint that is not finite is not found.
    """
    whole = np.all(np.isfinite(keypoints_px), axis=(1, 2))
    truth = np.where(whole[:, None, None], keypoints_px, 0.0)
    size = np.maximum(hand_size_px(truth), 1e-3)
    random = _Random(frames, seed)
    hidden_share = 1 - visible.mean(1)
    # A hard frame (blur, a strange view) is hard for all joints, and for a while.
    frame_factor = np.exp(_FRAME_SPREAD * random.slow(1)[:, :1])
    spread = DIFFICULTY * frame_factor * np.where(visible, 1.0, grade.hidden) * (1 + 0.6 * hidden_share[:, None])
    error = spread[..., None] * (
        grade.jitter * random.fresh((JOINTS, 2)) + grade.bias * random.slow(2 * JOINTS).reshape(-1, JOINTS, 2)
    )
    expected = spread * np.hypot(grade.jitter, grade.bias)

    shape = (truth - truth.mean(1, keepdims=True)) / size[:, None, None]
    placed = _swap_fingers(shape, random, grade.swapped) + error
    dragged = ~visible & (random.held(JOINTS) < grade.dragged)
    placed = np.where(dragged[..., None], _drag(placed, random), placed)
    outlier = random.uniform(JOINTS) < grade.outlier
    direction = 2 * np.pi * random.uniform(JOINTS)
    distance = random.uniform(JOINTS) * 1.0 + 0.25
    away = distance[..., None] * np.stack([np.cos(direction), np.sin(direction)], axis=-1)
    placed = np.where(outlier[..., None], placed + away, placed)

    true_error = np.linalg.norm(placed - shape, axis=-1)
    confidence = _confidence(expected, true_error, visible, random) if grade.jitter > 0 else visible * 0.4 + 0.6
    missed = random.held(1)[:, 0] < grade.missed + grade.missed_hidden * hidden_share**2
    missed |= random.uniform(1)[:, 0] < 0.5 * grade.missed
    noisy_px = truth + (placed - shape) * size[:, None, None]
    return NoisyHands(noisy_px, confidence, np.maximum(expected, 1e-3) * size[:, None], whole & ~missed)


def _swap_fingers(shape: np.ndarray, random: "_Random", rate: float) -> np.ndarray:
    """Two neighbouring fingers, not the thumb, change places, all four joints, for as long as a bias lasts."""
    chosen = random.held(2)
    first = 1 + np.minimum((3 * chosen[:, 1]).astype(int), 2)
    order = np.tile(np.arange(JOINTS), (len(shape), 1))
    fingers = np.array(FINGER_JOINTS)
    swapped = np.flatnonzero(chosen[:, 0] < rate)
    order[swapped[:, None], fingers[first[swapped]]] = fingers[first[swapped] + 1]
    order[swapped[:, None], fingers[first[swapped] + 1]] = fingers[first[swapped]]
    return np.take_along_axis(shape, order[..., None], axis=1)


def _drag(placed: np.ndarray, random: "_Random") -> np.ndarray:
    """Where each joint goes if it is drawn towards the same joint of a neighbouring finger, in part or wholly."""
    fingers = np.array(FINGER_JOINTS)
    neighbour = np.arange(JOINTS)
    neighbour[fingers] = fingers[[1, 2, 1, 2, 3]]
    neighbour[0] = 9
    share = 0.3 + 0.8 * random.held(JOINTS)
    share[:, 0] *= 0.3
    return placed + share[..., None] * (placed[:, neighbour] - placed)


def _confidence(expected: np.ndarray, true_error: np.ndarray, visible: np.ndarray, random: "_Random") -> np.ndarray:
    """High where little error is expected and little was made, with a detector's own noise: it is often wrong."""
    felt = 0.55 * expected + 0.45 * np.minimum(true_error, 0.5)
    felt = felt * np.exp(0.75 * random.fresh((JOINTS,)) + 0.45 * random.slow(1)[:, :1])
    return np.clip(1 / (1 + (felt / 0.11) ** 1.5) * np.where(visible, 1.0, 0.85), 0.02, 1.0)


class _Random:
    """Random numbers of frames (N,): each a function of the seed, the frame's number and which draw it is."""

    def __init__(self, frames: np.ndarray, seed: int | Sequence[int]) -> None:
        self._seed = [seed] if isinstance(seed, int) else list(seed)
        frames = np.asarray(frames, dtype=np.int64)
        self._own = [np.random.default_rng([*self._seed, 0, int(frame)]) for frame in frames]
        # Slow draws are made at every seventh frame, counted from a random one.
        phase = int(np.random.default_rng([*self._seed, 1]).integers(_HOLD_FRAMES))
        knot, part = np.divmod(frames + phase, _HOLD_FRAMES)
        self._first = int(knot.min()) if len(frames) else 0
        self._at = knot - self._first
        count = int(self._at.max()) + 2 if len(frames) else 2
        self._knots = [np.random.default_rng([*self._seed, 2, self._first + index]) for index in range(count)]
        angle = part / _HOLD_FRAMES * np.pi / 2
        self._blend = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def fresh(self, shape: tuple[int, ...]) -> np.ndarray:
        """(N, *shape), normal, new in each frame."""
        return np.array([each.normal(size=shape) for each in self._own]).reshape(-1, *shape)

    def uniform(self, count: int) -> np.ndarray:
        """(N, count) in [0, 1), new in each frame."""
        return np.array([each.random(count) for each in self._own]).reshape(-1, count)

    def slow(self, count: int) -> np.ndarray:
        """(N, count), normal in every frame and changing slowly."""
        knots = np.array([each.normal(size=count) for each in self._knots])
        return self._blend[0] * knots[self._at] + self._blend[1] * knots[self._at + 1]

    def held(self, count: int) -> np.ndarray:
        """(N, count) in [0, 1), constant for seven frames."""
        return np.array([each.random(count) for each in self._knots])[self._at]
