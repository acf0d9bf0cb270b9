"""The encoder process of a recording: the frames of one camera into a video.

Listens to: FrameHeader, CameraStatus of its camera; orders of the recorder, which starts it.
Emits: reports to the recorder.

Frames wait in the grabber's shared memory: an encoder that is slow delays nobody, and what is overwritten before it was
encoded is counted as dropped.
"""

import itertools
import logging
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2

from app.recording.encoder_link import EncoderReport, Order, RecorderLink
from app.recording.packers import CopyingPacker, EncodingPacker, FrameMissed, Packer
from app.recording.pre_roll import PreRoll
from app.recording.video_encoder import EncodedImage
from app.recording.video_file import RecordedVideo
from app.run.process import process_parser, start_process
from app.run.settings import RunFolder, RunSettings
from app.transport.messages import CameraState, CameraStatus, FrameHeader
from app.transport.ring import RingReader
from app.transport.sockets import Subscriber, wait
from calibration.errors import UserError, reason_of
from calibration.rig import Rig, RigCamera

log = logging.getLogger(__name__)

_AT_ONCE = 8


@dataclass(frozen=True)
class EncoderTuning:
    """`report_s`: how often is told what is in the file; `sync_s`: how often it is put on the disk itself. Together
    they are the most that a kill or a power loss costs. `usual_fps`: where a camera's rate is not known."""

    poll_s: float = 0.05
    report_s: float = 0.1
    sync_s: float = 0.4
    usual_fps: int = 30


@dataclass(kw_only=True)
class _Writing:
    """A video that was ordered; the file is made with its first frame."""

    path: Path
    video: RecordedVideo | None = None
    last_ns: int = -1
    waiting_ns: deque[int] = field(default_factory=deque)
    told: int = 0
    dropped: int = 0


class CameraEncoder:
    """Writes one camera's frames while it is ordered to."""

    def __init__(self, camera: RigCamera, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.record is not None
        self._settings, self._tuning = settings.record, EncoderTuning()
        self._copies = self._settings.codec == "copy"
        self._fps = _nominal_fps(camera, rig, self._tuning)
        self._size = (camera.camera.width, camera.camera.height)
        # Ordered before the first frame can come: nothing of it is missed.
        self._subscriber = Subscriber(4 * self._settings.slots)
        address = folder.packets_address if self._copies else folder.frames_address
        self._subscriber.connect(address(camera.camera_id))
        self._reader = RingReader()
        self._link = RecorderLink()
        self._packer: Packer | None = None
        self._pre_roll = PreRoll(self._settings.pre_roll_s, self._settings.pre_roll_mb * 10**6)
        self._writing: _Writing | None = None
        self._lock = threading.Lock()
        self._held: deque[tuple[FrameHeader, memoryview | None]] = deque()
        self._sequence: int | None = None
        self._state: CameraState | None = None
        self._line: bool | None = None
        self._reported_at = 0.0

    def run(self) -> None:
        """Until the recorder ends, or closes this process's standard input."""
        threading.Thread(target=self._keep_synced, daemon=True).start()
        self._link.report(EncoderReport(ready=True))
        while True:
            wait([self._subscriber], [], self._tuning.poll_s)
            self._receive(_AT_ONCE)
            while not self._link.orders.empty():
                order = self._link.orders.get()
                # What came before the order belongs to what was before.
                self._receive(self._settings.slots)
                if order is None:
                    self._end()
                    return
                self._obey(order)
            if time.monotonic() - self._reported_at > self._tuning.report_s:
                self._report()

    def _obey(self, order: Order) -> None:
        self._end()
        if order.do != "start":
            return
        self._writing = _Writing(path=Path(order.video))
        self._size = order.size or self._size
        for image in self._pre_roll.take():
            if self._writing is not None:  # else the disk did not take the one before
                self._write(image)
        held, self._held = self._held, deque()
        for header, payload in held:
            self._frame(header, payload)

    def _receive(self, most: int) -> None:
        """At most so many messages: where frames come faster than they are encoded, there are always more."""
        for message, payload in itertools.islice(self._subscriber.receive(), most):
            if isinstance(message, FrameHeader):
                self._count_gap(message)
                self._frame(message, payload)
            elif isinstance(message, CameraStatus):
                self._state = message.state

    def _count_gap(self, header: FrameHeader) -> None:
        """Frames that the camera or its grabber lost, or that never got here."""
        if self._sequence is not None and self._writing is not None and self._writing.video is not None:
            self._writing.dropped += max(0, header.sequence - self._sequence - 1)
        self._sequence, self._line = header.sequence, header.line

    def _frame(self, header: FrameHeader, payload: memoryview | None) -> None:
        if self._writing is None and not self._settings.pre_roll_s:
            return
        if self._size != (header.width, header.height):
            self._hold(header, payload)
            return
        try:
            packed = self._packer_of(header).pack(header, payload)
        except FrameMissed:
            self._drop()
            return
        for image in packed:
            if self._writing is None:
                self._pre_roll.add(image)
            else:
                self._write(image)

    def _packer_of(self, header: FrameHeader) -> Packer:
        packer = self._packer
        if packer is None or packer.size != self._size:
            if self._copies:
                packer = CopyingPacker(header.encoding or "", self._size, self._fps)
            else:
                packer = EncodingPacker(self._settings, self._size, self._fps, self._reader)
            self._packer = packer
        return packer

    def _hold(self, header: FrameHeader, payload: memoryview | None) -> None:
        """The camera's images are of another size: they wait for a video of that size, which the recorder orders."""
        if self._writing is None:
            self._pre_roll.take()
            self._size = (header.width, header.height)
        else:
            self._held.append((header, payload))
            if len(self._held) > self._settings.slots:
                self._held.popleft()
                self._drop()
        if len(self._held) <= 1:
            self._link.report(EncoderReport(size=(header.width, header.height)))

    def _drop(self) -> None:
        if self._writing is not None:
            self._writing.dropped += 1

    def _write(self, image: EncodedImage) -> None:
        writing = self._writing
        assert writing is not None
        if image.time_ns <= writing.last_ns:
            self._drop()
            return
        try:
            if writing.video is None:
                assert self._packer is not None
                with self._lock:
                    writing.video = self._packer.open_video(writing.path)
            writing.video.write(image.packet)
        except OSError as error:  # av.FFmpegError is one
            self._fail(error)
            return
        writing.last_ns = image.time_ns
        writing.waiting_ns.append(image.time_ns)

    def _fail(self, error: OSError) -> None:
        """What is in the file stays; nothing more can be written."""
        writing, self._writing = self._writing, None
        assert writing is not None
        if self._packer is not None:
            self._packer.begin()
        self._report_of(writing, problem=f"{writing.path}: cannot be written ({reason_of(error)})")
        self._close(writing)
        self._report_of(writing, ended=True)

    def _end(self) -> None:
        if self._writing is None:
            return
        if self._packer is not None:
            for image in self._packer.finish():
                if self._writing is not None:
                    self._write(image)
            self._packer.begin()
        writing, self._writing = self._writing, None
        if writing is not None:
            problem = self._close(writing)
            self._report_of(writing, ended=True, problem=problem)

    def _close(self, writing: _Writing) -> str:
        """Returns what went wrong."""
        with self._lock:
            video, closed = writing.video, None
            if video is None:
                return ""
            try:
                video.close()
            except OSError as error:
                closed = error
        return "" if closed is None else f"{writing.path}: could not be finished ({reason_of(closed)})"

    def _report(self) -> None:
        if self._writing is None:
            self._reported_at = time.monotonic()
            self._link.report(EncoderReport(state=self._state, line=self._line))
        else:
            self._report_of(self._writing)

    def _report_of(self, writing: _Writing, ended: bool = False, problem: str = "") -> None:
        self._reported_at = time.monotonic()
        safe = writing.video.safe if writing.video is not None else 0
        times_ns = [writing.waiting_ns.popleft() for _ in range(safe - writing.told)]
        writing.told = safe
        self._link.report(
            EncoderReport(
                video=str(writing.path),
                times_ns=times_ns,
                dropped=writing.dropped,
                bytes=writing.video.bytes if writing.video is not None else 0,
                codec=self._packer.name if self._packer is not None else "",
                state=self._state,
                line=self._line,
                ended=ended,
                problem=problem,
            )
        )

    def _keep_synced(self) -> None:
        """In a thread: a disk that takes its time stops no encoding."""
        while True:
            time.sleep(self._tuning.sync_s)
            with self._lock, suppress(OSError):
                if self._writing is not None and self._writing.video is not None:
                    self._writing.video.sync()


def _nominal_fps(camera: RigCamera, rig: Rig, tuning: EncoderTuning) -> Fraction:
    """The rate that the video states: its frames' true times are the session's."""
    fps = getattr(camera.source, "fps", None) or rig.sync.fps or tuning.usual_fps
    return Fraction(fps).limit_denominator(1001)


def main() -> int:
    """Encode one camera of a run: started by the recorder, and ended by it alone, so that its video is finished."""
    parser = process_parser()
    parser.add_argument("camera_id")
    args = parser.parse_args()
    start_process(f"encoder[{args.camera_id}]")
    cv2.setNumThreads(1)
    folder = RunFolder(args.folder)
    try:
        rig, settings = folder.read()
        CameraEncoder(rig[args.camera_id], rig, settings, folder).run()
    except UserError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
