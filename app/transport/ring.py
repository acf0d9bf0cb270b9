"""Frames in shared memory: one writer, any number of readers on the same host, nobody waits for anybody.

The ring is an anonymous memory file (memfd). Readers open it through /proc/<pid>/fd/<n> of the writer, so it has no
name that could clash or be left behind: it is gone with its last user, however that one ends.

A slot is a 64-byte header and the pixels. The header is a sequence lock (W. Lamport style, as in Linux's seqlock): the
writer sets `begin` before and `end` after writing, a reader that finds both equal to the ticket it was told, before and
after its use, has read a whole frame.
"""

import itertools
import math
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from calibration.found_files import open_found

_KEPT_S = 0.4
_MOST_BYTES = 128_000_000
_HEADER = 64
_ALIGN = 4096
# A process's next ring often has the descriptor of the one before: tickets tell them apart, whose upper bits are the
# number of the ring.
_FRAME_BITS, _RING_BITS = 40, 22
_numbers = itertools.count()


class SlotRef(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Where a frame lies: the writer's process and file, the slot, its ticket, and the image's size."""

    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    fd: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    slot: Annotated[int, msgspec.Meta(ge=0, le=2**20)]
    ticket: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    height: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    width: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    slots: Annotated[int, msgspec.Meta(ge=1, le=2**20)]


def _slot_bytes(height: int, width: int) -> int:
    return -(-(_HEADER + height * width * 3) // _ALIGN) * _ALIGN


def _fence(lock: threading.Lock = threading.Lock()) -> None:  # noqa: B008 - one lock on purpose
    """A full memory barrier: taking and giving back a lock is one on every platform that Python runs on."""
    with lock:
        pass


def ring_slots(least: int, fps: float | None, height: int, width: int) -> int:
    """Of a ring for images of a camera at `fps`, where that is known: so many, and as many as it takes for a frame to
    stay until its set was waited for and estimated, as long as that is not much memory."""
    fitting = _MOST_BYTES // _slot_bytes(height, width)
    return max(least, min(math.ceil(_KEPT_S * (fps or 0.0)), fitting))


class RingWriter:
    """The grabber's end. `slots` bounds how many frames later a slot is overwritten."""

    def __init__(self, height: int, width: int, slots: int = 8) -> None:
        self.height, self.width, self.slots = height, width, slots
        self._stride = _slot_bytes(height, width)
        self._fd = os.memfd_create("usthand-ring", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._fd, self._stride * slots)
            self._map = mmap.mmap(self._fd, self._stride * slots)
        except OSError:
            os.close(self._fd)
            raise
        self._images = [
            np.ndarray((height, width, 3), np.uint8, self._map, slot * self._stride + _HEADER) for slot in range(slots)
        ]
        self._ticket = next(_numbers) % 2**_RING_BITS << _FRAME_BITS

    @contextmanager
    def write(self) -> Iterator[tuple[np.ndarray, SlotRef]]:
        """Give the next slot's image (H, W, 3) to fill and its reference.

        Where the block raises, the slot stays invalid and its reference must not be published.
        """
        self._ticket += 1
        slot = self._ticket % self.slots
        at = slot * self._stride
        struct.pack_into("=QQ", self._map, at, self._ticket, 0)
        _fence()
        yield (
            self._images[slot],
            SlotRef(
                pid=os.getpid(),
                fd=self._fd,
                slot=slot,
                ticket=self._ticket,
                height=self.height,
                width=self.width,
                slots=self.slots,
            ),
        )
        _fence()
        struct.pack_into("=Q", self._map, at + 8, self._ticket)

    def close(self) -> None:
        """Give the memory back. Views handed out must be gone by then, or it stays until they are."""
        if self._fd < 0:
            return
        self._images = []
        os.close(self._fd)
        self._fd = -1
        with suppress(BufferError):
            self._map.close()


class RingReader:
    """A reader of any number of rings; keeps them mapped between frames."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, int], tuple[tuple[int, ...], mmap.mmap]] = {}
        """By process and descriptor: which ring it was, and its memory."""

    def view(self, ref: SlotRef) -> np.ndarray | None:
        """The frame's pixels (H, W, 3), read only, without a copy; None where it is overwritten or its writer gone.

        Copy what is needed, then ask `intact`: the writer does not wait.
        """
        memory = self._open(ref)
        if memory is None or not self._matches(memory, ref):
            return None
        at = ref.slot * _slot_bytes(ref.height, ref.width) + _HEADER
        return np.ndarray((ref.height, ref.width, 3), np.uint8, memory, at)

    def intact(self, ref: SlotRef) -> bool:
        """Whether the slot still holds this frame, whole."""
        memory = self._open(ref)
        return memory is not None and self._matches(memory, ref)

    def _matches(self, memory: mmap.mmap, ref: SlotRef) -> bool:
        _fence()
        tickets = struct.unpack_from("=QQ", memory, ref.slot * _slot_bytes(ref.height, ref.width))
        return tickets == (ref.ticket, ref.ticket)

    def _open(self, ref: SlotRef) -> mmap.mmap | None:
        if ref.slot >= ref.slots:
            return None
        key, ring = (ref.pid, ref.fd), (ref.ticket >> _FRAME_BITS, ref.height, ref.width, ref.slots)
        known, memory = self._maps.get(key, (None, None))
        if memory is None or known != ring:
            self._unmap(key)
            size = _slot_bytes(ref.height, ref.width) * ref.slots
            try:
                with open_found(Path(f"/proc/{ref.pid}/fd/{ref.fd}")) as file:
                    memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
            except (OSError, ValueError):
                return None
            self._maps[key] = ring, memory
        return memory

    def _unmap(self, key: tuple[int, int]) -> None:
        if key in self._maps:
            with suppress(BufferError):
                self._maps.pop(key)[1].close()

    def forget(self, pid: int) -> None:
        """Unmap the rings of a process that ended."""
        for key in [key for key in list(self._maps) if key[0] == pid]:
            self._unmap(key)

    def close(self) -> None:
        for pid in {key[0] for key in list(self._maps)}:
            self.forget(pid)
