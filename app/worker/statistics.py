"""Running statistics in constant memory."""

import math

import numpy as np

_BINS_PER_E_FOLD = 500
_LOWEST = 1e-4
_E_FOLDS = 23


class Quantiles:
    """Quantiles of positive values from a histogram with logarithmic bins: within 0.1 % from 1e-4 to 1e6."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS_PER_E_FOLD * _E_FOLDS, np.int64)
        self._sum = 0.0
        self.count = 0

    def add(self, values: np.ndarray | float) -> None:
        """Values of any shape; what is not finite is left out."""
        values = np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel()
        values = values[np.isfinite(values)]
        if not len(values):
            return
        bins = (np.log(np.maximum(values, _LOWEST) / _LOWEST) * _BINS_PER_E_FOLD).astype(np.int64)
        np.add.at(self._counts, np.minimum(bins, len(self._counts) - 1), 1)
        self._sum += float(values.sum())
        self.count += len(values)

    def quantile(self, q: float) -> float | None:
        """The value below which the share `q` of the values lies; None without values."""
        if not self.count:
            return None
        index = int(np.searchsorted(np.cumsum(self._counts), max(q * self.count, 1)))
        return _LOWEST * math.exp((index + 0.5) / _BINS_PER_E_FOLD)

    @property
    def mean(self) -> float | None:
        return self._sum / self.count if self.count else None

    def summary(self) -> dict[str, float | None]:
        return {f"p{q}": rounded(self.quantile(q / 100)) for q in (50, 95, 99)}


class MeanStd:
    """Mean and standard deviation of arrays of one shape (B. Welford, Technometrics 1962)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, value: np.ndarray) -> None:
        self.count += 1
        before = value - self.mean
        self.mean = self.mean + before / self.count
        self._squares = self._squares + before * (value - self.mean)

    @property
    def std(self) -> np.ndarray | float:
        return np.sqrt(self._squares / max(self.count, 1))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """For reports: `digits` significant digits."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
