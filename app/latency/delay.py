"""A camera's delay, from when each code was on the screen and when each picture was grabbed.

A picture of a code says that its light left the screen while that code was there: the delay lies in an interval, whose
ends are known as well as when the screen changed: within some milliseconds, evenly. Of many such intervals, the mean
and the spread of a normal distribution are estimated by maximum likelihood for interval-censored samples (G. Gomez,
M. L. Calle, R. Oller, "Frequentist and Bayesian approaches for interval-censored data", Statistical Papers 2004), with
a few pictures that are allowed to be wrong.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr

from app.latency.panel import CODES
from app.latency.reading import CodeSeen


@dataclass(frozen=True, kw_only=True)
class DelaySettings:
    """`longest_ms`: what is later was read wrongly. `change_ms`: a picture that was exposed half and half over a change
    has the middle of its exposure within so much of it; a fifth of an exposure of 20 ms. `wrong_share` of the pictures
    may have any delay. `least_spread_ms`: below, the screen's times themselves are not known. `pictures`: fewer say
    nothing. `known_ms`: where a busy machine leaves it open for longer when the two codes around a picture came, only
    the best third of the pictures count, since the change is not in the middle of a long time of drawing. `kept`: codes
    whose times are remembered, half of all numbers, so that none is taken for another."""

    longest_ms: float = 2000.0
    change_ms: float = 4.0
    wrong_share: float = 0.02
    least_spread_ms: float = 0.2
    pictures: int = 30
    known_ms: float = 12.0
    kept: int = CODES // 2


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Of one camera: mean and standard deviation of the delay, the mean's standard error, how many pictures, and within
    what time it is known, in the median, when a code came onto the screen."""

    mean_ms: float
    spread_ms: float
    error_ms: float
    pictures: int
    known_ms: float


class ScreenTimes:
    """When each code came onto the screen: not before the window began to draw it, not after it had."""

    def __init__(self, settings: DelaySettings | None = None) -> None:
        self._kept = (settings or DelaySettings()).kept
        self._shown: deque[tuple[int, int, int]] = deque(maxlen=self._kept)

    def add(self, count: int, before_ns: int, after_ns: int) -> None:
        """The code of the number `count`, which rises by one each time, came up between these times."""
        self._shown.append((count, before_ns, after_ns))

    def span_ns(self, seen: CodeSeen, change_ns: int) -> np.ndarray | None:
        """When what was seen can have been exposed, (4,): it began to be there between the first two times, and ended
        to be between the last two. None where the code was not shown, or its successor is not there yet."""
        if not self._shown:
            return None
        first, newest = self._shown[0][0], self._shown[-1][0]
        count = newest - (newest - seen.number) % CODES
        if count < first or count >= newest:
            return None
        here, following = (np.array(self._shown[count - first + ahead][1:]) for ahead in (0, 1))
        if seen.changing:
            return np.concatenate([following - change_ns, following + change_ns])
        return np.concatenate([here, following])


class DelayEstimate:
    """Collects a camera's pictures."""

    def __init__(self, settings: DelaySettings | None = None) -> None:
        self._settings = settings or DelaySettings()
        self._spans_ms: list[np.ndarray] = []

    @property
    def pictures(self) -> int:
        return len(self._spans_ms)

    @property
    def median_ms(self) -> float | None:
        """Of the intervals' middles: at once, for the eye."""
        return float(np.median(np.mean(self._spans_ms, axis=1))) if self._spans_ms else None

    def add(self, times: ScreenTimes, seen: CodeSeen, grab_time_ns: int) -> bool:
        """A picture that was grabbed then; whether it says anything."""
        span_ns = times.span_ns(seen, round(self._settings.change_ms * 1e6))
        return span_ns is not None and self.add_span(span_ns, grab_time_ns)

    def add_span(self, span_ns: np.ndarray, grab_time_ns: int) -> bool:
        """A picture that was exposed within a span (4,), as `ScreenTimes.span_ns` gives it."""
        span_ms = (grab_time_ns - span_ns) / 1e6
        if not (span_ms[0] > 0 and span_ms[-1] < self._settings.longest_ms):
            return False
        self._spans_ms.append(span_ms)
        return True

    def result(self) -> Delay | None:
        """None where too few pictures said anything."""
        if self.pictures < self._settings.pictures:
            return None
        spans = self._well_known()
        middle = spans.mean(axis=1)
        start = np.median(middle)
        around = float(np.median(np.abs(middle - start))) * 1.48
        best = min(
            (
                minimize(self._cost, [start, np.log(spread)], args=(spans,), method="Nelder-Mead")
                for spread in (max(around / 4, 0.5), max(around, 1.0))
            ),
            key=lambda each: each.fun,
        )
        mean_ms, spread_ms = float(best.x[0]), self._spread(best.x[1])
        return Delay(
            mean_ms=mean_ms,
            spread_ms=spread_ms,
            error_ms=self._error(mean_ms, best.x[1], spans),
            pictures=self.pictures,
            known_ms=float(np.median(spans[:, 0] - spans[:, 1] + spans[:, 2] - spans[:, 3])) / 2,
        )

    def _well_known(self) -> np.ndarray:
        """The spans (n, 4) whose ends are known best."""
        spans = np.array(self._spans_ms)
        unknown_ms = spans[:, 0] - spans[:, 1] + spans[:, 2] - spans[:, 3]
        share = max(1 / 3, min(1.0, self._settings.pictures / len(spans)))
        return spans[unknown_ms <= max(self._settings.known_ms, np.quantile(unknown_ms, share))]

    def _spread(self, log_spread: float) -> float:
        return float(np.hypot(np.exp(np.clip(log_spread, -10, 10)), self._settings.least_spread_ms))

    def _cost(self, values: np.ndarray, spans: np.ndarray) -> float:
        """Negative log-likelihood of mean and log spread."""
        spread = self._spread(values[1])
        below = (spans - values[0]) / spread
        inside = _mean_ndtr(below[:, 1], below[:, 0]) - _mean_ndtr(below[:, 3], below[:, 2])
        wrong = self._settings.wrong_share
        anywhere = (spans[:, 0] + spans[:, 1] - spans[:, 2] - spans[:, 3]) / (2 * self._settings.longest_ms)
        return -float(np.log((1 - wrong) * np.maximum(inside, 0) + wrong * anywhere).sum())

    def _error(self, mean_ms: float, log_spread: float, spans: np.ndarray) -> float:
        """Standard error of the mean: where the likelihood has fallen by a half, which needs no curvature."""
        best = self._cost(np.array([mean_ms, log_spread]), spans)
        reach = []
        for sign in (-1, 1):
            low, high = 0.0, 1000.0
            for _ in range(40):
                half = (low + high) / 2
                fell = self._cost(np.array([mean_ms + sign * half, log_spread]), spans) - best
                low, high = (half, high) if fell < 0.5 else (low, half)
            reach.append(high)
        return max(reach)


def _mean_ndtr(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Mean of the normal distribution function over each interval, by its antiderivative x ndtr(x) + density(x)."""
    width = np.maximum(high - low, 1e-6)
    middle = (low + high) / 2
    low, high = middle - width / 2, middle + width / 2
    antiderivative = [x * ndtr(x) + np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) for x in (low, high)]
    return (antiderivative[1] - antiderivative[0]) / width
