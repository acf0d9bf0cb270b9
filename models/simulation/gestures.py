"""Hand postures that people make: the key poses between which the simulated motion moves.

Angles are those of models/hand/skeleton.py. The pinches and the fist were found by bringing the pads of thumb and
finger together, and the thumb in front of the bent middle finger, for a hand of mean bone lengths.
"""

from collections.abc import Callable

import numpy as np

from models.hand.skeleton import ANGLES, LIMITS_RAD

# Degrees: base flexion, base abduction, proximal flexion, proximal abduction, distal flexion.
_THUMB_OPEN = (-8.0, 4.0, 4.0, 0.0, 6.0)
_THUMB_SPREAD = (-18.0, 6.0, -4.0, 0.0, -4.0)
_THUMB_IN = (28.0, 6.0, 41.0, 1.0, 44.0)
_THUMB_GRASP = (18.0, 22.0, 14.0, 0.0, 16.0)
_PINCHES = (
    ((22.0, 7.0, 22.0, -7.0, 23.0), (53.0, 8.0, 47.0)),
    ((28.0, 11.0, 24.0, -6.0, 22.0), (56.0, 12.0, 49.0)),
    ((30.0, 13.0, 35.0, -4.0, 25.0), (57.0, 12.0, 45.0)),
    ((30.0, 14.0, 57.0, -2.0, 24.0), (67.0, 12.0, 33.0)),
)
# Degrees of base and middle flexion of one finger; the last joint bends two thirds of the middle one.
_STRAIGHT, _RELAXED, _BENT = (2.0, 4.0), (18.0, 26.0), (79.0, 99.0)
_FAN = np.array([9.0, 1.0, -7.0, -13.0])
_NOISE_DEG = np.array([3.0, 3.0, 4.0, 1.5, 5.0, *[4.0, 1.5, 5.0, 4.0] * 4])


def _posture(thumb: tuple[float, ...], bends: list[tuple[float, float]], fan: float = 0.3) -> np.ndarray:
    """Angles (21,) in degrees from the thumb's five, each finger's two bends, and how far the fingers are spread."""
    angles = np.empty(ANGLES)
    angles[:5] = thumb
    base, middle = np.array(bends).T
    angles[5:].reshape(4, 4)[:] = np.stack([base, fan * _FAN * (1 - base / 90), middle, middle * 2 / 3], axis=1)
    return angles


def _flat(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_OPEN, [_STRAIGHT] * 4, random.uniform(-0.1, 0.4))


def _spread(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_SPREAD, [(random.uniform(-15, 5), 2.0)] * 4, random.uniform(0.8, 1.1))


def _relaxed(random: np.random.Generator) -> np.ndarray:
    bend = random.uniform(0.6, 1.6) * np.array(_RELAXED)
    return _posture(_THUMB_OPEN, [tuple(bend * (1 + 0.12 * finger)) for finger in range(4)])


def _fist(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_IN, [_BENT] * 4, 0.1)


def _thumb_up(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_SPREAD, [_BENT] * 4, 0.1)


def _point(random: np.random.Generator) -> np.ndarray:
    thumb = _THUMB_IN if random.random() < 0.6 else _THUMB_OPEN
    return _posture(thumb, [_STRAIGHT, _BENT, _BENT, _BENT], 0.3)


def _count(random: np.random.Generator) -> np.ndarray:
    """Some fingers straight, the others bent, as people count and sign."""
    straight = random.integers(1, 16)
    bends = [_STRAIGHT if straight >> finger & 1 else _BENT for finger in range(4)]
    thumb = _THUMB_OPEN if random.random() < 0.35 else _THUMB_IN
    return _posture(thumb, bends, random.uniform(0.3, 1.0))


def pinch(random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Angles (21,) in degrees of a hand whose thumb meets a finger, and which: 1 is the index finger."""
    finger = int(random.choice(4, p=(0.5, 0.25, 0.15, 0.1)))
    others = np.array(random.choice([_STRAIGHT, _RELAXED, (45.0, 45.0)], axis=0))
    angles = _posture(_PINCHES[finger][0], [tuple(others)] * 4)
    base, abduction, middle = _PINCHES[finger][1]
    angles[5 + 4 * finger : 9 + 4 * finger] = base, abduction, middle, middle * 2 / 3
    return angles, finger + 1


def _pinch(random: np.random.Generator) -> np.ndarray:
    return pinch(random)[0]


def _hook(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_OPEN, [(random.uniform(-5, 15), random.uniform(75, 100))] * 4, 0.3)


def _tabletop(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_OPEN, [(random.uniform(55, 85), random.uniform(0, 15))] * 4, 0.2)


def _claw(random: np.random.Generator) -> np.ndarray:
    return _posture(_THUMB_GRASP, [(random.uniform(10, 35), random.uniform(40, 65))] * 4, random.uniform(0.6, 1.0))


def _free(random: np.random.Generator) -> np.ndarray:
    """Any bend of every finger, neighbours alike, and any thumb."""
    base, middle = (
        np.cumsum(random.normal(0, (14.0, 22.0), (4, 2)), axis=0).T + random.uniform((0, 0), (60, 80))[:, None]
    )
    low, high = np.rad2deg(LIMITS_RAD[:5]).T
    bends = list(zip(np.clip(base, -15, 88), np.clip(middle, 0, 105), strict=True))
    return _posture(tuple(random.uniform(low, high)), bends, random.uniform(-0.2, 1.0))


GESTURES: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], float]] = {
    "flat": (_flat, 1.2),
    "spread": (_spread, 1.2),
    "relaxed": (_relaxed, 1.5),
    "fist": (_fist, 1.0),
    "thumb up": (_thumb_up, 0.4),
    "point": (_point, 1.0),
    "count": (_count, 1.2),
    "pinch": (_pinch, 1.5),
    "hook": (_hook, 0.5),
    "tabletop": (_tabletop, 0.5),
    "claw": (_claw, 0.6),
    "free": (_free, 1.6),
}
"""Each gesture's angles (21,) in degrees, and how often it is made beside the others."""


def random_gesture(random: np.random.Generator, margin_rad: float = 0.0) -> np.ndarray:
    """Angles (21,) of a gesture as one person makes it once, `margin_rad` inside the limits."""
    makers, weights = zip(*GESTURES.values(), strict=True)
    make = makers[random.choice(len(makers), p=np.array(weights) / sum(weights))]
    return _within(make(random) + random.normal(0, _NOISE_DEG), margin_rad)


def grasp(random: np.random.Generator, radius_m: float, margin_rad: float = 0.0) -> np.ndarray:
    """Angles (21,) of a hand around a round thing of that radius in metres, loosely or tightly."""
    closed = float(np.interp(radius_m, (0.012, 0.045), (1.0, 0.0))) + random.uniform(-0.08, 0.0)
    bend = (24 + 42 * closed, 32 + 58 * closed)
    angles = _posture(_THUMB_GRASP, [bend] * 4, 0.3 * (1 - closed))
    return _within(angles + random.normal(0, _NOISE_DEG / 3), margin_rad)


def _within(angles_deg: np.ndarray, margin_rad: float) -> np.ndarray:
    return np.clip(np.deg2rad(angles_deg), LIMITS_RAD[:, 0] + margin_rad, LIMITS_RAD[:, 1] - margin_rad)
