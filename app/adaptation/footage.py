"""The parts of a session: sets to learn from, whose last hands are to choose by, and a stretch that is held out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.adaptation.settings import FootageSettings
from app.assembly.recorded_sets import recorded_phases_of, recorded_rig, recorded_sets
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.session import Session

_NS = 1e-9
_FOREVER_NS = 10**12


@dataclass(frozen=True, kw_only=True)
class Footage:
    """A session of which the sets before `held_ns` are learned from (and chosen by), and the rest is held out. Of the
    former every `every`-th counts, in `blocks` of `block_sets`, `None`: all of them."""

    session: Session
    rig: Rig
    phases_ns: dict[str, int] | None
    held_ns: int
    every: int
    block_sets: int
    blocks: frozenset[int] | None

    def learning_sets(self) -> Iterator[FrameSet]:
        """In order of time; nothing after them is decoded but the set that ends them."""
        for number, frame_set in enumerate(recorded_sets(self.session, self.rig, self.phases_ns)):
            if frame_set.reference_time_ns >= self.held_ns:
                return
            if number % self.every:
                continue
            if self.blocks is None or number // self.every // self.block_sets in self.blocks:
                yield frame_set

    def held_out(self, most: int) -> tuple[int, int]:
        """From when until when the last `most` of the sets lie that are held out."""
        times_ns = set_times_ns(self.session)
        return max(self.held_ns, int(times_ns[max(len(times_ns) - most, 0)])), int(times_ns[-1]) + _FOREVER_NS

    def before_held_out(self, most: int) -> tuple[int, int]:
        """From when until when the last `most` sets lie that are not held out."""
        times_ns = set_times_ns(self.session)
        return int(times_ns[max(int(np.searchsorted(times_ns, self.held_ns)) - most, 0)]), self.held_ns

    def sets_between(self, from_ns: int, until_ns: int, warmup_s: float) -> Iterator[FrameSet]:
        """The sets of a stretch and of the `warmup_s` seconds before it, all of them."""
        for frame_set in recorded_sets(self.session, self.rig, self.phases_ns):
            if frame_set.reference_time_ns >= until_ns:
                return
            if frame_set.reference_time_ns >= from_ns - warmup_s / _NS:
                yield frame_set


def set_times_ns(session: Session) -> np.ndarray:
    """Times (n,) of about all frame sets: those of the camera that has most, its time offset taken off."""
    times = [session.frame_times_ns(each.camera_id) - each.time_offset_ns for each in session.rig.cameras]
    return max(times, key=len)


def teaching(hand_times_ns: np.ndarray, check: float) -> np.ndarray:
    """Which hands of the learning sets at those times (H,) teach: all but the last `check` of them, by which is chosen.

    A set's hands are on one side of it, all of them.
    """
    if not len(hand_times_ns):
        return np.zeros(0, bool)
    return hand_times_ns < np.sort(hand_times_ns)[min(round((1 - check) * len(hand_times_ns)), len(hand_times_ns) - 1)]


def plan_footage(session: Session, most_sets: int, settings: FootageSettings) -> Footage:
    """How a session is divided, with at most so many sets to learn from.

    Raises UserError where it is too short, and says how long it must be.
    """
    times_ns = set_times_ns(session)
    duration_ns = times_ns[-1] - times_ns[0] if len(times_ns) else 0
    held_ns = int(times_ns[-1] - settings.holdout * duration_ns) if len(times_ns) else 0
    learned = int(np.searchsorted(times_ns, held_ns))
    rate_hz = (len(times_ns) - 1) / (duration_ns * _NS) if duration_ns else 0.0
    every = max(round(rate_hz / settings.rate_hz), 1)
    learned, held = learned // every, len(times_ns) - learned
    if learned < settings.least_sets or held < settings.least_held_sets:
        sets = max(settings.least_sets * every / (1 - settings.holdout), settings.least_held_sets / settings.holdout)
        needed = f"{np.ceil(sets)} frame sets" if not rate_hz else f"{np.ceil(sets / rate_hz + 0.5):.0f} s at this rate"
        raise UserError(
            f"{session.path}: lasts {duration_ns * _NS:.1f} s with {len(times_ns)} frame sets, too short to hold "
            f"{settings.holdout:.0%} of it out and learn from the rest. Record at least {needed}; more is better."
        )
    count = -(-learned // settings.block_sets)
    wanted = max(most_sets // settings.block_sets, 1)
    blocks = None
    if count > wanted:
        blocks = frozenset(np.linspace(0, count - 1, wanted).round().astype(int).tolist())
    rig = recorded_rig(session)
    return Footage(
        session=session,
        rig=rig,
        phases_ns=recorded_phases_of(session, rig),
        held_ns=held_ns,
        every=every,
        block_sets=settings.block_sets,
        blocks=blocks,
    )
