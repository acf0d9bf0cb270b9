"""What happened between one published set and the next, for subscribers who take the newest set only."""

import time
from typing import Literal

from app.transport.messages import Event, Gesture, PoseSet
from calibration.hand import Side


class Events:
    """Compares each PoseSet with the one before."""

    def __init__(self) -> None:
        self._cameras: dict[str, str] = {}
        self._hands: dict[int, Side] = {}
        self._gestures: dict[int, set[Gesture]] = {}

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
        hands: dict[int, Side] = {hand.track_id: hand.hand for hand in (*message.hands, *message.unseen)}

        def event(kind: Literal["hand", "gesture"], track_id: int, state: str, detail: str) -> Event:
            side = hands.get(track_id) or self._hands[track_id]
            return Event(time_ns=now_ns, kind=kind, subject=str(track_id), state=state, detail=detail, hand=side)

        events = [event("hand", each, "appeared", side) for each, side in hands.items() if each not in self._hands]
        # A hand that is not seen in this set goes on with what it did; one that is lost has ended it.
        gestures = {hand.track_id: set(hand.gestures) for hand in message.hands}
        for track_id in self._hands.keys() - hands.keys():
            gestures[track_id] = set()
        for track_id, does in gestures.items():
            did = self._gestures.get(track_id, set())
            events += [event("gesture", track_id, "ended", each) for each in sorted(did - does)]
            events += [event("gesture", track_id, "began", each) for each in sorted(does - did)]
        for track_id in self._hands.keys() - hands.keys():
            events.append(event("hand", track_id, "lost", self._hands[track_id]))
            gestures.pop(track_id)
            self._gestures.pop(track_id, None)
        self._gestures |= gestures
        self._hands = dict(hands)
        return events
