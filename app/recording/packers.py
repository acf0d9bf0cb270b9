"""Frames of a camera into packets for its video: encoded here, or copied as the camera sent them."""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from av.packet import Packet

from app.recording.video_encoder import EncodedImage, VideoEncoder
from app.recording.video_file import RecordedVideo
from app.run.record_settings import RecordSettings
from app.sources.packet_size import nal_units
from app.transport.messages import FrameHeader
from app.transport.ring import RingReader

# NAL unit types of a picture that needs no other, ITU-T H.264, table 7-1.
_IDR_SLICE = 5


class FrameMissed(Exception):
    """The frame cannot be had any more: overwritten, or it needs one that was missed."""


class Packer(Protocol):
    """For images of one size, (width, height)."""

    size: tuple[int, int]

    @property
    def name(self) -> str:
        """Of the codec."""
        ...

    def pack(self, header: FrameHeader, payload: memoryview | None) -> Sequence[EncodedImage]:
        """The packets that are ready with this frame. Raises FrameMissed."""
        ...

    def open_video(self, path: Path) -> RecordedVideo:
        """Raises OSError."""
        ...

    def begin(self) -> None:
        """What is packed from here on must be readable without what was before."""
        ...

    def finish(self) -> Sequence[EncodedImage]:
        """What is still held; nothing is packed before `begin` after this."""
        ...


class EncodingPacker:
    """Reads a grabber's shared memory and encodes."""

    def __init__(self, settings: RecordSettings, size: tuple[int, int], fps: Fraction, reader: RingReader) -> None:
        self.size = size
        self._settings, self._fps, self._reader = settings, fps, reader
        self._pid = 0
        self._encoder = VideoEncoder(settings, size, fps)
        self._fresh = True

    @property
    def name(self) -> str:
        return self._encoder.name

    def begin(self) -> None:
        if not self._fresh:
            self._encoder.close()
            _give_back_memory()
            self._encoder = VideoEncoder(self._settings, self.size, self._fps)
            self._fresh = True

    def pack(self, header: FrameHeader, payload: memoryview | None) -> Sequence[EncodedImage]:
        slot = header.slot
        image = self._reader.view(slot) if slot is not None else None
        if slot is None or image is None:
            raise FrameMissed
        if slot.pid != self._pid:
            self._reader.forget(self._pid)
            self._pid = slot.pid
        frame = self._encoder.prepare(image)
        if not self._reader.intact(slot):
            raise FrameMissed
        self._fresh = False
        return list(self._encoder.submit(frame, header.capture_time_ns))

    def open_video(self, path: Path) -> RecordedVideo:
        return RecordedVideo(path, self._fps, self._encoder.stream, None)

    def finish(self) -> Sequence[EncodedImage]:
        return list(self._encoder.flush())


def _give_back_memory() -> None:
    """What encoders freed in pieces: take after take it would grow by some MB an hour. glibc alone has a way."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class CopyingPacker:
    """Takes the packets that the camera sent. After a gap of an H.264 stream it waits for the next key frame."""

    def __init__(self, codec: str, size: tuple[int, int], fps: Fraction) -> None:
        self._codec, self.size, self._fps = codec, size, fps
        self._sequence: int | None = None

    @property
    def name(self) -> str:
        return self._codec

    def begin(self) -> None:
        self._sequence = None

    def pack(self, header: FrameHeader, payload: memoryview | None) -> Sequence[EncodedImage]:
        if payload is None:
            raise FrameMissed
        packet = Packet(bytes(payload))
        packet.is_keyframe = self._codec == "mjpeg" or has_key_picture(payload)
        follows = self._sequence is not None and header.sequence == self._sequence + 1
        if not (packet.is_keyframe or follows):
            self._sequence = None
            raise FrameMissed
        self._sequence = header.sequence
        return [EncodedImage(packet, header.capture_time_ns)]

    def open_video(self, path: Path) -> RecordedVideo:
        return RecordedVideo(path, self._fps, None, (self._codec, *self.size))

    def finish(self) -> Sequence[EncodedImage]:
        return []


def has_key_picture(data: memoryview | bytes) -> bool:
    """Whether an H.264 packet holds a picture that needs no other."""
    return any(kind == _IDR_SLICE for kind, _ in nal_units(bytes(data)))
