"""How late a camera's frames are, as `usthand latency` measured it."""

import math

import msgspec

_LONGEST_MS = 10_000.0


class MeasuredLatency(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """From the middle of the exposure to the grabbed frame: `light_to_grab_ms` on average, with the standard deviation
    `spread_ms` from frame to frame; `uncertainty_ms` is that of the average, the screen's own delay among it."""

    light_to_grab_ms: float
    spread_ms: float
    uncertainty_ms: float
    date: str | None = None

    def __post_init__(self) -> None:
        for name in ("uncertainty_ms", "spread_ms", "light_to_grab_ms"):
            value = getattr(self, name)
            least = -self.uncertainty_ms if name == "light_to_grab_ms" else 0.0
            if not (math.isfinite(value) and least <= value <= _LONGEST_MS):
                raise ValueError(f"`{name}` is {value}; it must be a number of milliseconds up to {_LONGEST_MS:g}")
