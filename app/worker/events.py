"""What happened between one published set and the next, for subscribers who take the newest set only."""

import time

from app.transport.messages import Event, PoseSet


class Events:
    """Compares each PoseSet with the one before."""

    def __init__(self) -> None:
        self._cameras: dict[str, str] = {}
        self._hands: dict[int, str] = {}

    def of(self, message: PoseSet) -> list[Event]:
        now_ns = time.monotonic_ns()
        events = []
        for camera_id, report in message.cameras.items():
            if self._cameras.get(camera_id) != report.state:
                self._cameras[camera_id] = report.state
                events.append(
                    Event(time_ns=now_ns, kind="camera", subject=camera_id, state=report.state, detail=report.detail)
                )
        if message.set_index < 0:
            return events
        hands = {hand.track_id: hand.hand for hand in (*message.hands, *message.unseen)}
        for track_id, side in hands.items():
            if track_id not in self._hands:
                events.append(Event(time_ns=now_ns, kind="hand", subject=str(track_id), state="appeared", detail=side))
        for track_id in self._hands.keys() - hands.keys():
            side = self._hands[track_id]
            events.append(Event(time_ns=now_ns, kind="hand", subject=str(track_id), state="lost", detail=side))
        self._hands = dict(hands)
        return events
