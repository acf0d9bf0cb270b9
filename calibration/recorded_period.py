"""How often the cameras of a recording took a frame, by its times alone."""

from collections.abc import Sequence

import numpy as np

# This share of a camera's steps is no longer than one between bursts. Within a burst are those of less than a quarter
# of that; those of more than four times are pauses.
_LONG = 0.9
_WITHIN = 0.25
# What a rig's `sync.fps` may be, as periods.
_PERIODS_NS = 1e6, 1e12


def recorded_period_ns(times_ns: Sequence[np.ndarray]) -> float | None:
    """That of the fastest of a recording's cameras, of each all its times (n,); None where none has two frames.

    A camera whose frames came in bursts, as over a network, or twice, tells no period: only where all are so, the mean.
    """
    steps_ns = [np.diff(times) for times in times_ns if len(times) > 1]
    even = [float(np.median(steps)) for steps in steps_ns if _is_even(steps)]
    means = [float(steps[steps <= _long(steps) / _WITHIN].mean()) for steps in steps_ns]
    return float(np.clip(min(even or means), *_PERIODS_NS)) if steps_ns else None


def came_evenly(times_ns: np.ndarray) -> bool:
    """Whether a camera's frames at `times_ns` (n,) came one by one: not in bursts, nor twice."""
    return len(times_ns) > 1 and _is_even(np.diff(times_ns))


def _is_even(steps_ns: np.ndarray) -> bool:
    return bool(np.mean(steps_ns < _WITHIN * _long(steps_ns)) < _WITHIN)


def _long(steps_ns: np.ndarray) -> float:
    return float(np.quantile(steps_ns, _LONG))
