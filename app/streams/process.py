"""A stream's process: published hands to other programs, in a protocol of theirs.

Listens to: PoseSet, Event, End.
Emits: what its receivers understand, see docs/streams.md.

One process for each `--stream`. The worker publishes to it as to any subscriber, so that nothing here can slow it.
"""

import importlib
import logging
import sys
import time

from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.streams.kinds import parse_stream
from app.streams.streamed import StreamContext, StreamMaker, streamed_set
from app.transport.messages import End, Event, PoseSet
from app.transport.sockets import Subscriber, wait
from calibration.rig import Rig

log = logging.getLogger(__name__)

_TURN_S = 0.1
# For the worker's last poses: the supervisor gives a process that is told to end a second and a half.
_LAST_POSES_S = 0.6


class StreamProcess:
    """Sends until the process is told to stop."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder, address: str) -> None:
        self._context = StreamContext(
            rig_id=rig.rig_id,
            estimator=settings.estimator,
            hands=settings.hands,
            recorded=settings.policy.waits_for_all,
            predicts=settings.predict_ms > 0,
            arms=settings.body,
        )
        stream = parse_stream(address)
        make: StreamMaker = getattr(importlib.import_module(f"app.streams.{stream.kind.module}"), stream.kind.sender)
        self._sender = make(stream, self._context)
        log.info("%s: %s %s", stream.kind.title, stream.kind.does, stream)
        self._poses, self._events = Subscriber(), Subscriber()
        self._poses.connect(folder.poses_address)
        self._events.connect(folder.events_address)
        self._ended = False

    def run(self) -> None:
        try:
            while not stop.is_set():
                self._step()
            end = time.monotonic() + _LAST_POSES_S
            while not self._ended and time.monotonic() < end:
                self._step()
        finally:
            self._sender.close()
            self._poses.close()
            self._events.close()

    def _step(self) -> None:
        pulse.beat()
        wait([self._poses, self._events], [], _TURN_S)
        for message, _ in self._poses.receive():
            self._ended |= isinstance(message, End)
            if isinstance(message, PoseSet) and message.set_index >= 0:
                self._sender.send(streamed_set(message, self._context))
                pulse.work()
        for message, _ in self._events.receive():
            if isinstance(message, Event):
                self._sender.tell(message)


def main() -> int:
    """Send a run's hands: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("address")
    args = parser.parse_args()

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        StreamProcess(rig, settings, folder, args.address).run()
        return 0

    return run_process(args.address.partition(":")[0], args, work)


if __name__ == "__main__":
    sys.exit(main())
