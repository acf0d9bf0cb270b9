"""What to touch next in a touch test, and when it has been touched: without cameras or a window."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from app.evaluation.grip import TIPS
from app.evaluation.touch_targets import Target
from app.evaluation.touches import TouchSettings
from app.touch.plan import Prompt

GuideState = Literal["unseen", "away", "holding", "done"]


@dataclass(frozen=True, kw_only=True)
class GuideSettings:
    """`hold_s`: how long a tip stays at its corner, and in how many sets at least, which takes longer where sets are
    few; what is trimmed at both ends comes off it. `lost_s`: for so long it may be given elsewhere or not at all
    meanwhile."""

    hold_s: float = 1.8
    hold_sets: int = 8
    lost_s: float = 0.35
    touch: TouchSettings = field(default_factory=TouchSettings)


class TouchGuide:
    """Goes through a plan, touch by touch. `state` and `held` (0 to 1) tell of the touch that is asked for."""

    def __init__(
        self, plan: Sequence[Prompt], targets: Sequence[Target], settings: GuideSettings | None = None
    ) -> None:
        self.plan, self.targets = list(plan), list(targets)
        self._settings = settings or GuideSettings()
        self._capture_m = self._settings.touch.capture_m(targets)
        self.number = 0
        self.state: GuideState = "unseen"
        self.held = 0.0
        self._since_ns: int | None = None
        self._last_ns = self._sets = 0

    @property
    def current(self) -> Prompt | None:
        """None at the plan's end."""
        return self.plan[self.number] if self.number < len(self.plan) else None

    def update(self, time_ns: int, joints_board_m: np.ndarray) -> bool:
        """Take the hands (2, 21, 3) in the board's frame, NaN where not known; True where the touch is complete, and
        the next one is asked for."""
        prompt = self.current
        if prompt is None:
            self.state = "done"
            return False
        tip_m = joints_board_m[prompt.side, TIPS[prompt.finger]] - self.targets[prompt.target].place_board_m
        known = bool(np.isfinite(tip_m).all())
        there = known and np.linalg.norm(tip_m[:2]) < self._capture_m
        there = bool(there and abs(tip_m[2]) < self._settings.touch.reach_m)
        if there:
            self._since_ns = time_ns if self._since_ns is None else self._since_ns
            self._last_ns = time_ns
            self._sets += 1
        elif self._since_ns is not None and (time_ns - self._last_ns) * 1e-9 > self._settings.lost_s:
            self._since_ns = None
        if self._since_ns is None:
            self._sets = 0
            self.state, self.held = ("away" if known else "unseen"), 0.0
            return False
        self.state = "holding"
        held_s = (self._last_ns - self._since_ns) * 1e-9
        self.held = min(1.0, held_s / self._settings.hold_s, self._sets / self._settings.hold_sets)
        if self.held < 1:
            return False
        self.skip()
        return True

    def skip(self) -> None:
        """Ask for the next one."""
        self._go(self.number + 1)

    def back(self) -> None:
        """Ask for the one before again."""
        self._go(max(0, self.number - 1))

    def _go(self, number: int) -> None:
        self.number, self.held, self._since_ns = min(number, len(self.plan)), 0.0, None
        self._sets = 0
        self.state = "done" if self.current is None else "away"
