"""The shift between two recordings of one thing, where one stands out from all other shifts."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks, windows

_FADE_S = 0.1
_EVEN_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Shift:
    """`seconds` to add to times of the second recording, so that they are on the first one's clock.

    `distinctness`: how often higher the peak of the correlation is than the next one elsewhere. `height` of the peak: 1
    for equal signals (0 to 1), or, of whitened ones, in standard deviations. `width_s`: half the peak's width at half
    of its height.
    """

    seconds: float
    distinctness: float
    height: float
    width_s: float


def evened(sound: np.ndarray, rate_hz: float) -> np.ndarray:
    """A sound (n,) that is equally loud at all times, so that nothing in it outweighs all else."""
    loud = np.sqrt(np.maximum(uniform_filter1d(sound**2, max(1, round(_EVEN_S * rate_hz))), 0.0))
    return sound / np.maximum(loud, 1e-3 * max(float(loud.max()), 1e-12))


def whitened_shift(
    first: np.ndarray, second: np.ndarray, rate_hz: float, band_hz: tuple[float, float], apart_s: float
) -> Shift:
    """Of sounds (n,), (m,), as far as another peak is at least `apart_s` from the highest: by the generalised
    cross-correlation with phase transform, in a band.

    C. Knapp and G. Carter, "The generalized correlation method for estimation of time delay", 1976.
    """
    # A hum that is cut off sounds like a click, at the ends of both.
    first, second = (
        each * windows.tukey(len(each), min(1.0, 2 * _FADE_S * rate_hz / len(each))) for each in (first, second)
    )
    length = 1 << (len(first) + len(second) - 1).bit_length()
    spectrum = np.fft.rfft(first, length) * np.conj(np.fft.rfft(second, length))
    frequency = np.fft.rfftfreq(length, 1 / rate_hz)
    inside = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    size = np.abs(spectrum)
    floor = 1e-3 * float(np.median(size[inside])) if inside.any() else 0.0
    spectrum = np.where(inside & (size > 0), spectrum / np.maximum(size, floor or 1.0), 0.0)
    correlation = np.fft.irfft(spectrum, length)
    lags = _lags(len(first), len(second))
    values = correlation[lags % length]
    return _shift(lags, values / max(float(values.std()), 1e-12), rate_hz, apart_s)


def normalised_shift(first: np.ndarray, second: np.ndarray, rate_hz: float, overlap: float, apart_s: float) -> Shift:
    """Of signals (n,), (m,): by their correlation coefficient over what overlaps, at least `overlap` of the shorter."""
    length = 1 << (len(first) + len(second) - 1).bit_length()

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.fft.irfft(np.fft.rfft(a, length) * np.conj(np.fft.rfft(b, length)), length)

    lags = _lags(len(first), len(second))
    one, other = np.ones(len(first)), np.ones(len(second))
    count = np.round(correlate(one, other)[lags % length])
    enough = count >= max(8.0, overlap * min(len(first), len(second)))
    if not enough.any():
        return Shift(seconds=0.0, distinctness=0.0, height=0.0, width_s=float("inf"))
    lags, count = lags[enough], count[enough]
    a, b = first - first.mean(), second - second.mean()

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return correlate(x, y)[lags % length] / count

    mean_a, mean_b = at(a, other), at(one, b)
    variance_a, variance_b = at(a * a, other) - mean_a**2, at(one, b * b) - mean_b**2
    # Where next to nothing happens in what overlaps, its correlation tells nothing.
    least = 1e-2 * np.sqrt(a.var() * b.var()) + 1e-12
    spread = np.sqrt(np.maximum(variance_a, 0) * np.maximum(variance_b, 0))
    values = (at(a, b) - mean_a * mean_b) / np.maximum(spread, least)
    # What chance gives falls with the root of how much is compared.
    values *= np.sqrt(count / count.max())
    return _shift(lags, values, rate_hz, apart_s)


def _lags(first: int, second: int) -> np.ndarray:
    return np.arange(-(second - 1), first)


def _shift(lags: np.ndarray, values: np.ndarray, rate_hz: float, apart_s: float) -> Shift:
    """Lag: how much later the second's content is in the first."""
    best = int(values.argmax())
    height = float(values[best])
    near = np.abs(lags - lags[best]) <= apart_s * rate_hz
    peaks, _ = find_peaks(np.where(near, -np.inf, values))
    rest = values[peaks] if len(peaks) else values[~near]
    following = max(float(rest.max()) if len(rest) else 0.0, 1e-3 * max(height, 1e-12))
    step = 0.0
    if 0 < best < len(values) - 1:
        before, after = values[best - 1], values[best + 1]
        bend = before - 2 * height + after
        step = float(0.5 * (before - after) / bend) if bend < 0 else 0.0
    left, right = best, best
    while left > 0 and values[left] > height / 2:
        left -= 1
    while right < len(values) - 1 and values[right] > height / 2:
        right += 1
    return Shift(
        seconds=(float(lags[best]) + step) / rate_hz,
        distinctness=height / following,
        height=height,
        width_s=max(right - left, 1) / 2 / rate_hz,
    )
