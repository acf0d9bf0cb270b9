"""When an LED was switched, and what a camera's pictures of it say of the camera's delay.

The LED stays on or off for random times, so that only the true delay makes its blinking fit the pictures. Where it is
known roughly, each picture says that the middle of its exposure lies between two switches, as one of a code does.
"""

from dataclasses import dataclass

import numpy as np

from app.latency.delay import Delay, DelayEstimate, DelaySettings


@dataclass(frozen=True, kw_only=True)
class BlinkSettings:
    """`stays_ms`: the LED stays as it is for a random time between: longer than a picture is exposed and than one takes
    to come. `step_ms`: delays are tried in such steps. `least_fit`: correlation of pictures and LED; noise reaches 0.5
    with `pictures` of them. `unsure`: a picture between so many parts of dark and bright was exposed over a switch.
    `least_contrast`: grey levels between them."""

    stays_ms: tuple[float, float] = (50.0, 150.0)
    step_ms: float = 2.0
    least_fit: float = 0.7
    pictures: int = 60
    unsure: tuple[float, float] = (0.2, 0.8)
    least_contrast: float = 8.0


class Blinking:
    """The switches of an LED: each before and after the times at which the computer gave and had done the command."""

    def __init__(self, settings: BlinkSettings | None = None) -> None:
        self.settings = settings or BlinkSettings()
        self._switches: list[tuple[int, int]] = []
        self._first_on = True

    def add(self, on: bool, before_ns: int, after_ns: int) -> None:
        """Each turns it over."""
        if not self._switches:
            self._first_on = on
        self._switches.append((before_ns, after_ns))

    @property
    def _times_ns(self) -> np.ndarray:
        """(S, 2)."""
        return np.array(self._switches, np.int64).reshape(-1, 2)

    def best_fit(self, grabs_ns: np.ndarray, levels: np.ndarray) -> tuple[float, float, int]:
        """The delay (ms) at which one of the places' levels (N, P) at the grabs (N,) fits the LED best, how well, and
        which place. The correlation is negative where the LED shines when it is switched off."""
        times_ns, settings = self._times_ns.mean(axis=1), self.settings
        delays_ms = np.arange(0.0, DelaySettings().longest_ms, settings.step_ms)
        taken_ns = grabs_ns - delays_ms[:, None] * 1e6
        number = np.searchsorted(times_ns, taken_ns) - 1
        known = (number >= 0) & (number < len(times_ns) - 1)
        lit = np.where((number % 2 == 0) == self._first_on, 1.0, -1.0) * known
        count = known.sum(axis=1)
        # Correlation over the pictures that lie between known switches, for each delay and place.
        sums, squares, lit_sum = known @ levels, known @ levels**2, lit.sum(axis=1)
        n = np.maximum(count, 1)[:, None]
        covariance = lit @ levels - lit_sum[:, None] * sums / n
        spread = np.sqrt(np.maximum(squares - sums**2 / n, 1e-9) * np.maximum(n - lit_sum[:, None] ** 2 / n, 1e-9))
        fit = np.where(count[:, None] >= settings.pictures, covariance / spread, 0.0)
        at, place = np.unravel_index(np.argmax(np.abs(fit)), fit.shape)
        return float(delays_ms[at]), float(fit[at, place]), int(place)

    def estimate(self, grabs_ns: np.ndarray, levels: np.ndarray) -> tuple[Delay | None, int]:
        """Of one camera's pictures, grabbed at (N,) with the LED's place as bright as (N,); and how many say
        anything. None where they do not fit."""
        collected = DelayEstimate()
        if len(self._switches) < 4 or len(levels) < self.settings.pictures:
            return None, 0
        dark, bright = np.percentile(levels, [5, 95])
        if bright - dark < self.settings.least_contrast:
            return None, 0
        delay_ms, fit, _ = self.best_fit(grabs_ns, levels[:, None])
        if abs(fit) < self.settings.least_fit:
            return None, 0
        shares, times_ns = (levels - dark) / (bright - dark), self._times_ns
        for grab_ns, share in zip(grabs_ns, shares if fit > 0 else 1 - shares, strict=True):
            span_ns = self._span_ns(times_ns, grab_ns - delay_ms * 1e6, float(share))
            if span_ns is not None:
                collected.add_span(span_ns, int(grab_ns))
        return collected.result(), collected.pictures

    def _span_ns(self, times_ns: np.ndarray, taken_ns: float, share: float) -> np.ndarray | None:
        """When a picture was exposed (4,), as `ScreenTimes.span_ns` says it, that was taken about then."""
        low, high = self.settings.unsure
        number = int(np.searchsorted(times_ns[:, 0], taken_ns)) - 1
        if not 0 < number < len(times_ns) - 2:
            return None
        nearer_end = times_ns[number + 1].mean() - taken_ns < taken_ns - times_ns[number].mean()
        if low < share < high:
            change_ns = DelaySettings().change_ms * 1e6
            nearest = times_ns[number + nearer_end]
            return np.concatenate([nearest - change_ns, nearest + change_ns])
        if ((number % 2 == 0) == self._first_on) != (share > 0.5):
            # Its own delay differs so much that it lies beyond the nearer switch.
            number += 1 if nearer_end else -1
        return np.concatenate([times_ns[number], times_ns[number + 1]])
