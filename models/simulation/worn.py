"""Rings and watches: drawn on the hand's mesh, as bands of metal, cloth or leather."""

from dataclasses import dataclass

import numpy as np

from models.hand.skeleton import REST_JOINTS_M
from models.simulation.noise3d import noise

_JOINTS_M = REST_JOINTS_M.astype(np.float32)
_METALS = ((0.72, 0.53, 0.24), (0.62, 0.62, 0.60), (0.70, 0.46, 0.36), (0.10, 0.10, 0.11))
_EDGE_M = 0.0006
_RING_HIGH_M, _STRAP_HIGH_M = 0.0005, 0.0004

Colour = tuple[float, float, float]
"""Linear RGB."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Its middle lies so far behind the wrist, on the back of the arm; `strap_m` is a width, `dial_m` a diameter."""

    behind_m: float
    strap: Colour
    strap_m: float
    dial: Colour
    dial_m: float


@dataclass(frozen=True, kw_only=True)
class Worn:
    """`rings`: fingers (0 thumb to 4) with a metal each; `watch`: None for none."""

    rings: tuple[tuple[int, Colour], ...] = ()
    watch: Watch | None = None
    seed: int = 0


def random_worn(random: np.random.Generator) -> Worn:
    """One to three rings, a watch, or both."""
    what = random.choice(3, p=[0.45, 0.35, 0.2])
    fingers = random.choice(5, size=random.integers(1, 4), replace=False, p=[0.1, 0.2, 0.25, 0.35, 0.1])
    metal = _METALS[random.integers(len(_METALS))]
    watch = Watch(
        behind_m=float(random.uniform(0.018, 0.034)),
        strap=_random_colour(random),
        strap_m=float(random.uniform(0.012, 0.024)),
        dial=_random_colour(random),
        dial_m=float(random.uniform(0.024, 0.042)),
    )
    return Worn(
        rings=() if what == 1 else tuple((int(finger), metal) for finger in fingers),
        watch=None if what == 0 else watch,
        seed=int(random.integers(2**31)),
    )


def paint_worn(
    albedo: np.ndarray, gloss: np.ndarray, height: np.ndarray, points: np.ndarray, weights: np.ndarray, worn: Worn
) -> None:
    """Over texels (F, TEXELS, ...) at rest `points` (F, TEXELS, 3), whose fingers have `weights` (F, 5)."""
    for finger, metal in worn.rings:
        first, second = _JOINTS_M[1 + 4 * finger + (finger == 0)], _JOINTS_M[2 + 4 * finger + (finger == 0)]
        axis = (second - first) / np.linalg.norm(second - first)
        along_m = (points - (0.45 * first + 0.55 * second)) @ axis
        band = _within(np.abs(along_m), 0.0022) * (weights[:, finger, None] > 0.5)
        _cover(albedo, gloss, height, band, metal, 0.95, _RING_HIGH_M)
    if worn.watch is not None:
        watch = worn.watch
        x, y, z = np.moveaxis(points, -1, 0)
        along_m = x + watch.behind_m
        strap = _within(np.abs(along_m), watch.strap_m / 2)
        weave = 1 + 0.1 * noise(points, 0.003, worn.seed)
        _cover(albedo, gloss, height, strap, watch.strap, 0.25, _STRAP_HIGH_M, weave)
        # The middle of the arm there; the back is where z is larger.
        middle_y, middle_z = np.median(y[strap > 0.5]), np.median(z[strap > 0.5])
        dial = _within(np.hypot(along_m, y - middle_y), watch.dial_m / 2) * (z > middle_z)
        _cover(albedo, gloss, height, dial, watch.dial, 0.9, 2 * _STRAP_HIGH_M)


def _within(distance_m: np.ndarray, radius_m: float) -> np.ndarray:
    """1 within the radius, 0 outside, over an edge."""
    return np.clip(0.5 - (distance_m - radius_m) / _EDGE_M, 0, 1).astype(np.float32)


def _cover(
    albedo: np.ndarray,
    gloss: np.ndarray,
    height: np.ndarray,
    share: np.ndarray,
    colour: Colour,
    shine: float,
    high_m: float,
    shade: np.ndarray | float = 1.0,
) -> None:
    albedo += share[..., None] * (np.asarray(colour, np.float32) * np.asarray(shade)[..., None] - albedo)
    gloss += share * (shine - gloss)
    height += share * (high_m - height)


def _random_colour(random: np.random.Generator) -> Colour:
    red, green, blue = np.clip(random.uniform(0.01, 0.6) * (1 + random.uniform(-0.5, 0.5, 3)), 0.01, 0.8)
    return float(red), float(green), float(blue)
