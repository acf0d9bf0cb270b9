"""A video that is being recorded: a Matroska file of which all but the newest frame is on the disk at any moment.

Every frame is a cluster of its own, which the muxer writes when the next one begins. A file that is cut short anywhere
is read up to its last whole cluster; nothing has to be added at its end.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

# A cluster per frame: FFmpeg closes one that lasts longer than this, and gives it to the file at once.
_OPTIONS = {"cluster_time_limit": "0", "flush_packets": "1"}


class _CountedFile:
    """A file that counts what was written to it, and raises what the disk says at once: nothing is buffered here."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.written = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            try:
                count = os.write(self._fd, left)
            except OSError as error:
                self.failure = error
                raise
            self.written += count
            left = left[count:]
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def release(self) -> None:
        os.close(self._fd)


@contextmanager
def _system_errors(file: _CountedFile) -> Iterator[None]:
    """FFmpeg says only that a write failed; the file knows why."""
    try:
        yield
    except (FFmpegError, OSError) as error:
        raise (file.failure or OSError(str(error))) from None


class RecordedVideo:
    """Packets into a new file; `frames` of them, of which `safe` survive this process.

    The frames lie evenly at `fps` in the file: their true times are the session's. Raises OSError where the disk does
    not take them, and FileExistsError.
    """

    def __init__(self, path: Path, fps: Fraction, template: Stream | None, copied: tuple[str, int, int] | None) -> None:
        """Of packets of the encoder of `template`, or `copied` from a camera: (codec, width, height)."""
        self.path = path
        self._fps = fps
        self._file = _CountedFile(path)
        self._container = av.open(self._file, "w", format="matroska", options=_OPTIONS)  # pyright: ignore[reportArgumentType]
        if template is not None:
            self._stream: Stream = self._container.add_stream_from_template(template)
        else:
            assert copied is not None
            codec, width, height = copied
            self._stream = self._container.add_mux_stream(codec, rate=fps, width=width, height=height)
        self.frames = self.safe = 0

    @property
    def bytes(self) -> int:
        return self._file.written

    def write(self, packet: Packet) -> None:
        packet.stream = self._stream
        packet.time_base = 1 / self._fps
        packet.pts = packet.dts = self.frames
        before = self._file.written
        with _system_errors(self._file):
            self._container.mux(packet)
        if self._file.written > before:
            self.safe = self.frames
        self.frames += 1

    def sync(self) -> None:
        """Have what was written on the disk itself, so that a power loss leaves it."""
        self._file.sync()

    def close(self) -> None:
        """Finish the file. What does not fit on the disk any more is lost, and OSError raised; the rest can be read."""
        try:
            with _system_errors(self._file):
                self._container.close()
            self.safe = self.frames
            self._file.sync()
        finally:
            self._file.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
