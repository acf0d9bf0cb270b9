"""What a replay has shown: its pose sets and small images, so that the user can go back. Bounded in memory: where it is
full, the oldest images go first, which can be had from the videos again, and then the oldest pose sets."""

import bisect
from collections.abc import Mapping, Sequence

import cv2
import msgspec
import numpy as np

from app.transport.messages import PoseSet, decode, encode
from app.transport.ring import SlotRef

_MOST_BYTES = 256 << 20
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 80]


class Moment(msgspec.Struct, frozen=True):
    """A pose set, and the images of its frames, by slot, as JPEG."""

    message: bytes
    images: Mapping[SlotRef, bytes]

    @property
    def pose_set(self) -> PoseSet:
        message = decode(self.message)
        assert isinstance(message, PoseSet)
        return message

    @property
    def lacks_images(self) -> bool:
        """Whether they were given away."""
        return not self.images

    @property
    def bytes(self) -> int:
        return len(self.message) + sum(map(len, self.images.values()))

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        """As a feed gives it, in the size that was kept."""
        data = self.images.get(slot)
        return None if data is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def poll(self) -> Sequence[PoseSet]:
        return ()


class History:
    """Moments in order of their times on the recording's clock, in `most_bytes`. `forgets`: the oldest are gone."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._moments: list[Moment] = []
        self.times_ns: list[int] = []
        self._bytes = self._without_images = 0
        self.forgets = False

    def __len__(self) -> int:
        return len(self._moments)

    def __getitem__(self, index: int) -> Moment:
        return self._moments[index]

    def add(self, pose_set: PoseSet, images: Mapping[SlotRef, np.ndarray]) -> None:
        """Keep a set and its images; one that is not later than the last is left out."""
        if self.times_ns and pose_set.reference_time_ns <= self.times_ns[-1]:
            return
        kept = {slot: cv2.imencode(".jpg", image, _QUALITY)[1].tobytes() for slot, image in images.items()}
        moment = Moment(encode(pose_set), kept)
        self._moments.append(moment)
        self.times_ns.append(pose_set.reference_time_ns)
        self._bytes += moment.bytes
        if self._bytes > self._most_bytes:
            self._forget()

    def at(self, time_ns: float) -> int:
        """The index of the last moment at or before a time; that of the first, before it."""
        return max(0, bisect.bisect_right(self.times_ns, time_ns) - 1)

    def _forget(self) -> None:
        """An eighth at a time: to take one off the front costs as much as to take many."""
        wanted = self._most_bytes * 7 // 8
        while self._bytes > wanted and self._without_images < len(self._moments) - 1:
            moment = self._moments[self._without_images]
            self._moments[self._without_images] = bare = Moment(moment.message, {})
            self._bytes -= moment.bytes - bare.bytes
            self._without_images += 1
        gone = 0
        while self._bytes > wanted and gone < len(self._moments) - 1:
            self._bytes -= self._moments[gone].bytes
            gone += 1
        del self._moments[:gone], self.times_ns[:gone]
        self._without_images = max(0, self._without_images - gone)
        self.forgets = self.forgets or gone > 0
