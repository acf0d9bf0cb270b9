"""The last seconds of a camera, encoded, for takes that begin before they are asked for."""

from collections import deque

from app.recording.video_encoder import EncodedImage


class PreRoll:
    """Keeps at least the last `seconds`, from a key frame on, but at most `most_bytes`."""

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._span_ns, self._most_bytes = round(seconds * 1e9), most_bytes
        self._kept: deque[EncodedImage] = deque()
        self._bytes = 0

    def add(self, image: EncodedImage) -> None:
        self._kept.append(image)
        self._bytes += image.packet.size
        while self._bytes > self._most_bytes or self._begins_too_early():
            self._forget_group()

    def _begins_too_early(self) -> bool:
        """Whether the second key frame that is kept is old enough to begin with."""
        keys = (image for image in self._kept if image.is_key)
        next(keys, None)
        second = next(keys, None)
        return second is not None and second.time_ns <= self._kept[-1].time_ns - self._span_ns

    def _forget_group(self) -> None:
        """Up to the next key frame: what follows cannot be decoded without it."""
        while self._kept:
            self._bytes -= self._kept.popleft().packet.size
            if self._kept and self._kept[0].is_key:
                return

    def take(self) -> list[EncodedImage]:
        """All that is kept, oldest first; none is kept any more."""
        taken = list(self._kept)
        self._kept.clear()
        self._bytes = 0
        return taken
