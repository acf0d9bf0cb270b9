"""How differently the same scene can be lit and photographed."""

import numpy as np

from models.simulation.scene import Light, Lighting, Sensor


def random_lighting(rng: np.random.Generator) -> Lighting:
    """One to three lamps of different strength, warmth and softness, from above more often than not, and a sky.

    The sum is such that skin of middle tone is neither black nor burnt out.
    """
    count = int(rng.integers(1, 4))
    shares = rng.dirichlet(np.linspace(2.5, 1.0, count)) if count > 1 else np.ones(1)
    shares = np.sort(shares)[::-1]
    direct = rng.uniform(0.35, 0.85)
    lights = []
    for share in shares:
        height = rng.uniform(-0.25, 1.0)
        azimuth = rng.uniform(0, 2 * np.pi)
        flat = np.sqrt(1 - height * height)
        towards = (float(flat * np.cos(azimuth)), float(flat * np.sin(azimuth)), float(height))
        strength = 1.6 * direct * share * _warmth(rng)
        softness = float(np.exp(rng.uniform(np.log(0.03), np.log(0.8))))
        lights.append(Light(towards, _colour(strength), softness))
    ambient = (1.05 - direct) * rng.uniform(0.7, 1.3)
    sky = ambient * _warmth(rng)
    ground = sky * rng.uniform(0.3, 0.9) * (1 + rng.uniform(-0.15, 0.15, 3))
    return Lighting(tuple(lights), _colour(sky), _colour(ground))


def random_sensor(rng: np.random.Generator) -> Sensor:
    """A camera's taste: exposure, white balance, contrast, sharpness, noise and compression."""
    warm = rng.normal(0, 0.06)
    return Sensor(
        exposure=float(np.exp(rng.normal(0.05, 0.22))),
        white_balance=(float(np.exp(warm)), float(np.exp(rng.normal(0, 0.02))), float(np.exp(-warm))),
        gamma=float(np.exp(rng.normal(0, 0.08))),
        contrast=float(rng.uniform(0.85, 1.15)),
        saturation=float(rng.uniform(0.7, 1.2)),
        blur_px=float(rng.uniform(0.3, 0.9)),
        noise=float(np.exp(rng.uniform(np.log(0.8), np.log(7.0)))),
        jpeg_quality=None if rng.random() < 0.3 else int(rng.integers(55, 97)),
    )


def _warmth(rng: np.random.Generator) -> np.ndarray:
    """Linear RGB (3,) of a white between candle and sky, green kept at 1."""
    warm = rng.normal(0.03, 0.10)
    return np.array([1 + warm, 1.0, 1 - warm])


def _colour(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.maximum(values, 0.0)
    return float(red), float(green), float(blue)
