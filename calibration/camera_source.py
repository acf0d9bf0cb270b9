"""How a camera is opened: the `source` entry of a camera in `rig.yaml`, one struct per kind."""

from typing import Annotated, Literal

import msgspec

MAX_CAMERAS = 16
"""Of a rig. Here, so that what only counts them needs no OpenCV."""

Rate = Annotated[float, msgspec.Meta(ge=0.001, le=1000)]
"""Frames a second."""
DriversOwn = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
"""In a driver's own units."""
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class OpenCvSource(
    msgspec.Struct, tag_field="kind", tag="opencv", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """A USB camera, a network camera by its URL, or a video file.

    `device` is an index, a stable path such as /dev/v4l/by-id/..., a file, or an rtsp, http or udp URL. What is set
    here is asked of the driver and read back; a mismatch is an error, since a rig is calibrated in one mode.
    """

    device: Annotated[int, msgspec.Meta(ge=0, le=1000)] | str
    fourcc: Annotated[str, msgspec.Meta(min_length=4, max_length=4)] | None = None
    fps: Rate | None = None
    exposure: DriversOwn | None = None
    gain: DriversOwn | None = None


class PylonSource(msgspec.Struct, tag_field="kind", tag="pylon", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A Basler or other GenICam camera through pypylon.

    `trigger` is `free` (the camera's own rate), `software` (the grabber triggers at `fps`) or `line` (a hardware
    trigger on `trigger_line`). `take_line` is the input whose high level begins a take of a recording, and whose low
    level ends it. `features` are further GenICam nodes set before grabbing, by name.
    """

    serial: str | None = None
    trigger: Literal["free", "software", "line"] = "free"
    trigger_line: str = "Line1"
    take_line: str | None = None
    fps: Rate | None = None
    exposure_us: DriversOwn | None = None
    gain: DriversOwn | None = None
    pixel_format: str | None = None
    features: dict[str, bool | int | float | str] = {}


class RecordedSource(
    msgspec.Struct, tag_field="kind", tag="recorded", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """A camera of a recorded session; a run that replays sets it.

    Of its frames those are played whose times are from `begin_ns` to before `end_ns`, and, where `published`, that a
    live run estimated when it was recorded.
    """

    session: str
    camera: str
    begin_ns: int | None = None
    end_ns: int | None = None
    published: bool = False


class SimulatedSource(
    msgspec.Struct, tag_field="kind", tag="simulated", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    """A simulated camera that shows the simulated hands, with scripted faults.

    `images` is a file of rendered images, which `usthand demo` makes; without one the hands are drawn as skeletons, of
    so many `people`.
    Spans are [start, duration] in seconds since the grabber opened it first: `stalls` deliver nothing and then go
    on, `disconnects` fail until the span is over; in `line` the input is high that takes follow, where there is one.
    `resizes` are [start, width, height]: its images are of that size from then on. `corrupt` and `drop` list sequence
    numbers. With `screen` it films a virtual screen instead, which `Xvfb -fbdir` keeps in that file, and delivers each
    picture `screen_delay_ms` later.
    """

    fps: Rate = 30.0
    seed: _Count = 0
    phase_ms: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)] = 0.0
    jitter_ms: _Milliseconds = 0.0
    drop_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    drop: list[_Count] = []
    corrupt: list[_Count] = []
    stalls: list[tuple[_Seconds, _Seconds]] = []
    disconnects: list[tuple[_Seconds, _Seconds]] = []
    line: list[tuple[_Seconds, _Seconds]] = []
    resizes: list[tuple[_Seconds, _Count, _Count]] = []
    images: str | None = None
    people: int = 1
    screen: str | None = None
    screen_delay_ms: _Milliseconds = 0.0


CameraSource = OpenCvSource | PylonSource | RecordedSource | SimulatedSource


def source_to_data(source: CameraSource | None) -> dict | None:
    """Plain data of a source entry, as in `rig.yaml`."""
    return None if source is None else msgspec.to_builtins(source)
