"""Cameras of a network, by an rtsp, http or udp URL, through PyAV.

A thread reads the stream as it comes, so that nothing queues up, and keeps the newest frame. Where the stream has times
of its own, a frame is stamped with them, put on the host's clock by the frame that came with the least delay
(`DeviceClock`): what the network or a busy machine holds back is then known to be old. JPEG pictures over HTTP have
no times; they are stamped when they have come, before they are decoded, and only those that are taken are decoded. What
remains is the stream's least delay, which belongs in the camera's `time_offset`.
"""

import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.run.logs import without_passwords
from app.sources.device_clock import DeviceClock
from app.sources.mode_check import require_size, require_value
from app.sources.packet_size import PacketSize
from app.sources.source import CameraPacket, FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import OpenCvSource
from calibration.rig import RigCamera

log = logging.getLogger(__name__)

_TOLERANCE = 0.01
# PyAV's flags need its enumerations; FFmpeg's own names do as well. A user's own setting is kept.
_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
_JOIN_S = 1.0
_COPIED = ("mjpeg", "h264")
# The demuxers that count pictures at 25 a second, whatever their rate, as do those of single pictures in a row.
_WITHOUT_TIMES = ("mpjpeg", "mjpeg", "mjpeg_2000", "h264", "hevc", "m4v")
_SINGLE_PICTURES = "_pipe"


@dataclass(frozen=True, kw_only=True)
class StreamTuning:
    """In seconds. `open_s`, `read_s`: after so long without an answer the stream is lost. `skip_s`: what was queued
    while it was opened is skipped for so long at most. `oldest_s`: no network holds frames back for longer; what its
    own times say to be older has wrong times, and these are measured anew. `packets`: so many frames are kept as they
    came, for a recording."""

    open_s: float = 5.0
    read_s: float = 5.0
    skip_s: float = 2.0
    oldest_s: float = 10.0
    packets: int = 64


@dataclass(frozen=True)
class _Newest:
    """What was read last: a packet where each is a whole picture, else a decoded frame."""

    stamp: Stamp
    content: "av.Packet | VideoFrame"


class NetworkStream:
    """A camera whose `device` is a URL. One that `copies` is refused where its codec cannot be recorded as it is;
    without `decodes`, only `packets` gives its pictures, and `retrieve` may not."""

    tuning = StreamTuning()

    def __init__(self, camera: RigCamera, copies: bool = False, decodes: bool = True) -> None:
        assert isinstance(camera.source, OpenCvSource)
        self._camera, self._source = camera, camera.source
        self._copies, self._decodes = copies, decodes
        self._label = f"camera `{camera.camera_id}`"
        self._url = str(camera.source.device)
        self._name = without_password(self._url)
        self._next_sequence = 0
        self._reader: _Reader | None = None
        self._taken: _Newest | None = None
        self._pixel_format = ""

    def open(self) -> Mode:
        self.close()
        for key in ("fourcc", "exposure", "gain"):
            if getattr(self._source, key) is not None:
                raise SourceError(
                    f"{self._label}: `{key}` cannot be set on the stream {self._name}. Remove it from "
                    "rig.yaml and set it in the camera's own configuration."
                )
        if "***" in self._url and without_passwords(self._url) == self._url:
            raise SourceError(
                f"{self._label}: the password of the stream {self._name} was left out when it was recorded. Write it "
                "into `source.device` in rig.yaml."
            )
        container = self._open_container()
        try:
            mode = self._mode_of(container)
        except BaseException:
            container.close()
            raise
        self._reader = _Reader(self._name, container, self._next_sequence, self.tuning, self._copies, self._decodes)
        return mode

    def grab(self, timeout_s: float) -> Stamp:
        if self._reader is None:
            raise SourceLost(f"{self._name} is not open")
        self._taken = self._reader.take(timeout_s)
        return self._taken.stamp

    def retrieve(self, out: np.ndarray) -> None:
        if self._reader is None or self._taken is None:
            raise SourceLost(f"{self._name} is not open")
        frame = self._taken.content
        if isinstance(frame, av.Packet):
            frame = self._reader.decode(frame)
        if frame is None or frame.is_corrupt:
            raise FrameCorrupt(f"{self._name}: frame {self._taken.stamp.sequence} could not be decoded")
        if (frame.height, frame.width) != out.shape[:2]:
            height, width = out.shape[:2]
            raise SourceLost(
                f"{self._name}: its images changed from {width}x{height} to {frame.width}x{frame.height}, and the rig "
                f"is calibrated for {width}x{height}"
            )
        if frame.format.name != self._pixel_format:
            if self._pixel_format:
                log.warning("%s: its pixels changed from %s to %s", self._name, self._pixel_format, frame.format.name)
            self._pixel_format = frame.format.name
        np.copyto(out, frame.to_ndarray(format="bgr24"))

    def packets(self) -> list[CameraPacket]:
        """Every frame since the last call, as the camera sent it, for a recording that copies them."""
        return [] if self._reader is None else self._reader.take_packets()

    def close(self) -> None:
        self._taken = None
        if self._reader is not None:
            self._reader.close()
            # One that nobody read: after a gap a recording waits for a picture that needs no other.
            self._next_sequence = self._reader.next_sequence + 1
            self._reader = None

    def _open_container(self) -> InputContainer:
        told = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", _OPTIONS)
        options = dict(pair.split(";", 1) for pair in told.split("|") if ";" in pair)
        try:
            return av.open(self._url, options=options, timeout=(self.tuning.open_s, self.tuning.read_s))
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{self._label}: the stream {self._name} does not answer within {self.tuning.open_s:g} s or is no "
                f"video ({getattr(error, 'strerror', None) or type(error).__name__}). Check the address, the user and "
                "password in it, and that the camera is on."
            ) from None

    def _mode_of(self, container: InputContainer) -> Mode:
        if not container.streams.video:
            raise SourceError(f"{self._label}: the stream {self._name} has no video. Check the address.")
        stream = container.streams.video[0]
        if self._copies and stream.codec.canonical_name not in _COPIED:
            raise SourceError(
                f"{self._label}: {self._name} sends {stream.codec.canonical_name}, which cannot be copied, as "
                f"{' and '.join(_COPIED)} can. Set one of them in the camera, or leave `--copy` out."
            )
        if not stream.width or not stream.height:
            raise SourceError(
                f"{self._label}: what the stream {self._name} sends cannot be read as pictures. Choose another codec "
                "in the camera; JPEG over HTTP has to say `Content-Type: image/jpeg` before each picture."
            )
        require_size(self._camera, self._name, stream.width, stream.height)
        rate = stream.average_rate or stream.guessed_rate
        # A network stream often states no rate, and its clock's 90000 instead.
        known = rate is not None and 0 < rate < 1000 and _has_times(container)
        fps = float(rate) if known and rate else None
        if self._source.fps is not None and fps is not None:
            require_value(self._camera, self._name, "fps", self._source.fps, fps, _TOLERANCE)
        at = f"at {fps:.4g} fps" if fps else "at a rate that it does not tell"
        return Mode(
            stream.width, stream.height, fps, f"{self._name}: {stream.width}x{stream.height} {stream.name or ''} {at}"
        )


class _Reader:
    """Owns the opened stream and a thread that reads it; where the network blocks, the thread ends by itself later."""

    def __init__(
        self,
        name: str,
        container: InputContainer,
        first_sequence: int,
        tuning: StreamTuning,
        copies: bool,
        decodes: bool,
    ) -> None:
        self._name, self._container, self._tuning = name, container, tuning
        self._copies, self._decodes = copies, decodes
        self.next_sequence = first_sequence
        self._stream: VideoStream = container.streams.video[0]
        # With more threads FFmpeg holds back one frame for each.
        self._stream.codec_context.thread_count = 1
        self._whole_pictures = bool(self._stream.codec.intra_only)
        self._has_times = _has_times(container)
        size = self._stream.width, self._stream.height
        self._packet_size = PacketSize(self._stream.codec.canonical_name, size)
        self._clock = DeviceClock()
        self._changed = threading.Condition()
        self._newest: _Newest | None = None
        self._packets: deque[CameraPacket] = deque(maxlen=tuning.packets)
        self._failure: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"read {name}", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> _Newest:
        """Wait for a frame newer than the one taken last. Raises SourceTimeout and SourceLost."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._failure is not None, timeout_s)
            newest, self._newest = self._newest, None
            if newest is not None:
                return newest
            if self._failure is not None:
                raise SourceLost(self._failure)
        raise SourceTimeout(f"{self._name}: no frame in {timeout_s:.3g} s")

    def take_packets(self) -> list[CameraPacket]:
        with self._changed:
            taken = list(self._packets)
            self._packets.clear()
        return taken

    def _keep_packet(self, packet: av.Packet, stamp: Stamp) -> None:
        if not self._copies:
            return
        codec = "h264" if self._stream.codec.canonical_name == "h264" else "mjpeg"
        data = bytes(packet)
        extra = self._stream.codec_context.extradata or b""
        if codec == "h264" and packet.is_keyframe and extra.startswith(b"\0\0"):
            # The parameter sets came with the stream's description, and belong before its key pictures.
            data = extra + data
        kept = CameraPacket(stamp, codec, data, self._packet_size.of(data))
        with self._changed:
            self._packets.append(kept)

    def decode(self, packet: av.Packet) -> VideoFrame | None:
        """The whole picture of a packet; None where it is damaged. For the thread that takes."""
        try:
            frames = self._stream.codec_context.decode(packet)
        except (FFmpegError, OSError, ValueError):
            return None
        return frames[-1] if frames else None

    def close(self) -> None:
        with self._changed:
            self._stopping = True
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            log.warning("%s: the network still blocks; its thread closes the stream when it returns", self._name)

    def _run(self) -> None:
        why = "stopped delivering: unplugged, or the stream ended"
        try:
            self._read()
        except (FFmpegError, OSError, ValueError) as error:
            why = f"stopped delivering: {getattr(error, 'strerror', None) or error}"
        finally:
            if not self._whole_pictures or self._stopping:
                # A taker may still decode a picture with it; then it is closed with this object.
                self._container.close()
            with self._changed:
                self._failure = f"{self._name} {why}"
                self._changed.notify_all()

    def _read(self) -> None:
        rate = self._stream.average_rate
        usual_s = 0.5 / float(rate) if rate and self._has_times and rate < 1000 else 0.01
        started = before = time.monotonic()
        skips = True
        for packet in self._container.demux(self._stream):
            arrival_ns = time.monotonic_ns()
            if self._stopping:
                return
            if packet.size == 0:  # nothing where a picture should be; after the last one, too
                self.next_sequence += 1
                continue
            if skips:
                # What queued up while the stream was opened comes at once: those frames are old.
                now = arrival_ns / 1e9
                skips = now - before < usual_s and now - started < self._tuning.skip_s
                before = now
            if self._whole_pictures:
                self._keep_packet(packet, self._keep(packet, packet.pts, arrival_ns, skips))
                continue
            if not self._decodes:
                # Where pictures follow in another order than they are shown in, these are the times that rise.
                rising = packet.pts if packet.dts is None else packet.dts
                self._keep_packet(packet, self._keep(packet, rising, arrival_ns, skips))
                continue
            for frame in self._frames(packet):
                self._keep_packet(packet, self._keep(frame, frame.pts, arrival_ns, skips))

    def _frames(self, packet: av.Packet) -> list[VideoFrame]:
        try:
            return list(self._stream.codec_context.decode(packet))
        except (FFmpegError, OSError, ValueError):
            self.next_sequence += 1
            return []

    def _keep(self, content: "av.Packet | VideoFrame", pts: int | None, arrival_ns: int, skipped: bool) -> Stamp:
        taken_ns = self._taken_at_ns(content, pts, arrival_ns)
        stamp = Stamp(sequence=self.next_sequence, capture_time_ns=taken_ns, grab_time_ns=arrival_ns)
        with self._changed:
            self.next_sequence += 1
            if not skipped:
                self._newest = _Newest(stamp, content)
                self._changed.notify_all()
        return stamp

    def _taken_at_ns(self, content: "av.Packet | VideoFrame", pts: int | None, arrival_ns: int) -> int:
        base = content.time_base
        if not self._has_times or pts is None or base is None:
            return arrival_ns
        device_ns = int(pts * base.numerator * 1_000_000_000 // base.denominator)
        taken_ns = self._clock.to_host_ns(device_ns, arrival_ns)
        if arrival_ns - taken_ns > self._tuning.oldest_s * 1e9:
            log.warning("%s: its own times lag by %.0f s; they are measured anew", self._name, self._tuning.oldest_s)
            self._clock = DeviceClock()
            taken_ns = self._clock.to_host_ns(device_ns, arrival_ns)
        return min(taken_ns, arrival_ns)


def _has_times(container: InputContainer) -> bool:
    name = container.format.name
    return name not in _WITHOUT_TIMES and not name.endswith(_SINGLE_PICTURES)


def without_password(url: str) -> str:
    """The URL as it may be shown: `user:***@`."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    account, at, host = authority.rpartition("@")
    user, colon, _ = account.partition(":")
    return url if not at else f"{scheme}{separator}{user}{':***' if colon else ''}@{host}{slash}{path}"
