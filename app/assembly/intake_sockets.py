"""The intake's ends, made and closed in its own thread, and what it tells grabbers through them."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Self

from app.assembly.camera_intake import CameraIntake
from app.run.policy import ReplayPolicy
from app.run.settings import RunFolder, RunSettings
from app.transport.allowance import Allowance
from app.transport.clock import answer_clock
from app.transport.keys import Keys
from app.transport.messages import CameraStatus, FrameHeader, Pace
from app.transport.sockets import CommandServer, Publisher, Subscriber, next_port
from calibration.camera_source import source_to_data
from calibration.rig import Rig

log = logging.getLogger(__name__)

_PACE_S = 0.1
# From the word to begin until the recording's first frame is due: every grabber has heard it by then.
_LEAD_NS = 50_000_000
_FASTEST = 64.0
# Messages of one remote camera: no camera is faster than 500 Hz, and another peer may have its turn each time.
_NETWORK_PER_S = 1000
# Of one connection, half a second at 30 Hz; in the network wait a few more.
_NETWORK_BACKLOG = 16
# Beside a frame's pixels.
_HEADERS = 1 << 16


class IntakeSockets:
    """Frames and states come through `subscribers`, requests of remote grabbers through `servers`."""

    def __init__(
        self,
        rig: Rig,
        settings: RunSettings,
        folder: RunFolder,
        is_grabbed: Callable[[str], bool],
        pacing: "Pacing | None",
    ) -> None:
        local = Subscriber()
        for camera in rig.cameras:
            if not camera.remote:
                local.connect(folder.frames_address(camera.camera_id))
        self.subscribers = [local]
        self.servers: list[CommandServer] = []
        self.pace = Publisher()
        self.pace.bind(folder.pace_address)
        if pacing is not None:
            self.servers.append(CommandServer(folder.replay_address, pacing.answer))
        # A recording has its frames of grabbers on this host; of a remote one's they are here.
        self._recorded: dict[str, Publisher] = {}
        for camera in rig.cameras if settings.record else ():
            if camera.remote:
                publisher = self._recorded[camera.camera_id] = Publisher()
                publisher.bind(folder.frames_address(camera.camera_id))
        if settings.listen:
            keys = Keys(Path(settings.keys)) if settings.keys else None
            remote = network_subscriber(rig, keys)
            self.subscribers.append(remote)
            bound = remote.bind(settings.listen)
            self.servers.append(CommandServer(next_port(bound), partial(answer_grabber, rig, is_grabbed), keys))
            who = "remote grabbers with the keys" if keys else "without `--keys` every program of this machine"
            log.info("%s may connect to %s", who, bound)

    def pass_on(self, message: FrameHeader | CameraStatus) -> None:
        """To the recording, what came of a remote camera: a frame lies in this process's shared memory now."""
        publisher = self._recorded.get(message.camera_id)
        if publisher is not None and (isinstance(message, CameraStatus) or message.slot is not None):
            publisher.send(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self.subscribers, *self.servers, self.pace, *self._recorded.values()):
            end.close()


def answer_grabber(rig: Rig, is_grabbed: Callable[[str], bool], request: dict) -> dict:
    """What a remote grabber asks: the clock, or how its camera is opened."""
    answer = {"number": request.get("number")}
    if request.get("do") == "clock":
        return {**answer, **answer_clock()}
    if request.get("do") != "camera":
        return {**answer, "error": f"unknown request `{request.get('do')}`"}
    camera_id, known = request.get("camera_id"), rig.camera_ids
    if camera_id not in known:
        return {**answer, "error": f"the rig has no camera `{camera_id}`; it has {', '.join(known)}"}
    camera = rig[camera_id]
    if not camera.remote:
        return {**answer, "error": f"`{camera_id}` is of the worker's machine, not `remote` in its rig.yaml"}
    if is_grabbed(camera_id):
        return {**answer, "error": f"`{camera_id}` is grabbed already by another `usthand grab`. End that first."}
    size = [camera.camera.width, camera.camera.height]
    turn = {"mirrored": camera.turn.mirrored, "rotate": camera.turn.rotate}
    return {**answer, "source": source_to_data(camera.source), "image_size": size, **turn}


def network_subscriber(rig: Rig, keys: Keys | None) -> Subscriber:
    """For frames of the rig's remote cameras, and no more of anything than they can send."""
    lenses = [camera.camera for camera in rig.cameras if camera.remote]
    largest = max((3 * lens.width * lens.height for lens in lenses), default=0) + _HEADERS
    allowance = Allowance(_NETWORK_PER_S * max(1, len(lenses)))
    return Subscriber(_NETWORK_BACKLOG, keys, allowance, largest, max(1, len(lenses)))


class Pacing:
    """Tells the grabbers of recorded cameras when to begin, and how far each may run ahead of the worker."""

    def __init__(self, policy: ReplayPolicy) -> None:
        self._policy = policy
        self._pace: Pace | None = None
        self._speed = 1.0
        self._sent_s = 0.0

    def answer(self, request: dict) -> dict:
        """What a viewer asks: `{"do": "play", "speed": SPEED, "time_ns": TIME}` changes the recording's clock.

        The clock goes on from where it is, or from a later TIME: all that lies before it is then due at once. What was
        played is not played again, and nothing is skipped, so that the poses stay the same.
        """
        answer = {"number": request.get("number")}
        try:
            speed, time_ns = float(request.get("speed", 1.0)), request.get("time_ns")
            if request.get("do") != "play" or not 0 <= speed <= _FASTEST or not isinstance(time_ns, int | None):
                raise ValueError
        except (TypeError, ValueError):
            return {**answer, "error": f"the request must be play, with a speed from 0 to {_FASTEST:g} and a time"}
        self._speed = speed
        if self._pace is not None:
            now_ns = time.monotonic_ns()
            position_ns = self._pace.position_ns(now_ns)
            if self._policy.pace == "fast" and self._pace.speed:
                # Not by its clock: it is wherever the worker is.
                position_ns = self._pace.origin_ns
            self._pace.start_ns, self._pace.speed = now_ns, speed
            self._pace.origin_ns = max(position_ns, position_ns if time_ns is None else time_ns)
            self._sent_s = 0.0
        return {**answer, "speed": speed}

    def update(self, publisher: Publisher, cameras: Mapping[str, CameraIntake]) -> None:
        """Send what has changed, or all again for a grabber that came later."""
        if self._pace is None:
            begun = [
                camera.status for camera in cameras.values() if camera.status.state not in self._policy.over_states
            ]
            firsts_ns = [status.first_capture_time_ns for status in begun]
            known_ns = [first for first in firsts_ns if first is not None]
            if not known_ns or len(known_ns) < len(firsts_ns):
                return
            start_ns = time.monotonic_ns() + _LEAD_NS
            self._pace = Pace(start_ns=start_ns, origin_ns=min(known_ns), allowed={}, speed=self._speed)
        allowed = {
            camera_id: camera.used + camera.status.corrupt + camera.undecodable + self._policy.frames_ahead
            for camera_id, camera in cameras.items()
        }
        if allowed != self._pace.allowed or time.monotonic() - self._sent_s > _PACE_S:
            self._pace.allowed = allowed
            self._sent_s = time.monotonic()
            publisher.send(self._pace)
