"""What late, stale, superseded, silent and ended mean: in live use, and in a replay.

Whatever differs between the two is asked of the policy, by the grabber, the synchroniser, the intake, the worker and
the supervisor alike; a frame's way is the same. Limits that a replay does not have are infinite in it.
"""

import math
from typing import ClassVar, Literal

import msgspec

from app.transport.messages import CameraState


class LivePolicy(
    msgspec.Struct,
    tag="live",
    tag_field="use",
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """The newest wins, so that latency is bounded: what is late, stale or superseded is counted and left out.

    `max_age_ms`: a frame that was grabbed or taken longer ago is stale; what `usthand live --max-age-ms` sets.
    `deadline_periods`: a set waits so long after its first frame for the others, where rig.yaml has no `deadline_ms`:
    one period, in which each camera delivers, and a half for jitter; and longer, but no longer than `longest_wait_ms`,
    for a camera that is known to come later, as over a network: half the age limit. `future_ms`: a frame that lies
    further in the future is left out; two machines' clocks are known better. `silent_periods`: a camera that was
    silent for so many of its periods is not waited for; one that dropped up to three frames is. `max_pending`: so many
    frames of a camera may wait for their sets, two seconds at 30 Hz. `silent_s`: a grabber speaks every half second at
    least; one that missed five times is gone.
    """

    max_age_ms: float = 500.0
    deadline_periods: float = 1.5
    longest_wait_ms: float = 250.0
    future_ms: float = 50.0
    silent_periods: float = 4.0
    max_pending: int = 64
    silent_s: float = 2.5

    waits_for_all: ClassVar[bool] = False
    newest_only: ClassVar[bool] = True
    restarts: ClassVar[bool] = True
    may_overlap: ClassVar[bool] = True
    viewers: ClassVar[int] = 0
    shows_every_set: ClassVar[bool] = False
    left_states: ClassVar[tuple[CameraState, ...]] = ("stalled", "lost", "ended", "failed")
    over_states: ClassVar[tuple[CameraState, ...]] = ("ended",)


class ReplayPolicy(
    msgspec.Struct,
    tag="replay",
    tag_field="use",
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """Nothing is skipped and nobody hurries: every frame is in its set, every set is estimated, in order.

    `pace`: at the recording's own times, or as fast as the worker takes sets. `viewers`: it begins when so many look.
    `shows_every_set`: the worker waits for the viewer, which draws each set. `frames_ahead`: so many frames of each
    camera may be ahead of the worker; fewer than the grabber's slots, so that none is overwritten in use.
    """

    pace: Literal["recorded", "fast"] = "recorded"
    viewers: int = 0
    shows_every_set: bool = False
    frames_ahead: int = 4

    max_age_ms: ClassVar[float] = math.inf
    deadline_periods: ClassVar[float] = math.inf
    longest_wait_ms: ClassVar[float] = math.inf
    future_ms: ClassVar[float] = math.inf
    silent_periods: ClassVar[float] = math.inf
    max_pending: ClassVar[float] = math.inf
    silent_s: ClassVar[float] = math.inf

    # A set waits for every camera that still delivers: there is no deadline, and no frame is late.
    waits_for_all: ClassVar[bool] = True
    # Of the sets that wait for the worker, the older ones are not superseded.
    newest_only: ClassVar[bool] = False
    # A process that died took frames with it.
    restarts: ClassVar[bool] = False
    # A set that is finished beside the next one's beginning may give other poses the next time.
    may_overlap: ClassVar[bool] = False
    # Sets do not wait for a camera in these states. A recording that stands still is read on.
    left_states: ClassVar[tuple[CameraState, ...]] = ("lost", "ended", "failed")
    # Nothing more comes of a camera in these states. Live, one that failed may yet be plugged in.
    over_states: ClassVar[tuple[CameraState, ...]] = ("ended", "failed")


Policy = LivePolicy | ReplayPolicy
