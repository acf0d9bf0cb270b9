"""Tells the worker of a replay how fast to go on. Nothing waits for the worker, and only the newest wish is sent."""

import logging
import threading

from app.transport.sockets import CommandClient

log = logging.getLogger(__name__)

_ANSWER_S = 2.0


class PlayControl:
    """Asks the worker at `address`, in a thread of its own."""

    def __init__(self, address: str) -> None:
        self._changed = threading.Condition()
        self._speed = 1.0
        self._time_ns: int | None = None
        self._is_sent = True
        threading.Thread(target=self._run, args=(address,), daemon=True).start()

    def play(self, speed: float, time_ns: int | None = None) -> None:
        """Go on at so many of the recording's seconds a second, 0 to hold, from a later time where one is given."""
        with self._changed:
            self._speed, self._is_sent = speed, False
            if time_ns is not None:
                self._time_ns = time_ns
            self._changed.notify()

    def _run(self, address: str) -> None:
        client = CommandClient(address)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_sent)
                wish = {"do": "play", "speed": self._speed, "time_ns": self._time_ns}
                self._time_ns, self._is_sent = None, True
            answer = client.ask(wish, _ANSWER_S)
            if answer is None:
                log.info("viewer: the worker did not answer; the recording may have ended")
            elif "error" in answer:
                log.warning("viewer: %s", answer["error"])
