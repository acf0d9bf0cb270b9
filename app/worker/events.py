"""What happened between one published set and the next, for subscribers who take the newest set only."""

import time
from typing import Literal

from app.transport.messages import Event, Gesture, PoseSet
from calibration.hand import Side

_OnSide = tuple[int, Side]
"""A track, and the side that it is of."""


class Events:
    """Compares each PoseSet with the one before."""

    def __init__(self) -> None:
        self._cameras: dict[str, str] = {}
        self._hands: dict[_OnSide, None] = {}
        self._gestures: dict[_OnSide, set[Gesture]] = {}

    def of(self, message: PoseSet) -> list[Event]:
        now_ns = time.monotonic_ns()
        events = []
        for camera_id, report in message.cameras.items():
            if self._cameras.get(camera_id) != report.state:
                self._cameras[camera_id] = report.state
                events.append(
                    Event(time_ns=now_ns, kind="camera", subject=camera_id, state=report.state, detail=report.detail)
                )
        return events if message.set_index < 0 else events + self._of_hands(message, now_ns)

    def _of_hands(self, message: PoseSet, now_ns: int) -> list[Event]:
        followed = (*message.hands, *message.unseen)
        hands: dict[_OnSide, None] = {(hand.track_id, hand.hand): None for hand in followed}

        def event(kind: Literal["hand", "gesture"], hand: _OnSide, state: str, detail: str) -> Event:
            return Event(time_ns=now_ns, kind=kind, subject=str(hand[0]), state=state, detail=detail, hand=hand[1])

        events: list[Event] = []
        # One whose side is corrected is lost on the old side before it appears on the new one.
        for hand in [hand for hand in self._hands if hand not in hands]:
            events += [event("gesture", hand, "ended", each) for each in sorted(self._gestures.pop(hand, ()))]
            events.append(event("hand", hand, "lost", hand[1]))
        events += [event("hand", hand, "appeared", hand[1]) for hand in hands if hand not in self._hands]
        # A hand that is not seen in this set goes on with what it did.
        for pose in message.hands:
            key: _OnSide = (pose.track_id, pose.hand)
            did, does = self._gestures.get(key, set()), set(pose.gestures)
            events += [event("gesture", key, "ended", each) for each in sorted(did - does)]
            events += [event("gesture", key, "began", each) for each in sorted(does - did)]
            self._gestures[key] = does
        self._hands = hands
        return events
