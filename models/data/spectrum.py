"""Rendered crops with the coarse amplitudes of real ones: Fourier domain adaptation.

Y. Yang and S. Soatto, "FDA: Fourier domain adaptation for semantic segmentation", CVPR 2020: of each colour's spectrum
the low frequencies' amplitudes, which hold light and colour, are exchanged for those of a real picture, and the phases,
which hold what there is to see, stay. Here they are mixed, by a share.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.data.crop_cache import read_cache

# The paper's beta: half the side of the exchanged square, as a share of the picture's side.
_BETA = (0.01, 0.05)


class RealCrops:
    """Crops of caches of real hands, drawn from at random."""

    def __init__(self, caches: Sequence[Path]) -> None:
        """Raises UserError for a folder that is no cache."""
        self._crops_rgb = [shard.crops_rgb for cache in caches for shard in read_cache(cache)[1]]
        self._counts = np.array([len(crops) for crops in self._crops_rgb])

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """One of all, (S, S, 3) uint8."""
        number = int(random.integers(self._counts.sum()))
        shard = int(np.searchsorted(np.cumsum(self._counts), number, side="right"))
        return self._crops_rgb[shard][number - int(self._counts[:shard].sum())]


def towards_real(crop_rgb: np.ndarray, real: RealCrops, random: np.random.Generator) -> np.ndarray:
    """The crop (S, S, 3) uint8 taken a random part of the way to the amplitudes of a random real one."""
    return mixed_amplitudes(crop_rgb, real.draw(random), random.uniform(*_BETA), random.random())


def mixed_amplitudes(crop_rgb: np.ndarray, other_rgb: np.ndarray, beta: float, share: float) -> np.ndarray:
    """The crop (S, S, 3) uint8 whose amplitudes at frequencies of at most `beta` times S cycles are to `share` the
    other picture's."""
    side = crop_rgb.shape[0]
    if other_rgb.shape != crop_rgb.shape:
        other_rgb = cv2.resize(other_rgb, (side, side), interpolation=cv2.INTER_AREA)
    # Real spectra: whole rows of frequencies, half of the columns.
    spectrum, other = (np.fft.rfft2(image.astype(np.float32), axes=(0, 1)) for image in (crop_rgb, other_rgb))
    most = int(beta * side)
    rows = np.arange(-most, most + 1)[:, None]
    columns = np.arange(most + 1)[None]
    low = spectrum[rows, columns]
    amplitude = (1 - share) * np.abs(low) + share * np.abs(other[rows, columns])
    spectrum[rows, columns] = amplitude * np.exp(1j * np.angle(low))
    changed = np.fft.irfft2(spectrum, s=(side, side), axes=(0, 1))
    return np.rint(changed.clip(0, 255)).astype(np.uint8)
