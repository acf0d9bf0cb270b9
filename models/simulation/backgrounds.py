"""Pictures of what lies behind the hands: made up, or from a folder of the user's own."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError

SIZE_PX = (480, 360)
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def random_background(rng: np.random.Generator, folder: Path | None = None) -> np.ndarray:
    """A picture (h, w, 3) uint8 BGR. With a folder, a random part of one of its images; else a made-up one.

    Raises UserError where the folder holds no image that can be read.
    """
    if folder is not None:
        return _part_of_image(rng, images_in(folder))
    image = _plain(rng)
    kind = rng.random()
    if kind < 0.30:
        image = _room(rng, image)
    elif kind < 0.55:
        image = _clutter(rng, image)
    elif kind < 0.70:
        image = _stripes(rng, image)
    elif kind < 0.85:
        image = _blotches(rng, image)
    image = _grained(rng, image)
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 3.0)))


@lru_cache(maxsize=8)
def images_in(folder: Path) -> tuple[Path, ...]:
    """The images in a folder and those below it, sorted. Raises UserError where there is none."""
    folder = Path(folder)
    found = folder.rglob("*") if folder.is_dir() else ()
    paths = sorted(path for path in found if path.suffix.lower() in _PICTURES and path.is_file())
    if not paths:
        raise UserError(
            f"{folder}: no background image in it; expected files that end in {', '.join(sorted(_PICTURES))}. "
            "Name a folder of photographs, or leave it out for made-up backgrounds."
        )
    return tuple(paths)


def _part_of_image(rng: np.random.Generator, paths: tuple[Path, ...]) -> np.ndarray:
    path = paths[int(rng.integers(len(paths)))]
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path}: not an image that can be read. Remove it from the folder of backgrounds.")
    height, width = image.shape[:2]
    share = rng.uniform(0.5, 1.0)
    h, w = max(int(share * height), 1), max(int(share * width), 1)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    part = image[top : top + h, left : left + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(part, SIZE_PX, interpolation=cv2.INTER_AREA)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) of 0..255 as rooms have them: mostly greys and browns, at times vivid."""
    value = rng.uniform(15, 240)
    spread = rng.choice([0.08, 0.25, 0.8], p=[0.5, 0.3, 0.2])
    tint = np.array([-0.3, 0.0, 0.25]) * rng.uniform(0, 0.6)
    return np.clip(value * (1 + tint + rng.uniform(-spread, spread, 3)), 0, 255)


def _plain(rng: np.random.Generator) -> np.ndarray:
    """A wall, brighter on one side: float32."""
    width, height = SIZE_PX
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.6) * (np.cos(angle) * x + np.sin(angle) * y)
    centre = rng.uniform(-0.5, 0.5, 2)
    spot = rng.uniform(0, 0.5) * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / rng.uniform(0.05, 0.4))
    return (_colour(rng) * (1 + slope + spot)[..., None]).astype(np.float32)


def _room(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A desk before the wall, with upright things standing on it."""
    width, height = SIZE_PX
    horizon = rng.uniform(0.25, 0.7) * height
    tilt = rng.uniform(-0.08, 0.08) * height
    y = np.arange(height)[:, None] - horizon - np.linspace(-tilt, tilt, width)[None]
    shade = 1 - 0.3 * np.exp(-np.abs(y) / 12)
    image = np.where((y > 0)[..., None], _colour(rng) * (0.75 + 0.25 * np.clip(y / height, 0, 1))[..., None], image)
    image = (image * shade[..., None]).astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        left, w = rng.uniform(-0.1, 1) * width, rng.uniform(0.04, 0.25) * width
        foot, h = horizon + rng.uniform(-0.05, 0.25) * height, rng.uniform(0.1, 0.5) * height
        corners = np.array([[left, foot - h], [left + w, foot - h], [left + w, foot], [left, foot]])
        _polygon(image, corners, _colour(rng), rng)
    return image


def _clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    width = SIZE_PX[0]
    for _ in range(int(rng.integers(5, 35))):
        centre = rng.uniform(0, 1, 2) * SIZE_PX
        size = rng.uniform(0.03, 0.3) * width
        sides = int(rng.integers(3, 9)) if rng.random() < 0.7 else 24
        angles = np.linspace(0, 2 * np.pi, sides, endpoint=False) + rng.uniform(0, 2 * np.pi)
        corners = np.stack([np.cos(angles), rng.uniform(0.3, 1) * np.sin(angles)], axis=1)
        if sides < 24:
            corners *= rng.uniform(0.6, 1.2, (sides, 1))
        turn = rng.uniform(0, np.pi)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        _polygon(image, centre + size * corners @ rotation, _colour(rng), rng)
    return image


def _polygon(image: np.ndarray, corners: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Fills a polygon, with a soft shadow beside it."""
    low = np.floor(corners.min(axis=0)).astype(int) - 12
    high = np.ceil(corners.max(axis=0)).astype(int) + 12
    left, top = np.clip(low, 0, SIZE_PX)
    right, bottom = np.clip(high, 0, SIZE_PX)
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    mask = np.zeros(part.shape[:2], np.float32)
    inside = np.rint((corners - (left, top)) * 8).astype(np.int32)
    cv2.fillPoly(mask, [inside], (1.0,), cv2.LINE_8, 3)
    shadow = cv2.GaussianBlur(np.roll(mask, (4, 3), axis=(0, 1)), (0, 0), 4)
    part *= (1 - 0.35 * shadow)[..., None]
    ramp = np.linspace(1, rng.uniform(0.6, 1.3), part.shape[1], dtype=np.float32)[None, :, None]
    part += mask[..., None] * (np.asarray(colour, np.float32) * ramp - part)


def _stripes(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    width, height = SIZE_PX
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 90)
    along = np.cos(angle) * x + np.sin(angle) * y
    wave = np.sin(2 * np.pi * along / period)
    if rng.random() < 0.4:
        wave = wave * np.sin(2 * np.pi * (np.cos(angle) * y - np.sin(angle) * x) / period)
    share = np.clip(0.5 + wave * rng.choice([0.5, 4.0]), 0, 1)[..., None]
    return (image + share * rng.uniform(0.2, 1) * (_colour(rng) - image)).astype(np.float32)


def _blotches(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    for _ in range(int(rng.integers(1, 4))):
        share = _cloud(rng, float(rng.uniform(4, 60)))
        image = image + np.clip(0.5 + rng.uniform(0.3, 2) * share, 0, 1)[..., None] * (_colour(rng) - image)
    return image.astype(np.float32)


def _grained(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds the unevenness that every real surface has."""
    shade = 1 + rng.uniform(0.01, 0.08) * _cloud(rng, 40) + rng.uniform(0.0, 0.06) * _cloud(rng, 2.5)
    return np.clip(image * shade[..., None], 0, 255).astype(np.uint8)


def _cloud(rng: np.random.Generator, wavelength_px: float) -> np.ndarray:
    """Smooth noise (h, w) float32 of unit deviation."""
    width, height = SIZE_PX
    cells = max(int(height / wavelength_px), 2), max(int(width / wavelength_px), 2)
    coarse = rng.standard_normal(cells).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (fine - fine.mean()) / max(float(fine.std()), 1e-6)
