"""Crops of dark and noisy pictures come nearer to the picture in good light; all others stay as they are."""

import cv2
import numpy as np
import pytest

from models.hand.crop_light import is_noisy, well_lit

PX = 224


def picture() -> np.ndarray:
    """A smooth scene with edges, (S, S, 3) float, up to 1."""
    random = np.random.default_rng(0)
    scene = np.full((PX, PX, 3), 0.3)
    for _ in range(40):
        middle, radius = random.uniform(0, PX, 2).astype(int), int(random.uniform(5, 40))
        cv2.circle(scene, middle.tolist(), radius, random.uniform(0.1, 1, 3).tolist(), -1)
    return cv2.GaussianBlur(scene, (0, 0), 1.5)


def taken(light: float, noise: float) -> np.ndarray:
    grain = np.random.default_rng(1).normal(0, noise, (PX, PX, 3))
    return np.clip(light * 255 * picture() + grain, 0, 255).astype(np.uint8)


def off(crop: np.ndarray) -> float:
    """Root mean square difference from the scene, whatever the brightness, as a share of the scene's brightest."""
    scene, crop = picture().ravel(), crop.astype(float).ravel()
    return float(np.sqrt(np.mean((crop * (scene @ crop) / (crop @ crop) - scene) ** 2)))


@pytest.mark.parametrize("light", [0.5, 0.9])
def test_a_bright_clean_crop_is_itself(light: float) -> None:
    crop = taken(light, 0.3)
    assert well_lit(crop) is crop and not is_noisy(crop)


def test_a_dark_crop_is_as_bright_as_others() -> None:
    crop = taken(0.15, 0)
    lit = well_lit(crop)
    assert np.percentile(crop, 98) < 40 < 130 < np.percentile(lit, 98) < 170
    assert off(lit) == pytest.approx(off(crop), abs=0.01)


@pytest.mark.parametrize("light", [0.2, 0.8])
def test_noise_is_taken_from_a_crop(light: float) -> None:
    crop = taken(light, 12 * light)
    before = crop.copy()
    assert off(well_lit(crop)) < 0.65 * off(crop)
    assert (crop == before).all()


def test_a_black_crop_stays_black() -> None:
    assert not well_lit(np.zeros((PX, PX, 3), np.uint8)).any()
