"""A camera's own clock and frame counter, put on the host's."""

import itertools

_BUCKET_NS = 1_000_000_000
_BUCKETS = 30
# Crystals drift by some tens of parts per million; a steeper slope is noise.
_MAX_DRIFT = 500e-6


class DeviceClock:
    """Maps a camera's time stamps to the host's monotonic clock, from when its frames arrive.

    A frame arrives later than it was stamped by the clocks' offset and a delay that is never negative and often near
    its least. So the offset is a straight line under all delays, steep by the clocks' drift: the edge, over their
    middle, of the lower convex hull of each second's least delay over the last half minute. S. Moon, P. Skelly and
    D. Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999. What remains is
    the least delay (exposure, readout and transfer), constant for a camera: it belongs in its `time_offset`.
    """

    def __init__(self) -> None:
        self._least: list[tuple[int, int]] = []
        self._bucket = 0
        self._drift = 0.0
        self._origin = (0, 0)
        self._last_device_ns: int | None = None
        self._last_host_ns = 0

    def to_host_ns(self, device_ns: int, arrival_ns: int) -> int:
        """The host's time of a frame stamped `device_ns` that arrived at `arrival_ns`; rises from call to call.

        A device time that does not rise means that the device's clock was reset: the estimate starts again.
        """
        if self._last_device_ns is not None and device_ns <= self._last_device_ns:
            self._least, self._drift = [], 0.0
        self._last_device_ns = device_ns
        delay_ns = arrival_ns - device_ns
        bucket = device_ns // _BUCKET_NS
        if not self._least:
            self._least, self._origin = [(device_ns, delay_ns)], (device_ns, delay_ns)
        elif bucket != self._bucket:
            self._fit()
            self._least = [*self._least[-_BUCKETS:], (device_ns, delay_ns)]
        elif delay_ns - self._line_ns(device_ns) < self._least[-1][1] - self._line_ns(self._least[-1][0]):
            self._least[-1] = (device_ns, delay_ns)
        self._bucket = bucket
        if delay_ns < self._line_ns(device_ns):
            self._origin = (device_ns, delay_ns)
        self._last_host_ns = max(device_ns + self._line_ns(device_ns), self._last_host_ns + 1)
        return self._last_host_ns

    def _line_ns(self, device_ns: int) -> int:
        return self._origin[1] + round(self._drift * (device_ns - self._origin[0]))

    def _fit(self) -> None:
        hull: list[tuple[int, int]] = []
        for point in self._least:
            while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
                hull.pop()
            hull.append(point)
        self._origin = hull[-1]
        if hull[-1][0] - hull[0][0] < 2 * _BUCKET_NS:
            return
        middle_ns = (hull[0][0] + hull[-1][0]) / 2
        left, right = next(edge for edge in itertools.pairwise(hull) if edge[1][0] >= middle_ns)
        drift = (right[1] - left[1]) / (right[0] - left[0])
        self._drift = min(max(drift, -_MAX_DRIFT), _MAX_DRIFT)
        self._origin = right


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


class FrameCounter:
    """Makes a sequence that only rises from a device's frame counter, which wraps and starts anew.

    GigE Vision 1 counts blocks in 16 bits, from 65535 on to 1. Any other step back is a restart of the camera, and the
    sequence goes on from where it was.
    """

    def __init__(self) -> None:
        self._base = 0
        self._last_raw: int | None = None
        self.last = -1

    def restart(self) -> None:
        """The device counts from its start again with its next frame."""
        self._base, self._last_raw = self.last + 1, None

    def count(self, skipped: int) -> int:
        """The sequence number of a frame of a device without a counter, after `skipped` frames that nobody read."""
        self.last += 1 + skipped
        return self.last

    def unwrap(self, raw: int) -> int:
        """The sequence number of a frame with the counter `raw`."""
        if self._last_raw is not None and raw <= self._last_raw:
            if raw + 0xFFFF - self._last_raw < 0x8000 and self._last_raw <= 0xFFFF:
                self._base += 0xFFFF
            else:
                self._base = self.last + 1 - raw
        self._last_raw = raw
        self.last = self._base + raw
        return self.last
