"""Which touches a touch test asks for, in order."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from app.evaluation.touch_targets import Target
from calibration.hand import FINGERS, Side

PLAN = "plan.json"
_INDEX = FINGERS.index("index")


class Prompt(NamedTuple):
    """What is asked for: `side` 0 left, 1 right; `finger` 0 thumb to 4 little; `target` its index."""

    side: int
    finger: int
    target: int


class TouchPlan(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The test's `plan.json`: names of the corners, and the touches by side, finger and corner."""

    corners: list[str]
    touches: list[tuple[int, int, int]]


def touch_plan(sides: Sequence[Side], fingers: Sequence[str], targets: int) -> list[Prompt]:
    """The index finger at all targets, the others at two that lie across: both ends of what a rig sees of a hand."""
    plan = []
    for side in sides:
        for finger in fingers:
            number = FINGERS.index(finger)
            wanted = range(targets) if number == _INDEX else [0, min(3, targets - 1)]
            plan += [Prompt(int(side == "right"), number, target) for target in wanted]
    return plan


def prompt_text(prompt: Prompt, targets: Sequence[Target]) -> str:
    """What a person is told."""
    side = "right" if prompt.side else "left"
    finger = FINGERS[prompt.finger]
    word = finger if finger == "thumb" else f"{finger} finger"
    return f"{side} {word}: touch corner {targets[prompt.target].name} with the tip and rest there"
