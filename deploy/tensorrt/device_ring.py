"""The ring of one hand on the GPU: `deploy.engines.cloud_rings.CloudRing`, with clouds that never leave the device."""

from collections.abc import Mapping

import numpy as np

from deploy.batches import CLOUDS
from deploy.engines.engine import HandRing
from deploy.tensorrt.cuda import Stream


class DeviceRing(HandRing):
    """`memory` holds T frames of each array of clouds, `frame_bytes` long; the frame with number n lies at n % T."""

    def __init__(
        self, stream: Stream, memory: Mapping[str, int], frame_bytes: Mapping[str, int], frames: int, mirror: np.ndarray
    ) -> None:
        super().__init__(np.zeros(frames, bool), mirror)
        self.memory = memory
        self._stream, self._frame_bytes = stream, frame_bytes

    def push(self, clouds: Mapping[str, int], origin_world_m: np.ndarray) -> None:
        """Queue copies of a frame's clouds, addresses on the GPU by name. Their zero lies at `origin_world_m` (3,)."""
        place = self.count % len(self._present)
        for name in CLOUDS:
            size = self._frame_bytes[name]
            self._stream.copy(self.memory[name] + place * size, clouds[name], size)
        self.add(origin_world_m)

    def copy_window(self, to: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Queue copies of the frames, the oldest first, to addresses on the GPU by name.

        Returns what is on this machine: `origins_m` (T, 3) and `frame_mask` (T,).
        """
        frames = len(self._present)
        oldest = self.count % frames
        for name in CLOUDS:
            size = self._frame_bytes[name]
            self._stream.copy(to[name], self.memory[name] + oldest * size, (frames - oldest) * size)
            if oldest:
                self._stream.copy(to[name] + (frames - oldest) * size, self.memory[name], oldest * size)
        return self.origins_m().astype(np.float32), self._present
