"""The eye goes along with the hands, smoothly."""

import numpy as np

_SETTLE_S = 0.25


class Follow:
    """Gives how far the eye has to move at each redraw, so that the hands stay where they are in the picture."""

    def __init__(self) -> None:
        self._at_m: np.ndarray | None = None
        self._last_ns = 0

    def step(self, centre_m: np.ndarray | None, now_ns: int) -> np.ndarray:
        """The eye's shift (3,), world metres, where the hands' centre (3,) is now: a low-pass of 0.25 s."""
        if centre_m is None:
            return np.zeros(3)
        if self._at_m is None:
            self._at_m, self._last_ns = centre_m, now_ns
        share = 1 - np.exp(-(now_ns - self._last_ns) / 1e9 / _SETTLE_S)
        shift_m = share * (centre_m - self._at_m)
        self._at_m, self._last_ns = self._at_m + shift_m, now_ns
        return shift_m

    def leave(self) -> None:
        """Begin anew at the next step."""
        self._at_m = None
