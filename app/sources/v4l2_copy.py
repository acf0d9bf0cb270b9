"""USB cameras whose own MJPEG or H.264 is recorded: what the driver gives, not decoded but where it is asked for.

A picture is stamped with the driver's time, and counted as the driver counts, so that one which the driver lost is
known. The driver's buffers hold what comes while a picture is decoded.
"""

import errno
import time
from collections import deque
from contextlib import suppress
from typing import Literal, cast

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from app.devices import v4l2
from app.devices.v4l2_stream import DriverPicture, V4l2Stream
from app.sources.camera_jpeg import playable
from app.sources.device_clock import FrameCounter
from app.sources.mode_check import require_size, require_value
from app.sources.opencv import video_node
from app.sources.packet_size import PacketSize
from app.sources.source import CameraPacket, FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import OpenCvSource
from calibration.rig import RigCamera

_CODECS: dict[str, Literal["mjpeg", "h264"]] = {"MJPG": "mjpeg", "JPEG": "mjpeg", "H264": "h264"}
_TOLERANCE = 0.01
# At most as many pictures as the recorder reads behind.
_PACKETS = 64
_OLDEST_NS = 2_000_000_000


class V4l2Copy:
    """A USB camera as it sends its pictures. With `decodes`, `retrieve` gives their pixels; else only `packets` does.

    Pictures that are none, or that the driver says are damaged, are left out and missing from the sequence.
    """

    def __init__(self, camera: RigCamera, decodes: bool = True) -> None:
        assert isinstance(camera.source, OpenCvSource)
        self._camera, self._source, self._decodes = camera, camera.source, decodes
        self._label = f"camera `{camera.camera_id}`"
        self._device = str(camera.source.device)
        self._stream: V4l2Stream | None = None
        self._codec: Literal["mjpeg", "h264"] = "mjpeg"
        self._size_of = PacketSize("mjpeg", (0, 0)).of
        self._decoder: VideoCodecContext | None = None
        self._decoded: VideoFrame | None = None
        self._counter = FrameCounter()
        self._packets: deque[CameraPacket] = deque(maxlen=_PACKETS)
        self._taken: CameraPacket | None = None

    def open(self) -> Mode:
        self.close()
        node = video_node(self._label, self._device)
        try:
            fourcc = self._wanted_format(node)
            self._stream = stream = V4l2Stream(node, fourcc, self._camera.source_size, self._source.fps)
            mode = self._check_mode(stream, fourcc)
            self._set_controls(stream)
            stream.start()
        except OSError as error:
            self.close()
            raise SourceError(
                f"{self._label}: {self._device} is there but cannot be opened ({error.strerror}): it is no capture "
                "device, another program has it, or you lack the right to it. Close the other program, or join the "
                "group `video`."
            ) from None
        except BaseException:
            self.close()
            raise
        self._codec = _CODECS[fourcc]
        self._size_of = PacketSize(self._codec, stream.size).of
        if self._decodes:
            self._decoder = decoder = cast(VideoCodecContext, VideoCodecContext.create(self._codec, "r"))
            decoder.thread_count = 1
            decoder.flags |= Flags.low_delay
        self._counter.restart()
        return mode

    def grab(self, timeout_s: float) -> Stamp:
        """The newest of what waits; all before it are in `packets` too."""
        if self._stream is None:
            raise SourceLost(f"{self._device} is not open")
        newest, until = None, time.monotonic() + timeout_s
        try:
            # Of a camera whose every picture is damaged there is always a next one.
            while newest is not None or time.monotonic() <= until:
                left_s = until - time.monotonic() if newest is None else 0.0
                if (picture := self._stream.read(left_s)) is None:
                    break
                newest = self._keep(picture) or newest
        except OSError as error:
            why = "was unplugged" if error.errno == errno.ENODEV else f"stopped delivering: {error.strerror}"
            raise SourceLost(f"{self._device} {why}") from None
        if newest is None:
            raise SourceTimeout(f"{self._device}: no frame in {timeout_s:.3g} s")
        self._taken = newest
        return newest.stamp

    def retrieve(self, out: np.ndarray) -> None:
        if self._stream is None or self._taken is None:
            raise SourceLost(f"{self._device} is not open")
        height, width = out.shape[:2]
        if self._taken.size != (width, height):
            old, new = (f"{size[0]}x{size[1]}" for size in ((width, height), self._taken.size))
            raise SourceLost(f"{self._device}: its images changed from {old} to {new}")
        frame = self._decode(self._taken.data) if self._codec == "mjpeg" else self._decoded
        if frame is None or frame.is_corrupt or (frame.height, frame.width) != out.shape[:2]:
            raise FrameCorrupt(f"{self._device}: frame {self._taken.stamp.sequence} could not be decoded")
        np.copyto(out, frame.to_ndarray(format="bgr24"))

    def packets(self) -> list[CameraPacket]:
        """Every picture since the last call, as the camera sent it."""
        taken = list(self._packets)
        self._packets.clear()
        return taken

    def close(self) -> None:
        self._taken = self._decoder = self._decoded = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _wanted_format(self, node: str) -> str:
        had = v4l2.formats(node)
        asked = self._source.fourcc.upper() if self._source.fourcc is not None else None
        if asked is not None and asked not in _CODECS:
            raise SourceError(
                f"{self._label}: its `fourcc` in rig.yaml is {asked}, which cannot be copied. Set MJPG or H264, or "
                "leave `--copy` out."
            )
        for fourcc in _CODECS if asked is None else (asked,):
            if fourcc in had:
                return fourcc
        raise SourceError(
            f"{self._label}: {self._device} has {', '.join(had) or 'no pixel format'}, and of these nothing can be "
            "copied that is asked for: MJPG or H264. Leave `--copy` out."
        )

    def _check_mode(self, stream: V4l2Stream, fourcc: str) -> Mode:
        require_value(self._camera, self._device, "fourcc", fourcc, stream.fourcc)
        require_size(self._camera, self._device, *stream.size)
        if self._source.fps is not None and stream.fps is not None:
            require_value(self._camera, self._device, "fps", self._source.fps, stream.fps, _TOLERANCE)
        rate = f"{stream.fps:.4g} fps" if stream.fps else "a rate that it does not tell"
        width, height = stream.size
        return Mode(width, height, stream.fps, f"{self._device}: {width}x{height} {stream.fourcc} at {rate}, copied")

    def _set_controls(self, stream: V4l2Stream) -> None:
        if self._source.exposure is not None:
            with suppress(OSError):  # a camera that sets none by itself
                stream.set_control("auto_exposure", v4l2.MANUAL_EXPOSURE)
        for name in ("exposure", "gain"):
            value = getattr(self._source, name)
            if value is None:
                continue
            try:
                actual = stream.set_control(name, round(value))
            except OSError:
                raise SourceError(
                    f"{self._label}, {self._device}: asked for {name} {value:g}, but its driver refuses it. Set "
                    f"`{name}` in rig.yaml to a value in its range, or remove it."
                ) from None
            require_value(self._camera, self._device, name, value, float(actual), _TOLERANCE)

    def _keep(self, picture: DriverPicture) -> CameraPacket | None:
        """Stamp a picture; None of one that is left out."""
        arrival_ns = time.monotonic_ns()
        sequence = self._counter.unwrap(picture.sequence)
        data = picture.data
        if picture.damaged or not data:
            return None
        if self._codec == "mjpeg":
            whole = playable(data)
            if whole is None:
                return None
            data, size = whole
        else:
            size = self._size_of(data)
            if self._decodes:
                # Each needs the one before it.
                self._decoded = self._decode(data)
        taken_ns = picture.time_ns
        if taken_ns is None or not 0 <= arrival_ns - taken_ns < _OLDEST_NS:
            taken_ns = arrival_ns
        stamp = Stamp(sequence=sequence, capture_time_ns=taken_ns, grab_time_ns=arrival_ns)
        packet = CameraPacket(stamp, self._codec, data, size)
        self._packets.append(packet)
        return packet

    def _decode(self, data: bytes) -> VideoFrame | None:
        assert self._decoder is not None
        try:
            frames = self._decoder.decode(av.Packet(data))
        except (FFmpegError, OSError, ValueError):
            return None
        return frames[-1] if frames else None
