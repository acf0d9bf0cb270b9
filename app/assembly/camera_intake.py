"""One camera as the intake sees it: its grabber's state, its frames, and what it counts."""

import logging
import time
from dataclasses import dataclass

import cv2
import msgspec
import numpy as np

from app.assembly.frame_dates import FrameDates
from app.assembly.frame_sender import FrameSender
from app.assembly.lane import Counters
from app.run.policy import Policy
from app.sources.jpeg_header import jpeg_size
from app.transport.messages import CameraReport, CameraStatus, FrameHeader
from app.transport.ring import RingReader, RingWriter, SlotRef, ring_slots
from calibration.frames import Frame
from calibration.rig import RigCamera

log = logging.getLogger(__name__)

# Frames from the network until a slot is overwritten, as many as a grabber on this host has.
_INGRESS_SLOTS = 12


@dataclass(frozen=True)
class SlotFrame(Frame):
    """A frame in shared memory, and where, for readers of the poses."""

    slot: SlotRef | None = None


class CameraIntake:
    """What the intake knows of one camera's grabber. `used` counts the frames that the worker needs no more."""

    def __init__(self, camera: RigCamera, policy: Policy, dates: FrameDates, slots: int | None = None) -> None:
        """`slots`: so many frames from the network are kept, for a recording that may be slow."""
        self.status = CameraStatus(camera_id=camera.camera_id, state="starting")
        self.heard_s = time.monotonic()
        self.used = 0
        self.undecodable = 0
        self.dates = dates
        self.sender = FrameSender(camera, policy)
        self.remote = camera.remote
        self._note = ""
        self._camera = camera
        self._pid = 0
        self._slots = slots or _INGRESS_SLOTS
        self._ingress: RingWriter | None = None

    def frame(self, header: FrameHeader, payload: memoryview | None, reader: RingReader) -> SlotFrame | None:
        """The frame of a header, in shared memory; None where it is overwritten or damaged, or its grabber gone.

        The header of a frame from the network says from then on where the frame lies here.
        """
        if payload is not None:
            header.slot = self._store(header, payload)
            header.encoding, header.height, header.width = None, self._camera.camera.height, self._camera.camera.width
        slot = header.slot
        pixels = reader.view(slot) if slot is not None else None
        if slot is None or pixels is None:
            return None
        if slot.pid != self._pid:
            if self._pid:
                reader.forget(self._pid)
            self._pid = slot.pid
        return SlotFrame(
            camera_id=header.camera_id,
            sequence=header.sequence,
            capture_time_ns=header.capture_time_ns - self._camera.time_offset_ns,
            grab_time_ns=header.grab_time_ns,
            publish_time_ns=header.publish_time_ns,
            pixels=pixels,
            intact=lambda: reader.intact(slot),
            slot=slot,
        )

    def _store(self, header: FrameHeader, payload: memoryview) -> SlotRef | None:
        """Put a frame from the network into this host's shared memory; None where it is damaged."""
        lens = self._camera.camera
        shape = (lens.height, lens.width, 3)
        data = np.frombuffer(payload, np.uint8)
        image: np.ndarray | None = data
        if header.encoding == "jpeg":
            fits = jpeg_size(payload) == (lens.width, lens.height)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if fits else None
        if image is None or image.size != np.prod(shape):
            self.undecodable += 1
            return None
        if self._ingress is None:
            fps = getattr(self._camera.source, "fps", None)
            self._ingress = RingWriter(lens.height, lens.width, ring_slots(self._slots, fps, lens.height, lens.width))
        with self._ingress.write() as (pixels, slot):
            np.copyto(pixels, image.reshape(shape))
        return slot

    @property
    def next_time_ns(self) -> int | None:
        """Of a recorded camera that waits for its next frame's time: that time, as frames have it."""
        told = self.status.next_capture_time_ns
        return None if told is None else told - self._camera.time_offset_ns

    def lose(self, detail: str) -> None:
        self.status = msgspec.structs.replace(self.status, state="lost", detail=detail)

    def tell(self, detail: str) -> None:
        self.status = msgspec.structs.replace(self.status, detail=detail)

    def tell_of_times(self, note: str) -> None:
        """What is wrong with the times of its frames, nothing where they are right again."""
        kind = note.partition(" ")[0], bool(note)
        if kind != (self._note.partition(" ")[0], bool(self._note)):
            if note:
                log.warning("camera %s: %s", self._camera.camera_id, note)
            else:
                log.info("camera %s: the times of its frames are right again", self._camera.camera_id)
        self._note = note

    def report(self, counters: Counters, frame: Frame | None) -> CameraReport:
        """The camera's state and counters, and its frame in a set."""
        # A replay's grabbers are ahead of its sets: what is shown is still before the recording's end.
        state = "streaming" if frame and self.status.state == "ended" else self.status.state
        return CameraReport(
            state=state,
            frames=counters.frames,
            dropped=counters.dropped,
            late=counters.late,
            stale=counters.stale,
            corrupt=self.status.corrupt + self.undecodable,
            misdated=counters.misdated,
            detail=self.status.detail or self._note,
            slot=frame.slot if isinstance(frame, SlotFrame) else None,
            sequence=frame.sequence if frame else -1,
            capture_time_ns=frame.capture_time_ns if frame else 0,
        )

    def close(self) -> None:
        if self._ingress is not None:
            self._ingress.close()
