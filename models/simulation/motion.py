"""How a simulated hand moves: gesture after gesture, turning and travelling, as a pure function of seed and time.

Fingers go from one key pose to the next along minimum-jerk paths (T. Flash and N. Hogan, "The coordination of arm
movements", J. Neurosci. 5(7), 1985). The wrist follows a cubic B-spline through random places and a cumulative cubic
B-spline of random orientations (M.-J. Kim, M.-S. Kim and S. Y. Shin, "A general construction scheme for unit quaternion
curves with simple high order derivatives", SIGGRAPH 1995): both have continuous accelerations.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from calibration.hand import Side
from calibration.rotations import make_transform
from models.hand.skeleton import ANGLES, LIMITS_RAD
from models.simulation.gestures import grasp, random_gesture

HAND_CENTRE_M = np.array([0.085, 0.0, -0.01])
"""(3,): the middle of an open right hand in its own frame; it lies where the motion travels."""
# Mean seconds between key poses; each may come this part of it earlier or later.
_KEY_S, _KEY_JITTER = 0.9, 0.35
_KNOT_S = 0.5
# Orientations keep near one for so many knots before another is taken.
_DWELL = 4
_DRIFT_RAD = np.deg2rad(1.2)
_MARGIN_RAD = 2 * _DRIFT_RAD
_DRIFT_HZ = 0.3
_TREMOR_RAD = np.deg2rad(0.5)
# Largest flexion and deviation of the wrist, to either side.
_BEND_RAD = np.deg2rad([40.0, 16.0])
_WIGGLE_RATE, _WAVE_RATE, _FLICK_RATE = 0.2, 0.12, 0.12
# Of the right hand in front of the rig: degrees about the world's z, then the hand's own -y and x. At their middle its
# fingers point along +y and up, and its back looks up.
_FRONT_MIDDLE_DEG, _FRONT_REACH_DEG = np.array([98.0, 34.0, -8.0]), np.array([24.0, 26.0, 48.0])
_FINGER_OF_ANGLE = np.repeat([0, 1, 2, 3, 4], [5, 4, 4, 4, 4])
_BENDS = np.array([1, 0, 1, 0, 1, *[1, 0, 1, 1] * 4], bool)


class _Key(NamedTuple):
    """One key pose, held until the hand moves on to the next: what begins at it."""

    time_s: float
    angles_rad: np.ndarray
    move_s: float
    delays: np.ndarray
    wiggle_rad: np.ndarray
    wiggle_hz: float
    wiggle_phase: np.ndarray
    wave_rad: float
    wave_hz: float


class HandMotion:
    """One hand's endless motion; all of it follows from `seed` and the time.

    The hand's middle travels within `reach_m` of `home_world_m`, to each side. `anywhere` gives any orientation; else
    the hand is as before a rig on a desk: fingers along world +y and upwards, turning to both sides. With `period_s`
    the motion repeats without a seam. `held_radius_m` keeps the hand around a round thing of that radius,
    `held_angles_rad` (21,) in that pose but for a tremor. A left hand's
    motion is the mirror image, in world x about its home, of a right one's.
    """

    def __init__(
        self,
        seed: int | Sequence[int],
        side: Side = "right",
        *,
        home_world_m: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
        reach_m: float = 0.03,
        anywhere: bool = False,
        period_s: float | None = None,
        held_radius_m: float | None = None,
        held_angles_rad: np.ndarray | None = None,
    ) -> None:
        self._seed = (seed,) if isinstance(seed, int) else tuple(seed)
        self.side: Side = side
        self._home_world_m = np.asarray(home_world_m, float)
        self._reach_m, self._anywhere = reach_m, anywhere
        self._held_radius_m, self._held_angles_rad = held_radius_m, held_angles_rad
        tempo = self._random(0).uniform(0.8, 1.5)
        self._keys, self._key_s = _grid(_KEY_S * tempo, period_s, 1)
        self._knots, self._knot_s = _grid(_KNOT_S * tempo, period_s, _DWELL)
        drift = self._random(1)
        self._drift_phase = drift.uniform(0, 2 * np.pi, ANGLES)
        turns = drift.uniform(0.5, 1.5, ANGLES) * _DRIFT_HZ
        self._drift_hz = turns if period_s is None else np.maximum(np.round(turns * period_s), 1) / period_s
        self._bend_phase = drift.uniform(0, 2 * np.pi, (2, 2))
        bends = drift.uniform(0.12, 0.5, (2, 2))
        self._bend_hz = bends if period_s is None else np.maximum(np.round(bends * period_s), 1) / period_s
        self._key = lru_cache(16)(self._make_key)
        self._orientation = lru_cache(16)(self._make_orientation)
        self._turn = lru_cache(16)(self._make_turn)
        self._place = lru_cache(16)(self._make_place)
        self._base = lru_cache(4)(self._make_base)

    def angles_rad(self, time_s: float) -> np.ndarray:
        """Joint angles (21,), within the limits of models/hand/skeleton.py."""
        index, key = self._key_at(time_s)
        following = self._key(index + 1)
        since_s, until_s = time_s - key.time_s, following.time_s - key.time_s
        begin_s = until_s - key.move_s
        progress = np.clip(
            (since_s - begin_s) / key.move_s * (1 + np.abs(key.delays)) - np.maximum(key.delays, 0), 0, 1
        )
        share = _minimum_jerk(progress)[_FINGER_OF_ANGLE]
        angles = key.angles_rad + share * (following.angles_rad - key.angles_rad)
        angles += _DRIFT_RAD * np.sin(2 * np.pi * self._drift_hz * time_s + self._drift_phase)
        swell = math.sin(math.pi * since_s / until_s) ** 2
        return angles + swell * key.wiggle_rad * np.sin(2 * np.pi * key.wiggle_hz * since_s + key.wiggle_phase)

    def T_world_hand(self, time_s: float) -> np.ndarray:
        """Pose (4, 4) of the hand frame, world metres."""
        place = time_s / self._knot_s
        knot = math.floor(place)
        u = place - knot
        weights = np.array([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]) / 6
        middle_m = weights @ np.stack([self._place(knot + offset) for offset in (-1, 0, 1, 2)])
        rotation = self._orientation(knot - 1)
        for offset, share in zip((-1, 0, 1), np.cumsum(weights[::-1])[::-1][1:], strict=True):
            rotation = rotation @ cv2.Rodrigues(share * self._turn(knot + offset))[0]
        rotation = rotation @ cv2.Rodrigues(self._wave(time_s))[0]
        T = make_transform(rotation, middle_m - rotation @ HAND_CENTRE_M)
        if self.side == "left":
            T = np.diag([-1.0, 1, 1, 1]) @ T @ np.diag([1.0, -1, 1, 1])
        T[:3, 3] += self._home_world_m
        return T

    def wrist_bend_rad(self, time_s: float) -> np.ndarray:
        """Flexion and deviation (2,) of the wrist, for who shows the forearm: it is no part of the hand's pose."""
        return _BEND_RAD * np.sin(2 * np.pi * self._bend_hz * time_s + self._bend_phase).mean(axis=1)

    def _wave(self, time_s: float) -> np.ndarray:
        """A rotation vector (3,) about the back of the hand's normal."""
        index, key = self._key_at(time_s)
        since_s, until_s = time_s - key.time_s, self._key(index + 1).time_s - key.time_s
        swell = math.sin(math.pi * since_s / until_s) ** 2
        return np.array([0, 0, key.wave_rad * swell * math.sin(2 * math.pi * key.wave_hz * since_s)])

    def _key_at(self, time_s: float) -> tuple[int, _Key]:
        """The last key pose before a time, and its number."""
        index = math.floor(time_s / self._key_s) + 1
        while self._key(index).time_s > time_s:
            index -= 1
        return index, self._key(index)

    def _make_key(self, index: int) -> _Key:
        random = self._random(2, index, self._keys)
        angles, following = self._gesture(index), self._gesture(index + 1)
        time_s, until_s = self._key_time_s(index), self._key_time_s(index + 1)
        flick = random.random() < _FLICK_RATE
        move_s = random.uniform(0.13, 0.2) if flick else random.uniform(0.3, 0.95) * (until_s - time_s)
        # The thumb lets the fingers pass: it comes last into a fist and leaves it first.
        closing = (following - angles)[5:].reshape(4, 4)[:, 0].sum()
        delays = np.array([np.clip(closing, -0.4, 0.4), *random.uniform(-0.12, 0.12, 4)])
        room_rad = np.maximum(
            np.minimum(
                LIMITS_RAD[:, 1] - np.maximum(angles, following), np.minimum(angles, following) - LIMITS_RAD[:, 0]
            )
            - _DRIFT_RAD,
            0.0,
        )
        wiggle_rad = np.minimum(np.deg2rad(random.uniform(5, 20)) * np.where(_BENDS, 1.0, 0.3), room_rad)
        holds = self._held_radius_m is not None or self._held_angles_rad is not None
        wiggles = not holds and random.random() < _WIGGLE_RATE
        lag = random.uniform(-1.2, 1.2)
        wave_rad = random.uniform(0.15, 0.4) * (random.random() < _WAVE_RATE)
        return _Key(
            time_s=time_s,
            angles_rad=angles,
            move_s=move_s,
            delays=delays,
            wiggle_rad=wiggle_rad * wiggles,
            wiggle_hz=random.uniform(1.0, 3.0),
            wiggle_phase=lag * _FINGER_OF_ANGLE,
            wave_rad=wave_rad,
            wave_hz=random.uniform(1.5, 2.5),
        )

    def _key_time_s(self, index: int) -> float:
        return (index + self._random(3, index, self._keys).uniform(-_KEY_JITTER, _KEY_JITTER)) * self._key_s

    def _gesture(self, index: int) -> np.ndarray:
        random = self._random(4, index, self._keys)
        if self._held_angles_rad is not None:
            angles = self._held_angles_rad + random.normal(0, _TREMOR_RAD, ANGLES)
            return np.clip(angles, LIMITS_RAD[:, 0] + _MARGIN_RAD, LIMITS_RAD[:, 1] - _MARGIN_RAD)
        if self._held_radius_m is not None:
            return grasp(random, self._held_radius_m, _MARGIN_RAD)
        return random_gesture(random, _MARGIN_RAD)

    def _make_place(self, knot: int) -> np.ndarray:
        return self._random(5, knot, self._knots).uniform(-self._reach_m, self._reach_m, 3)

    def _make_orientation(self, knot: int) -> np.ndarray:
        random = self._random(6, knot, self._knots)
        near = cv2.Rodrigues(random.normal(0, 0.25 if self._anywhere else 0.1, 3))[0]
        return self._base(knot // _DWELL) @ near

    def _make_base(self, index: int) -> np.ndarray:
        random = self._random(7, index, self._knots and self._knots // _DWELL)
        if self._anywhere:
            # A uniformly random rotation is a uniformly random point of the unit quaternions' sphere.
            quaternion = random.normal(size=4)
            return _rotation_of(quaternion / np.linalg.norm(quaternion))
        yaw, pitch, roll = np.deg2rad(_FRONT_MIDDLE_DEG + _FRONT_REACH_DEG * random.uniform(-1, 1, 3))
        about = (np.array([0, 0, yaw]), np.array([0, -pitch, 0]), np.array([roll, 0, 0]))
        about_z, about_y, about_x = (cv2.Rodrigues(vector)[0] for vector in about)
        return about_z @ about_y @ about_x

    def _make_turn(self, knot: int) -> np.ndarray:
        """The rotation vector (3,) from one knot's orientation to the next."""
        return cv2.Rodrigues(self._orientation(knot).T @ self._orientation(knot + 1))[0].ravel()

    def _random(self, stream: int, index: int = 0, period: int | None = None) -> np.random.Generator:
        """Of the seed and a place in time alone; with a period, places that many apart are the same."""
        place = index % period if period else index & 0xFFFFFFFF
        return np.random.default_rng([*self._seed, stream, place])


def _grid(step_s: float, period_s: float | None, multiple: int) -> tuple[int | None, float]:
    """How many steps a period has, a multiple of `multiple`, and how long they are."""
    if period_s is None:
        return None, step_s
    steps = max(round(period_s / step_s / multiple), 1) * multiple
    return steps, period_s / steps


def _minimum_jerk(progress: np.ndarray) -> np.ndarray:
    return progress**3 * (10 - 15 * progress + 6 * progress**2)


def _rotation_of(quaternion: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
