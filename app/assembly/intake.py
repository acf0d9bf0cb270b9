"""The worker's intake: headers and frames from the grabbers, camera states, and closed frame sets for the estimator.

A thread of its own drains the sockets, so that sets close on time while the estimator works. In live use the estimator
finds the newest set only; in replay every one, and the grabbers are told how far they may run ahead.
"""

import logging
import threading
import time
from collections import deque

from app.assembly.camera_intake import CameraIntake
from app.assembly.frame_dates import frame_dates
from app.assembly.intake_sockets import IntakeSockets, Pacing
from app.assembly.published_sets import make_synchroniser
from app.run.policy import ReplayPolicy
from app.run.settings import RunFolder, RunSettings
from app.transport.messages import CameraReport, CameraStatus, FrameHeader
from app.transport.ring import RingReader
from app.transport.sockets import wait
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig

log = logging.getLogger(__name__)

_POLL_S = 0.05
# So many times as long as a grabber is silent, its camera's opening may last until it is told.
_BEGINS = 4


class Intake:
    """See the module. `take`, `done` and `reports` are called from the estimator's thread."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        self._rig = rig
        self._settings = settings
        self._folder = folder
        self._policy = settings.policy
        slots = settings.record.slots if settings.record else None
        dates = frame_dates(rig, self._policy)
        self._cameras = {
            camera.camera_id: CameraIntake(camera, self._policy, dates[camera.camera_id], slots)
            for camera in rig.cameras
        }
        self._synchroniser = make_synchroniser(rig, self._policy, settings.phases_ns)
        self._pacing = Pacing(self._policy) if isinstance(self._policy, ReplayPolicy) else None
        self._reader = RingReader()
        self._lock = threading.Condition()
        self._sets: deque[FrameSet] = deque()
        self._released = False
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._reader.close()
        for camera in self._cameras.values():
            camera.close()

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
            now_ns = time.monotonic_ns()
            stale = [camera_id for camera_id, frame in frame_set.frames.items() if self._is_stale(frame, now_ns)]
            if not stale:
                return frame_set
            self._synchroniser.discard(frame_set, stale, stale=True)
        return frame_set.without(stale)

    def _is_stale(self, frame: Frame, now_ns: int) -> bool:
        """By when it was grabbed or, as a network may hold a frame back before that, by when it was taken."""
        if self._policy.waits_for_all:
            return False
        return min(frame.grab_time_ns, frame.capture_time_ns) < now_ns - self._policy.max_age_ms * 1e6

    def done(self, frame_set: FrameSet) -> None:
        """The set's frames are not needed any more."""
        with self._lock:
            for camera_id in frame_set.frames:
                self._cameras[camera_id].used += 1

    @property
    def ended(self) -> bool:
        """Nothing more comes of any camera, and every set was taken."""
        with self._lock:
            over = all(camera.status.state in self._policy.over_states for camera in self._cameras.values())
            return over and not self._sets and self._synchroniser.empty

    def reports(self, frame_set: FrameSet | None) -> dict[str, CameraReport]:
        """Each camera's state and counters, and its frame in this set."""
        frames = frame_set.frames if frame_set else {}
        with self._lock:
            self._note_times()
            counters = self._synchroniser.counters
            return {
                camera_id: camera.report(counters[camera_id], frames.get(camera_id))
                for camera_id, camera in self._cameras.items()
            }

    def _run(self) -> None:
        try:
            with IntakeSockets(self._rig, self._settings, self._folder, self._is_grabbed, self._pacing) as sockets:
                while not self._stopped.is_set():
                    self._step(sockets)
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._lock.notify()

    def _step(self, sockets: IntakeSockets) -> None:
        with self._lock:
            wait_ns = self._synchroniser.wait_ns(time.monotonic_ns())
        timeout_s = _POLL_S if wait_ns is None else min(wait_ns / 1e9, _POLL_S)
        wait(sockets.subscribers, sockets.servers, timeout_s)
        for server in sockets.servers:
            server.serve()
        for number, subscriber in enumerate(sockets.subscribers):
            for message, payload in subscriber.receive():
                if isinstance(message, FrameHeader | CameraStatus):
                    taken = self._accept(message, payload, from_network=number > 0)
                    if taken and number > 0:
                        sockets.pass_on(message)
        self._note_silence()
        self._close_sets()
        if self._pacing is not None and self._released:
            with self._lock:
                self._pacing.update(sockets.pace, self._cameras)

    def _is_grabbed(self, camera_id: str) -> bool:
        return self._cameras[camera_id].sender.is_heard

    def _accept(self, message: FrameHeader | CameraStatus, payload: memoryview | None, from_network: bool) -> bool:
        """Returns whether the message is of its camera's grabber, and whole."""
        camera = self._cameras.get(message.camera_id)
        if camera is None or not camera.sender.accepts(message, from_network):
            return False
        if isinstance(message, CameraStatus):
            self._status(message, camera)
            return True
        if from_network != (payload is not None):
            return False
        self._frame(message, payload, camera)
        return True

    def _frame(self, header: FrameHeader, payload: memoryview | None, camera: CameraIntake) -> None:
        now_ns = time.monotonic_ns()
        # Of a frame in the future the sets of all others would be late; its camera's next may be right.
        misdated = camera.dates.refuses(header, now_ns)
        frame = None if misdated else camera.frame(header, payload, self._reader)
        counters = self._synchroniser.counters[header.camera_id]
        with self._lock:
            if frame is not None and not self._is_stale(frame, now_ns):
                self._synchroniser.add(frame, time.monotonic_ns())
                return
            camera.used += 1
            if misdated:
                counters.misdated += 1
            else:
                counters.stale += 1
            if not self._policy.waits_for_all:
                self._synchroniser.stops(header.camera_id)

    def _status(self, status: CameraStatus, camera: CameraIntake) -> None:
        with self._lock:
            camera.heard_s = time.monotonic()
            before, camera.status = camera.status.state, status
            if camera.next_time_ns is not None:
                self._synchroniser.announce(status.camera_id, camera.next_time_ns)
            if status.state == before:
                return
            if status.state == "streaming":
                self._synchroniser.starts(status.camera_id)
            elif status.state in self._policy.left_states:
                self._synchroniser.stops(status.camera_id)

    def _note_silence(self) -> None:
        """A grabber that says nothing is gone: its camera is lost until it speaks again. Before, it may take longer."""
        now_s, silent_s = time.monotonic(), self._policy.silent_s
        for camera_id, camera in self._cameras.items():
            if camera.status.state == "starting":
                if camera.heard_s < now_s - _BEGINS * silent_s and not camera.status.detail:
                    what = "no grabber of another machine sends it yet" if camera.remote else "it is not opened yet"
                    log.warning("camera %s: %s", camera_id, what)
                    with self._lock:
                        camera.tell(what)
            elif camera.heard_s < now_s - silent_s and camera.status.state not in ("lost", "ended"):
                log.warning("camera %s: its grabber is silent", camera_id)
                with self._lock:
                    camera.lose("its grabber is silent")
                    self._synchroniser.stops(camera_id)

    def _note_times(self) -> None:
        """What is wrong with cameras' times: said in the log once, and in their reports while it is so."""
        notes = self._synchroniser.notes
        for camera_id, camera in self._cameras.items():
            camera.tell_of_times(camera.dates.note or notes.get(camera_id, ""))

    def _close_sets(self) -> None:
        with self._lock:
            while (frame_set := self._synchroniser.pop(time.monotonic_ns())) is not None:
                if self._policy.newest_only and self._sets and len(frame_set.frames) < 2 <= len(self._sets[-1].frames):
                    # No hand is seen in it: it does not take the place of a set in which one is.
                    self._synchroniser.discard(frame_set)
                    continue
                while self._sets and self._policy.newest_only:
                    self._synchroniser.discard(self._sets.popleft())
                self._sets.append(frame_set)
                self._lock.notify()
