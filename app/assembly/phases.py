"""Constant phases of cameras that run freely at one rate, from their time stamps."""

import cmath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import tau

import numpy as np


@dataclass(frozen=True, kw_only=True)
class PhaseTuning:
    """How phases are followed; shares are of one period.

    `smoothing`: the weight of a new frame in a phase's mean, of about 20 frames. `loop_gain`: the share of the
    reference camera's deviation that its tick follows, of about 10 frames. `warm_up`: frames before a phase counts.
    `coherence`: below this mean resultant length the differences are no phase, for rates differ, or jitter is as long
    as the period. `hysteresis`: a gap has to be wider by so much for the circle to be cut there instead.
    """

    smoothing: float = 0.05
    loop_gain: float = 0.1
    warm_up: int = 8
    coherence: float = 0.5
    hysteresis: float = 0.1


_TUNING = PhaseTuning()


class Phases:
    """Per camera, how far its frames lie from the set's middle, in (-period, period).

    A phase-locked loop follows the reference camera's ticks; each time is compared with the nearest tick and averaged
    on the circle of one period. The circle is cut at its widest gap, which makes the spread of a set the least that is
    possible. `fixed_ns` are phases known beforehand; then nothing is estimated.
    """

    def __init__(self, camera_ids: Iterable[str], fixed_ns: Mapping[str, int] | None = None) -> None:
        self.offsets_ns = dict.fromkeys(camera_ids, 0)
        self._fixed = fixed_ns is not None
        self.offsets_ns.update(fixed_ns or {})
        self._tick_ns: float | None = None
        self._mean: dict[str, complex] = {}
        self._seen: dict[str, int] = {}
        self._cut_before: str | None = None

    def add(self, camera_id: str, time_ns: int, period_ns: float) -> None:
        if self._fixed:
            return
        if self._tick_ns is None:
            self._tick_ns = time_ns
        tick_ns = self._tick_ns + round((time_ns - self._tick_ns) / period_ns) * period_ns
        if camera_id == next(iter(self._mean), camera_id):
            self._tick_ns = tick_ns + _TUNING.loop_gain * (time_ns - tick_ns)
        turn = cmath.exp(1j * tau * (time_ns - tick_ns) / period_ns)
        seen = self._seen.get(camera_id, 0) + 1
        weight = max(1 / seen, _TUNING.smoothing)
        self._seen[camera_id] = seen
        self._mean[camera_id] = self._mean.get(camera_id, 0) * (1 - weight) + turn * weight
        self._arrange(period_ns)

    def renew(self, camera_id: str) -> None:
        """This camera's times may start again from anywhere: its phase is measured anew, and another one sets the tick,
        which would stand still if this one stayed away."""
        self._mean.pop(camera_id, None)
        self._seen.pop(camera_id, None)

    def _arrange(self, period_ns: float) -> None:
        turns = {
            camera: (cmath.phase(mean) / tau) % 1.0
            for camera, mean in self._mean.items()
            if self._seen[camera] >= _TUNING.warm_up and abs(mean) >= _TUNING.coherence
        }
        if len(turns) < 2:
            self.offsets_ns = dict.fromkeys(self.offsets_ns, 0)
            return
        order = sorted(turns, key=lambda camera: turns[camera])
        gaps = {
            camera: (turns[camera] - turns[order[index - 1]]) % 1.0 or (1.0 if len(order) == 1 else 0.0)
            for index, camera in enumerate(order)
        }
        widest = max(order, key=lambda camera: gaps[camera])
        if self._cut_before not in gaps or gaps[widest] > gaps[self._cut_before] + _TUNING.hysteresis:
            self._cut_before = widest
        start = turns[self._cut_before]
        unwrapped = {camera: (turns[camera] - start) % 1.0 for camera in order}
        # Just before the cut on noise alone: this camera is the first of the set, not the last.
        unwrapped = {c: u - 1.0 if u > 1.0 - _TUNING.hysteresis / 2 else u for c, u in unwrapped.items()}
        middle = (max(unwrapped.values()) + min(unwrapped.values())) / 2
        for camera in self.offsets_ns:
            turn = unwrapped.get(camera)
            self.offsets_ns[camera] = 0 if turn is None else round((turn - middle) * period_ns)


def recorded_phases(times_ns: Mapping[str, np.ndarray], period_ns: float) -> dict[str, int]:
    """The phases of a recording's cameras, from all their times (n,) at once."""
    phases = Phases(times_ns)
    frames = sorted((int(time), camera_id) for camera_id, times in times_ns.items() for time in times)
    for time_ns, camera_id in frames:
        phases.add(camera_id, time_ns, period_ns)
    return phases.offsets_ns
