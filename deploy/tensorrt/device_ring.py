"""The ring of one hand on the GPU: `deploy.engines.cloud_rings.CloudRing`, with clouds that never leave the device."""

from collections.abc import Mapping

import numpy as np

from deploy.batches import CloudWindow
from deploy.tensorrt.cuda import Stream

CLOUDS = CloudWindow._fields[:4]
"""The arrays of a window that come from stage 1."""


class DeviceRing:
    """The newest T frames of one hand. `frame_bytes`: the size of each array of a frame; `mirror` as of HandRings."""

    def __init__(self, stream: Stream, frames: int, frame_bytes: Mapping[str, int], mirror: np.ndarray) -> None:
        self.mirror = mirror
        self._stream, self._frame_bytes = stream, frame_bytes
        self._memory = {name: stream.device_memory(frames * frame_bytes[name]) for name in CLOUDS}
        self._origins_world_m = np.zeros((frames, 3))
        self._there = np.zeros(frames, bool)
        self._newest = frames - 1
        self.count = 0

    def clear(self, mirror: np.ndarray) -> None:
        """For another hand."""
        self.mirror = mirror
        self._there[:] = False

    def push(self, clouds: Mapping[str, int], origin_world_m: np.ndarray) -> None:
        """Queue copies of a frame's clouds, addresses on the GPU by name. Their zero lies at `origin_world_m` (3,)."""
        self._newest = (self._newest + 1) % len(self._there)
        for name in CLOUDS:
            size = self._frame_bytes[name]
            self._stream.copy(self._memory[name] + self._newest * size, clouds[name], size)
        self._origins_world_m[self._newest] = origin_world_m
        self._there[self._newest] = True
        self.count += 1

    def miss(self) -> None:
        """Add a frame without the hand."""
        self._newest = (self._newest + 1) % len(self._there)
        self._there[self._newest] = False
        self.count += 1

    def withdraw(self, frame: int) -> None:
        """That frame, as `count` was after it, showed no hand after all: it stays as one without the hand."""
        age = self.count - frame
        if age < len(self._there):
            self._there[self._newest - age] = False

    def copy_window(self, to: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Queue copies of the frames, the oldest first, to addresses on the GPU by name.

        Returns what is on this machine: `origins_m` (T, 3) re-based to the newest frame, and `frame_mask` (T,).
        """
        frames, first = len(self._there), (self._newest + 1) % len(self._there)
        for name in CLOUDS:
            size = self._frame_bytes[name]
            self._stream.copy(to[name], self._memory[name] + first * size, (frames - first) * size)
            if first:
                self._stream.copy(to[name] + (frames - first) * size, self._memory[name], first * size)
        order = (np.arange(frames) + first) % frames
        there = self._there[order]
        origins_m = (self._origins_world_m[order] - self._origins_world_m[self._newest]) @ self.mirror.T
        origins_m[~there] = 0.0
        return origins_m.astype(np.float32), there
