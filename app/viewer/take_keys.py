"""The viewer's keys for takes of a recording: `r` begins and ends one, `k` marks it. No key waits for the recorder."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping

from app.transport.sockets import CommandClient

log = logging.getLogger(__name__)

_ANSWER_S = 2.0


class TakeKeys:
    """Asks the recorder at `address`, in a thread of its own."""

    def __init__(self, address: str) -> None:
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(address,), daemon=True).start()

    @property
    def actions(self) -> Mapping[str, Callable[[], None]]:
        """What each key does."""
        return {"R": lambda: self._asked.put("take"), "K": lambda: self._asked.put("mark")}

    def _run(self, address: str) -> None:
        client = CommandClient(address)
        while True:
            asked = self._asked.get()
            if asked == "take":
                state = client.ask({"do": "state"}, _ANSWER_S)
                asked = "stop" if state is not None and state["recording"] else "start"
            answer = client.ask({"do": asked}, _ANSWER_S)
            if answer is None:
                log.warning("viewer: the recorder did not answer within %g s", _ANSWER_S)
            elif "error" in answer:
                log.warning("viewer: %s", answer["error"])
