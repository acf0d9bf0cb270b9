"""The worker's intake: headers and frames from the grabbers, camera states, and closed frame sets for the estimator.

A thread of its own drains the sockets, so that sets close on time while the estimator works. In live use the estimator
finds the newest set only; in replay every one, and the grabbers are told how far they may run ahead.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np

from app.assembly.synchroniser import Synchroniser
from app.run.settings import RunFolder, RunSettings
from app.transport.clock import answer_clock
from app.transport.keys import Keys
from app.transport.messages import CameraReport, CameraStatus, FrameHeader, Pace
from app.transport.ring import RingReader, RingWriter, SlotRef
from app.transport.sockets import CommandServer, Publisher, Subscriber, next_port, wait
from calibration.camera_source import source_to_data
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig

log = logging.getLogger(__name__)

# A replay's frames in flight per camera: below the grabber's slots, so that none is overwritten in use.
_IN_FLIGHT = 4
_PACE_S = 0.1
_SILENT_S = 2.5
_POLL_S = 0.05
_INGRESS_SLOTS = 12


@dataclass(frozen=True)
class SlotFrame(Frame):
    """A frame in shared memory, and where, for readers of the poses."""

    slot: SlotRef | None = None


class _Camera:
    """What the intake knows of one camera's grabber."""

    def __init__(self) -> None:
        self.status = CameraStatus(camera_id="", state="starting")
        self.heard = time.monotonic()
        self.consumed = 0
        self.undecodable = 0
        self.pid = 0
        self.ingress: RingWriter | None = None


class Intake:
    """See the module. `take`, `done` and `reports` are called from the estimator's thread."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        self._rig = rig
        self._settings = settings
        self._folder = folder
        self._cameras = {camera_id: _Camera() for camera_id in rig.camera_ids}
        self._synchroniser = Synchroniser(rig.camera_ids, rig.sync, settings.lossless, settings.phases_ns)
        self._reader = RingReader()
        self._lock = threading.Condition()
        self._sets: deque[FrameSet] = deque()
        self._released = False
        self._pace: Pace | None = None
        self._paced_at = 0.0
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        if settings.lossless:
            for camera_id in rig.camera_ids:
                self._synchroniser.starts(camera_id)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._reader.close()
        for camera in self._cameras.values():
            if camera.ingress is not None:
                camera.ingress.close()

    def release(self) -> None:
        """The estimator is ready: recorded cameras may start."""
        self._released = True

    def take(self, timeout_s: float) -> FrameSet | None:
        """The next set (replay) or the newest (live), without frames older than the age limit; None in time-out."""
        with self._lock:
            if not self._sets:
                self._lock.wait(timeout_s)
            if self._failure is not None:
                raise self._failure
            if not self._sets:
                return None
            frame_set = self._sets.popleft()
        return frame_set if self._settings.lossless else self._without_stale(frame_set)

    def _without_stale(self, frame_set: FrameSet) -> FrameSet:
        oldest = time.monotonic_ns() - self._settings.max_age_ms * 1e6
        stale = [camera_id for camera_id, frame in frame_set.frames.items() if frame.grab_time_ns < oldest]
        if not stale:
            return frame_set
        with self._lock:
            self._synchroniser.discard(frame_set, stale, stale=True)
        return replace(frame_set, frames={c: f for c, f in frame_set.frames.items() if c not in stale})

    def done(self, frame_set: FrameSet) -> None:
        """The set's frames are not needed any more."""
        with self._lock:
            for camera_id in frame_set.frames:
                self._cameras[camera_id].consumed += 1

    @property
    def ended(self) -> bool:
        """Every camera's recording has ended, and every set was taken; live, a camera that failed may yet come."""
        over_states = ("ended", "failed") if self._settings.lossless else ("ended",)
        with self._lock:
            over = all(camera.status.state in over_states for camera in self._cameras.values())
            return over and not self._sets and self._synchroniser.empty

    def reports(self, frame_set: FrameSet | None) -> dict[str, CameraReport]:
        """Each camera's state and counters, and its frame in this set."""
        with self._lock:
            reports = {}
            for camera_id, camera in self._cameras.items():
                counters = self._synchroniser.counters[camera_id]
                frame = frame_set.frames.get(camera_id) if frame_set else None
                # A replay's grabbers are ahead of its sets: what is shown is still before the recording's end.
                state = "streaming" if frame and camera.status.state == "ended" else camera.status.state
                reports[camera_id] = CameraReport(
                    state=state,
                    frames=counters.frames,
                    dropped=counters.dropped,
                    late=counters.late,
                    stale=counters.stale,
                    corrupt=camera.status.corrupt + camera.undecodable,
                    detail=camera.status.detail,
                    slot=frame.slot if isinstance(frame, SlotFrame) else None,
                    sequence=frame.sequence if frame else -1,
                    capture_time_ns=frame.capture_time_ns if frame else 0,
                )
            return reports

    def _run(self) -> None:
        try:
            with _Sockets(self._rig, self._settings, self._folder, self._answer) as sockets:
                while not self._stopped.is_set():
                    self._step(sockets)
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._lock.notify()

    def _step(self, sockets: "_Sockets") -> None:
        with self._lock:
            wait_ns = self._synchroniser.wait_ns(time.monotonic_ns())
        timeout_s = _POLL_S if wait_ns is None else min(wait_ns / 1e9, _POLL_S)
        wait(sockets.subscribers, sockets.servers, timeout_s)
        for server in sockets.servers:
            server.serve()
        for subscriber in sockets.subscribers:
            for message, payload in subscriber.receive():
                if isinstance(message, FrameHeader):
                    self._frame(message, payload)
                elif isinstance(message, CameraStatus):
                    self._status(message)
        self._note_silence()
        self._close_sets()
        if self._settings.lossless:
            self._send_pace(sockets.pace)

    def _frame(self, header: FrameHeader, payload: memoryview | None) -> None:
        camera = self._cameras.get(header.camera_id)
        if camera is None:
            return
        slot = header.slot if payload is None else self._store(camera, header, payload)
        pixels = self._reader.view(slot) if slot is not None else None
        with self._lock:
            if slot is None or pixels is None:
                camera.consumed += 1
                self._synchroniser.counters[header.camera_id].stale += 1
                return
            if slot.pid != camera.pid:
                if camera.pid:
                    self._reader.forget(camera.pid)
                camera.pid = slot.pid
            frame = SlotFrame(
                camera_id=header.camera_id,
                sequence=header.sequence,
                capture_time_ns=header.capture_time_ns - self._rig[header.camera_id].time_offset_ns,
                grab_time_ns=header.grab_time_ns,
                publish_time_ns=header.publish_time_ns,
                pixels=pixels,
                intact=lambda: self._reader.intact(slot),
                slot=slot,
            )
            self._synchroniser.add(frame, time.monotonic_ns())

    def _store(self, camera: _Camera, header: FrameHeader, payload: memoryview) -> SlotRef | None:
        """Put a frame from the network into this host's shared memory; None where it is damaged."""
        lens = self._rig[header.camera_id].camera
        shape = (lens.height, lens.width, 3)
        data = np.frombuffer(payload, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if header.encoding == "jpeg" and len(data) else data
        if image is None or image.size != np.prod(shape):
            camera.undecodable += 1
            return None
        if camera.ingress is None:
            camera.ingress = RingWriter(lens.height, lens.width, _INGRESS_SLOTS)
        with camera.ingress.write() as (pixels, slot):
            np.copyto(pixels, image.reshape(shape))
        return slot

    def _status(self, status: CameraStatus) -> None:
        camera = self._cameras.get(status.camera_id)
        if camera is None:
            return
        with self._lock:
            camera.heard = time.monotonic()
            if status.next_capture_time_ns is not None:
                offset_ns = self._rig[status.camera_id].time_offset_ns
                self._synchroniser.announce(status.camera_id, status.next_capture_time_ns - offset_ns)
            before, camera.status = camera.status.state, status
            if status.state == before:
                return
            if status.state == "streaming":
                self._synchroniser.starts(status.camera_id)
            elif status.state != "starting" and not (self._settings.lossless and status.state == "stalled"):
                self._synchroniser.stops(status.camera_id)

    def _note_silence(self) -> None:
        """A grabber that says nothing is gone: its camera is lost until it speaks again."""
        now = time.monotonic()
        for camera_id, camera in self._cameras.items():
            silent = now - camera.heard > _SILENT_S
            if silent and camera.status.state not in ("lost", "ended", "starting") and not self._settings.lossless:
                log.warning("camera %s: its grabber is silent", camera_id)
                with self._lock:
                    camera.status = msgspec.structs.replace(camera.status, state="lost", detail="its grabber is silent")
                    self._synchroniser.stops(camera_id)

    def _close_sets(self) -> None:
        with self._lock:
            while (frame_set := self._synchroniser.pop(time.monotonic_ns())) is not None:
                if not self._settings.lossless:
                    while self._sets:
                        self._synchroniser.discard(self._sets.popleft())
                self._sets.append(frame_set)
                self._lock.notify()

    def _send_pace(self, publisher: Publisher) -> None:
        with self._lock:
            statuses = [camera.status for camera in self._cameras.values()]
            if self._pace is None:
                firsts = [
                    status.first_capture_time_ns for status in statuses if status.state not in ("ended", "failed")
                ]
                if not self._released or None in firsts or not firsts:
                    return
                origin = min(first for first in firsts if first is not None)
                self._pace = Pace(time.monotonic_ns() + 50_000_000, origin, {})
            allowed = {
                camera_id: camera.consumed + camera.status.corrupt + camera.undecodable + _IN_FLIGHT
                for camera_id, camera in self._cameras.items()
            }
        if allowed != self._pace.allowed or time.monotonic() - self._paced_at > _PACE_S:
            self._pace.allowed = allowed
            self._paced_at = time.monotonic()
            publisher.send(self._pace)

    def _answer(self, request: dict) -> dict:
        """What a remote grabber asks: the clock, or how its camera is opened."""
        answer = {"number": request.get("number")}
        if request.get("do") == "clock":
            return {**answer, **answer_clock()}
        if request.get("do") == "camera":
            camera_id = request.get("camera_id")
            if camera_id not in self._rig.camera_ids:
                return {
                    **answer,
                    "error": f"the rig has no camera `{camera_id}`; it has {', '.join(self._rig.camera_ids)}",
                }
            camera = self._rig[camera_id]
            size = [camera.camera.width, camera.camera.height]
            return {**answer, "source": source_to_data(camera.source), "image_size": size}
        return {**answer, "error": f"unknown request `{request.get('do')}`"}


class _Sockets:
    """The intake's ends, made and closed in its own thread."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder, answer) -> None:
        self.subscribers: list[Subscriber] = []
        self.servers: list[CommandServer] = []
        local = Subscriber()
        for camera in rig.cameras:
            local.connect(folder.frames_address(camera.camera_id))
        self.subscribers.append(local)
        self.pace = Publisher()
        self.pace.bind(folder.pace_address)
        if settings.listen:
            keys = Keys(Path(settings.keys)) if settings.keys else None
            remote = Subscriber(keys=keys)
            self.subscribers.append(remote)
            bound = remote.bind(settings.listen)
            self.servers.append(CommandServer(next_port(bound), answer, keys))
            log.info("remote grabbers may connect to %s", bound)

    def __enter__(self) -> "_Sockets":
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self.subscribers, *self.servers, self.pace):
            end.close()
