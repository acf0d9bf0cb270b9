"""How long a person's forearm and upper arm are, learnt from what the views say of them."""

from collections import deque

import numpy as np

from app.estimators.body.settings import BodySettings

_FEWEST = 5
_MAD_TO_SD = 1.4826
_SHARE_OF_SCATTER = 0.35


class SegmentLength:
    """The median of the lengths that were seen, beside what is known of people before."""

    def __init__(self, mean_m: float, sd_m: float, settings: BodySettings) -> None:
        self.length_m, self.sd_m = mean_m, sd_m
        self._settings = settings
        self._seen_m: deque[float] = deque(maxlen=settings.most_lengths)

    def add(self, length_m: float) -> None:
        self._seen_m.append(length_m)
        if len(self._seen_m) < _FEWEST:
            return
        seen = np.array(self._seen_m)
        self.length_m = float(np.median(seen))
        scatter = _MAD_TO_SD * float(np.median(np.abs(seen - self.length_m)))
        share = np.hypot(_SHARE_OF_SCATTER, 1 / np.sqrt(len(seen)))
        self.sd_m = float(np.hypot(self._settings.length_sd_m, share * scatter))

    def fits(self, length_m: float, sd_m: float) -> bool:
        """Whether a length with that deviation may be this one."""
        return abs(length_m - self.length_m) < self._settings.doubt_stds * float(np.hypot(self.sd_m, sd_m))


class ArmLengths:
    """Those of one arm, as long as forearms fit them."""

    def __init__(self, settings: BodySettings, time_ns: int) -> None:
        self._settings, self._fitted_ns = settings, time_ns
        self._begin()

    def fits(self, forearm_m: float, sd_m: float, time_ns: int) -> bool:
        """Whether a forearm that is seen at a time, with that deviation, may be this arm's.

        Where none was for long, what was learnt is another person's, or of an elbow that was hidden, and is forgotten.
        """
        if time_ns - self._fitted_ns > self._settings.same_person_s * 1e9:
            self._begin()
        fits = self.forearm.fits(forearm_m, sd_m)
        if fits:
            self._fitted_ns = time_ns
        return fits

    def _begin(self) -> None:
        self.forearm = SegmentLength(*self._settings.forearm_m, self._settings)
        self.upper_arm = SegmentLength(*self._settings.upper_arm_m, self._settings)
