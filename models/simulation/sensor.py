"""What a camera does to the light: exposure, white balance, response, blur, noise, JPEG."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from models.simulation.scene import Sensor

_TILE = 512


def _noise_tile() -> np.ndarray:
    """Noise (2 tiles wide, for any offset) of unit deviation, partly smoothed as demosaicing leaves it: int8, 1/32."""
    noise = np.random.default_rng(0).standard_normal((_TILE, _TILE, 3)).astype(np.float32)
    wide = np.pad(noise, ((4, 4), (4, 4), (0, 0)), mode="wrap")
    smooth = cv2.GaussianBlur(wide, (0, 0), 0.8)[4:-4, 4:-4]
    grey = smooth.mean(axis=2, keepdims=True)
    mixed = 0.5 * noise + 0.9 * grey / grey.std() + 0.6 * (smooth / smooth.std())
    return np.clip(32 * mixed / mixed.std(), -127, 127).astype(np.int8)


_NOISE = _noise_tile()


def develop(image: np.ndarray, sensor: Sensor, seed: Sequence[int]) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR that `sensor` makes of a scene's sRGB image. The noise follows from the seed."""
    image = cv2.LUT(image, _response(sensor))
    if sensor.saturation != 1:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        image = cv2.addWeighted(image, sensor.saturation, grey, 1 - sensor.saturation, 0)
    if sensor.noise > 0:
        image = _noisy(image, sensor.noise, seed)
    if sensor.jpeg_quality is not None:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return image


@lru_cache(maxsize=64)
def _response(sensor: Sensor) -> np.ndarray:
    """Table (1, 256, 3) from sRGB levels to those of the camera, BGR."""
    display = np.arange(256) / 255
    linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    gains = sensor.exposure * np.array(sensor.white_balance[::-1])
    seen = linear[:, None] * gains
    # A soft shoulder above 0.8 keeps highlights from burning out at once.
    seen = np.where(seen > 0.8, 0.8 + 0.2 * (1 - np.exp(-(seen - 0.8) / 0.2)), seen)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * np.maximum(seen, 1e-9) ** (1 / 2.4) - 0.055)
    bent = 0.5 + sensor.contrast * (seen**sensor.gamma - 0.5)
    return np.clip(np.rint(255 * bent), 0, 255).astype(np.uint8)[None]


def _noisy(image: np.ndarray, noise: float, seed: Sequence[int]) -> np.ndarray:
    """Noise whose variance has a constant part and one that grows with the light, `noise` grey levels at mid-grey."""
    height, width = image.shape[:2]
    row, column = np.random.default_rng(seed).integers(0, _TILE, 2)
    rows, columns = (np.arange(start, start + count) % _TILE for start, count in ((row, height), (column, width)))
    noise_32 = _NOISE[rows[:, None], columns]
    level = np.arange(256, dtype=np.float32) / 255
    deviation = cv2.LUT(image, noise * np.sqrt(0.4 + 1.2 * level) / 32)
    return cv2.add(image, cv2.multiply(deviation, noise_32, dtype=cv2.CV_32F), dtype=cv2.CV_8U)
