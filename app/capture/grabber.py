"""The grabber process: one camera, opened, kept open, stamped and published.

Listens to: Pace (recorded cameras only).
Emits: FrameHeader for every frame, CameraStatus on every change and every half second.

Pixels go into the grabber's shared-memory ring, or after the header over the network. It waits for no reader. A camera
that is lost, or cannot be opened, is looked for until the process is told to end.
"""

import logging
import os
import secrets
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol

import cv2

from app.capture.any_size import AnySizeSource
from app.run.logs import without_passwords
from app.run.policy import ReplayPolicy
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.sources import make_source
from app.sources.source import (
    EndOfSource,
    FrameCorrupt,
    Mode,
    Source,
    SourceError,
    SourceLost,
    SourceTimeout,
    Stamp,
    packets_of,
)
from app.transport.messages import CameraState, CameraStatus, FrameHeader, Pace
from app.transport.ring import RingWriter, ring_slots
from app.transport.sockets import Publisher, Subscriber, wait
from calibration.rig import Rig

log = logging.getLogger(__name__)

# Of a camera's own packets that wait for the recorder.
_PACKETS = 64
# At most; how soon the word to end is heard.
_GRAB_S = 0.2
# Of corrupt frames in a row not each is told in the log.
_SAID_S = 10.0


@dataclass(frozen=True)
class GrabberTuning:
    """`slots` of frames until one is overwritten: at 30 Hz 0.4 s, more than a set waits and an estimate takes; a faster
    camera has more (`ring_slots`).

    `status_s`: a state is told again after so long, in seconds, for those who come later; a policy's `silent_s` is five
    times that. `stalled_s`: a camera without a frame, or with corrupt ones alone, for so long is stalled. `retry_s`: a
    lost one is looked for so often.
    """

    slots: int = 12
    status_s: float = 0.5
    stalled_s: float = 1.0
    retry_s: float = 0.5


class Output(Protocol):
    """Where frames and states go: the same host's readers, or a worker over the network."""

    clock_offset_ns: int
    clock_error_ns: int

    def open(self, mode: Mode) -> None: ...

    def frame(self, source: Source, header: FrameHeader) -> None:
        """Retrieve the grabbed frame and publish it. Raises what `retrieve` raises; then nothing is published."""
        ...

    def status(self, status: CameraStatus) -> None: ...

    def close(self) -> None: ...


class LocalOutput:
    """Pixels into shared memory, headers to the readers on this host."""

    clock_offset_ns = 0
    clock_error_ns = 0

    def __init__(
        self, address: str, slots: int = GrabberTuning().slots, packets: str | None = None, pixels: bool = True
    ) -> None:
        """With `packets`, the camera's own packets are published there; without `pixels`, only they."""
        self._publisher = Publisher()
        self._publisher.bind(address)
        self._packets = None
        self._pixels = pixels
        if packets is not None:
            self._packets = Publisher(_PACKETS)
            self._packets.bind(packets)
        self._slots = slots
        self._ring: RingWriter | None = None

    def open(self, mode: Mode) -> None:
        if self._ring is None or (self._ring.height, self._ring.width) != (mode.height, mode.width):
            self._close_ring()
            slots = ring_slots(self._slots, mode.fps, mode.height, mode.width)
            self._ring = RingWriter(mode.height, mode.width, slots)

    def frame(self, source: Source, header: FrameHeader) -> None:
        assert self._ring is not None
        if self._packets is not None:
            self._send_packets(self._packets, source, header)
        if not self._pixels:
            return
        with self._ring.write() as (pixels, slot):
            source.retrieve(pixels)
        header.slot, header.height, header.width = slot, slot.height, slot.width
        header.publish_time_ns = time.monotonic_ns()
        self._publisher.send(header)

    def status(self, status: CameraStatus) -> None:
        self._publisher.send(status)
        if self._packets is not None:
            self._packets.send(status)

    def _send_packets(self, packets: Publisher, source: Source, header: FrameHeader) -> None:
        for packet in packets_of(source):
            told = FrameHeader(
                camera_id=header.camera_id,
                sequence=packet.stamp.sequence,
                capture_time_ns=packet.stamp.capture_time_ns,
                grab_time_ns=packet.stamp.grab_time_ns,
                publish_time_ns=time.monotonic_ns(),
                width=packet.size[0],
                height=packet.size[1],
                encoding=packet.codec,
            )
            packets.send(told, packet.data)

    def _close_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def close(self) -> None:
        self._publisher.close()
        if self._packets is not None:
            self._packets.close()
        self._close_ring()


class Pacer:
    """Holds recorded frames back to the recording's timing and to what the worker allows."""

    def __init__(self, camera_id: str, address: str, recorded_timing: bool) -> None:
        self._camera_id = camera_id
        self._recorded_timing = recorded_timing
        self._subscriber = Subscriber()
        self._subscriber.connect(address)
        self._pace: Pace | None = None
        self._count = 0

    def may_send(self, stamp: Stamp) -> bool:
        """Wait a little; True when the frame's time has come."""
        for message, _ in self._subscriber.receive():
            if isinstance(message, Pace):
                self._pace = message
        pace = self._pace
        if pace is None or self._count >= pace.allowed.get(self._camera_id, 0):
            wait([self._subscriber], [], _GRAB_S)
            return False
        if self._recorded_timing or pace.speed == 0:
            left_ns = stamp.capture_time_ns - pace.position_ns(time.monotonic_ns())
            left_s = left_ns / 1e9 / pace.speed if pace.speed else _GRAB_S
            if left_ns > 0 and left_s >= _GRAB_S:
                wait([self._subscriber], [], _GRAB_S)
                return False
            if left_ns > 0:
                stop.wait(left_s)
        self._count += 1
        return True

    def close(self) -> None:
        self._subscriber.close()


class Grabber:
    """Runs one source until told to stop."""

    def __init__(
        self,
        camera_id: str,
        source: Source,
        output: Output,
        pacer: Pacer | None = None,
        tuning: GrabberTuning = GrabberTuning(),
    ) -> None:
        self._tuning = tuning
        self._camera_id = camera_id
        self._source = source
        self._output = output
        self._pacer = pacer
        self._state: CameraState = "starting"
        self._detail = ""
        self._said: set[str] = set()
        self._corrupt = self._lost = 0
        self._sequence = -1
        self._first_time_ns: int | None = None
        self._next_time_ns: int | None = None
        self._times: deque[int] = deque(maxlen=31)
        self._status_at = 0.0
        self._sender = secrets.randbits(62) + 1

    def run(self) -> None:
        """Open, read, reopen, until the process is asked to end."""
        try:
            while not stop.is_set():
                try:
                    mode = self._source.open()
                    self._output.open(mode)
                except SourceError as error:
                    self._source.close()
                    self._change("lost" if self._lost else "failed", str(error))
                    self._pause(self._tuning.retry_s)
                    continue
                log.info("camera %s: opened, %s", self._camera_id, mode.description)
                try:
                    self._read()
                except SourceLost as error:
                    self._lost += 1
                    self._change("lost", f"{error}; looking for it again")
                    self._source.close()
                    self._pause(self._tuning.retry_s)
                except EndOfSource:
                    self._change("ended", "the recording ended")
                    while not stop.is_set():
                        self._pause(self._tuning.status_s)
        finally:
            self._source.close()
            self._output.close()
            if self._pacer is not None:
                self._pacer.close()

    def _read(self) -> None:
        heard, said = time.monotonic(), float("-inf")
        corrupt_since: float | None = None
        while not stop.is_set():
            self._tick()
            try:
                stamp = self._source.grab(_GRAB_S)
            except SourceTimeout:
                if time.monotonic() - heard > self._tuning.stalled_s:
                    self._change("stalled", "no frame for more than a second")
                continue
            heard = time.monotonic()
            if stamp.recorded and self._pacer is not None:
                stamp = self._paced(stamp)
                if stop.is_set():
                    return
            try:
                self._publish(stamp)
            except FrameCorrupt as error:
                self._corrupt += 1
                if heard - said > _SAID_S:
                    said = heard
                    log.warning(
                        "camera %s: frame %d is corrupt and was left out: %s", self._camera_id, stamp.sequence, error
                    )
                corrupt_since = heard if corrupt_since is None else corrupt_since
                if heard - corrupt_since > self._tuning.stalled_s:
                    self._change("stalled", "every frame is corrupt for more than a second; the log says how")
                continue
            corrupt_since = None
            self._change("streaming", "")

    def _paced(self, stamp: Stamp) -> Stamp:
        """Wait until the recorded frame's time has come; it is grabbed then, as a camera's frame would be."""
        assert self._pacer is not None
        if self._first_time_ns is None:
            self._first_time_ns = stamp.capture_time_ns
            self._send_status()
        while not self._pacer.may_send(stamp) and not stop.is_set():
            if self._next_time_ns is None:
                self._next_time_ns = stamp.capture_time_ns
                self._send_status()
            self._tick()
        self._next_time_ns = None
        return replace(stamp, grab_time_ns=time.monotonic_ns())

    def _publish(self, stamp: Stamp) -> None:
        offset = self._output.clock_offset_ns
        header = FrameHeader(
            camera_id=self._camera_id,
            sequence=stamp.sequence,
            capture_time_ns=stamp.capture_time_ns + (0 if stamp.recorded else offset),
            grab_time_ns=stamp.grab_time_ns + offset,
            publish_time_ns=0,
            width=0,
            height=0,
            recorded=stamp.recorded,
            sender=self._sender,
            line=stamp.line,
        )
        self._sequence = stamp.sequence
        self._times.append(stamp.capture_time_ns)
        self._output.frame(self._source, header)
        pulse.work()

    def _change(self, state: CameraState, detail: str) -> None:
        detail = without_passwords(detail)  # it is published, and the summary has it
        if (state, detail) == (self._state, self._detail):
            return
        if state == "streaming":
            self._said.clear()
        # Why it is not there may change, as of one that comes back with images of another size: each is said once.
        if state != self._state or detail not in self._said:
            self._said.add(detail)
            level = logging.INFO if state in ("streaming", "ended") else logging.WARNING
            log.log(level, "camera %s: %s%s", self._camera_id, state, f": {detail}" if detail else "")
        self._state, self._detail = state, detail
        self._send_status()

    def _tick(self) -> None:
        pulse.beat()
        if time.monotonic() - self._status_at >= self._tuning.status_s:
            self._send_status()

    def _pause(self, seconds: float) -> None:
        self._tick()
        stop.wait(seconds)

    def _send_status(self) -> None:
        self._status_at = time.monotonic()
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0
        self._output.status(
            CameraStatus(
                camera_id=self._camera_id,
                state=self._state,
                detail=self._detail,
                pid=os.getpid(),
                corrupt=self._corrupt,
                lost=self._lost,
                fps=(len(self._times) - 1) * 1e9 / span if span > 0 else None,
                last_sequence=self._sequence,
                first_capture_time_ns=self._first_time_ns,
                next_capture_time_ns=self._next_time_ns,
                clock_offset_ns=self._output.clock_offset_ns,
                clock_error_ns=self._output.clock_error_ns,
                date_ns=time.time_ns(),
                sender=self._sender,
            )
        )


def main() -> int:
    """Grab one camera of a run: started by the supervisor."""
    parser = process_parser()
    parser.add_argument("camera_id")
    args = parser.parse_args()

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        cv2.setNumThreads(1)
        alone = settings.record is not None and settings.record.alone
        make = AnySizeSource if alone else make_source
        copies = settings.record is not None and settings.record.codec == "copy"
        source = make(rig[args.camera_id], rig, copies, not (copies and alone))
        pacer = None
        if isinstance(settings.policy, ReplayPolicy):
            pacer = Pacer(args.camera_id, folder.pace_address, settings.policy.pace == "recorded")
        slots = settings.record.slots if settings.record is not None else GrabberTuning().slots
        packets = folder.packets_address(args.camera_id) if copies else None
        output = LocalOutput(folder.frames_address(args.camera_id), slots, packets, not (copies and alone))
        Grabber(args.camera_id, source, output, pacer).run()
        return 0

    return run_process(f"grabber[{args.camera_id}]", args, work)


if __name__ == "__main__":
    sys.exit(main())
