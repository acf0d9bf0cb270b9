"""The messages between processes: typed, versioned, msgpack on the wire. docs/messages.md is their documentation."""

from typing import Annotated, Any, Literal

import msgspec

from app.transport.ring import SlotRef
from calibration.hand import Definition

SCHEMA_VERSION = 1

Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""A time in nanoseconds, or a count: with room for sums and differences in 64 bits."""
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**16)]

Gesture = Literal["grab", "pinch", "point"]
CameraState = Literal["starting", "streaming", "lost", "stalled", "ended", "failed"]


class FrameHeader(msgspec.Struct, tag="frame", tag_field="type", kw_only=True):
    """A frame: its pixels lie in `slot`, or follow as the message's second part, encoded as `encoding` says.

    Times are on the worker's monotonic clock (a remote grabber converts its own), but `capture_time_ns` is on the
    recording's clock where `recorded`. `line`: the camera's input that takes of a recording follow.
    `sender` is a number of the grabber's own, the same in its CameraStatus.
    """

    camera_id: str
    sequence: Whole
    capture_time_ns: Whole
    grab_time_ns: Whole
    publish_time_ns: Whole
    width: Pixels
    height: Pixels
    recorded: bool = False
    slot: SlotRef | None = None
    encoding: Literal["raw", "jpeg", "mjpeg", "h264"] | None = None
    line: bool | None = None
    sender: int = 0
    schema_version: int = SCHEMA_VERSION


class CameraStatus(msgspec.Struct, tag="camera", tag_field="type", kw_only=True):
    """What a grabber's camera is doing, sent on every change and every half second.

    `corrupt` counts frames that could not be decoded, `lost` the times the camera went away. A recorded camera that
    waits for its next frame's time tells it in `next_capture_time_ns`. `clock_offset_ns` is
    worker clock minus grabber clock (0 on the same host), and `clock_error_ns` bounds its error. `date_ns` is the
    sender's date of the status, in nanoseconds since 1970; 0 where it does not tell.
    """

    camera_id: str
    state: CameraState
    detail: str = ""
    pid: Whole = 0
    corrupt: Whole = 0
    lost: Whole = 0
    fps: float | None = None
    last_sequence: Whole = -1
    first_capture_time_ns: Whole | None = None
    next_capture_time_ns: Whole | None = None
    clock_offset_ns: Whole = 0
    clock_error_ns: Whole = 0
    date_ns: Whole = 0
    sender: int = 0
    schema_version: int = SCHEMA_VERSION


class Pace(msgspec.Struct, tag="pace", tag_field="type", kw_only=True):
    """Worker to grabbers of recorded cameras: the common clock, and how far each may go, so that nothing is skipped.

    The recording's time `origin_ns` is played at `start_ns` of the monotonic clock, and from there on `speed` of its
    seconds in each second; 0 holds it. A grabber sends the frame with number n (from 0, in order of the recording)
    while n < `allowed[camera_id]`.
    """

    start_ns: int
    origin_ns: int
    allowed: dict[str, int]
    speed: float = 1.0
    schema_version: int = SCHEMA_VERSION

    def position_ns(self, now_ns: int) -> int:
        """The recording's time that is played at `now_ns` of the monotonic clock."""
        return self.origin_ns + round((now_ns - self.start_ns) * self.speed)


class FittedPose(msgspec.Struct, kw_only=True):
    """The built-in hand as fitted to a pose: hinges (21) of models/hand/skeleton.py in radians, the hand's frame in the
    world (4x4), and its shape (21): bone lengths in metres, and the thickness."""

    hinges_rad: list[float]
    T_world_hand: list[list[float]]
    shape: list[float]


class ArmPose(msgspec.Struct, kw_only=True):
    """The arm of a hand, with `--body`, at the hand's time.

    `side` is whose arm it is by the body, with its probability of being the right one. `elbow_world_m` (3) and
    `elbow_covariance_m2` (3x3), measured last at `seen_time_ns` in the cameras `views`; the same of the shoulder where
    it is known. `wrist_rad` are flexion and deviation of the wrist (models/hand/wrist_angles.py), `wrist_std_rad` their
    standard deviations.
    """

    side: Literal["left", "right"]
    right_probability: float
    seen_time_ns: int
    views: list[str]
    elbow_world_m: list[float]
    elbow_covariance_m2: list[list[float]]
    shoulder_world_m: list[float] | None = None
    shoulder_covariance_m2: list[list[float]] | None = None
    wrist_rad: list[float] | None = None
    wrist_std_rad: list[float] | None = None


class HandPose(msgspec.Struct, kw_only=True):
    """One hand in world metres at `capture_time_ns`.

    `joints_world_m` 21x3, `covariance_m2` 21x3x3, `confidence` 21 in [0, 1], `views` the cameras used. `hops_ns` has
    the monotonic time at each hop: grab (the first of the frames), last_grab, publish, set_closed, estimate_start,
    estimate_end, published. `detections_px` has the matched 2D detection per camera, 21x2 distorted pixels.
    `vertices_world_m` has a mesh's vertices, Nx3 little-endian float32. `right_probability` is what all views have said
    so far. `state` is `seen` of the `hands` of a set; others are `unseen`. `gestures` are what it does.
    `fit` is there with a mesh, `arm` with `--body` where the elbow is seen.
    """

    hand: Literal["left", "right"]
    track_id: int
    capture_time_ns: int
    joints_world_m: list[list[float]]
    covariance_m2: list[list[list[float]]]
    confidence: list[float]
    views: list[str]
    hops_ns: dict[str, int] = {}
    detections_px: dict[str, list[list[float]]] = {}
    vertices_world_m: bytes | None = None
    right_probability: float = 0.5
    state: Literal["seen", "held", "predicted"] = "seen"
    gestures: list[Gesture] = []
    fit: FittedPose | None = None
    arm: ArmPose | None = None


class UnseenPose(msgspec.Struct, kw_only=True):
    """A hand that is followed and was not measured in a set: where its motion says that it is.

    `held`: views looked and did not find it. `predicted`: nobody looked. `seen_time_ns` is when it was measured last;
    `joints_world_m` 21x3 and `covariance_m2` 21x3x3 are of the set's time.
    """

    hand: Literal["left", "right"]
    track_id: int
    state: Literal["held", "predicted"]
    seen_time_ns: int
    joints_world_m: list[list[float]]
    covariance_m2: list[list[list[float]]]


class AheadPose(msgspec.Struct, kw_only=True):
    """A hand of a set, seen or unseen, as `--predict` forecasts it for `time_ns`, later than the set.

    `seen_time_ns` is when it was measured last. `covariance_m2` 21x3x3 has what the motion may do meanwhile in it.
    """

    hand: Literal["left", "right"]
    track_id: int
    time_ns: int
    seen_time_ns: int
    joints_world_m: list[list[float]]
    covariance_m2: list[list[list[float]]]
    state: Literal["predicted"] = "predicted"


class CameraReport(msgspec.Struct, kw_only=True):
    """One camera in a PoseSet: its state, counters, and the frame that was used (None where it was absent).

    `frames` received, `dropped` by policy or lost upstream, `late` after their set closed, `stale` older than the age
    limit, `misdated` with a time that lies in the future.
    """

    state: CameraState
    frames: int = 0
    dropped: int = 0
    late: int = 0
    stale: int = 0
    corrupt: int = 0
    misdated: int = 0
    detail: str = ""
    slot: SlotRef | None = None
    sequence: int = -1
    capture_time_ns: int = 0


class PoseSet(msgspec.Struct, tag="poses", tag_field="type", kw_only=True):
    """What the worker publishes for each frame set (and, without hands, once a second while no set comes).

    `stage_ms` is the time of each stage of this set; `definition` says where on the hand the joints lie. `views` are
    the cameras that took part. Where fewer than two did, nobody `looked`, and that there are no `hands` says nothing.
    `unseen` are hands that are followed and were not measured in this set. `ahead` are all of them as forecast.
    """

    set_index: int
    reference_time_ns: int
    spread_ns: int
    hands: list[HandPose]
    cameras: dict[str, CameraReport]
    hops_ns: dict[str, int]
    stage_ms: dict[str, float]
    estimator: str
    rig_id: str
    simulated: bool = False
    definition: Definition = "detector"
    views: list[str] = []
    looked: bool = True
    unseen: list[UnseenPose] = []
    ahead: list[AheadPose] = []
    schema_version: int = SCHEMA_VERSION


class Event(msgspec.Struct, tag="event", tag_field="type", kw_only=True):
    """Something that happened, for subscribers of `--events`, who miss none: a camera's new state, a hand that is
    followed from now on (`appeared`) or no more (`lost`), or a gesture (`detail`) that a hand `began` or `ended`.
    `subject` is the camera's name or the hand's track number, `hand` its side."""

    time_ns: int
    kind: Literal["camera", "hand", "gesture"]
    subject: str
    state: str
    detail: str = ""
    hand: Literal["", "left", "right"] = ""
    schema_version: int = SCHEMA_VERSION


class RecordedCamera(msgspec.Struct, kw_only=True):
    """A camera in a take: frames in its video, frames that are not (lost by the camera or before they were encoded)."""

    frames: int = 0
    dropped: int = 0
    bytes: int = 0


class RecordingStatus(msgspec.Struct, tag="recording", tag_field="type", kw_only=True):
    """What the recorder does, four times a second: the take's name and its time, and for how many seconds the disk has
    room (None while that is not known). `problem`: why the last take ended or could not begin."""

    recording: bool
    take: str = ""
    path: str = ""
    seconds: float = 0.0
    marks: int = 0
    cameras: dict[str, RecordedCamera] = {}
    disk_s: float | None = None
    problem: str = ""
    schema_version: int = SCHEMA_VERSION


class End(msgspec.Struct, tag="end", tag_field="type"):
    """The worker has nothing more to publish: the recording ended or it was told to stop. `summary` is the run's."""

    reason: str
    summary: dict
    schema_version: int = SCHEMA_VERSION


Message = FrameHeader | CameraStatus | Pace | PoseSet | RecordingStatus | Event | End
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class MessageRefused(ValueError):
    """Bytes that are no message of this schema version."""


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> Message:
    """Raises MessageRefused for anything that is not a message of this schema version."""
    try:
        message = _decoder.decode(data)
    except (ValueError, RecursionError) as error:  # of bad UTF-8 and deep nesting, too
        raise MessageRefused(str(error)) from None
    if message.schema_version != SCHEMA_VERSION:
        raise MessageRefused(f"schema version {message.schema_version}, expected {SCHEMA_VERSION}")
    return message


def encode_plain(value: dict) -> bytes:
    """A command or its answer."""
    return msgspec.msgpack.encode(value)


def decode_request(data: bytes) -> dict[str, str | int | float | bool | None]:
    """A command. Raises MessageRefused for anything that is not a map of single values: what is nested by the hundred
    cannot even be told in an error."""
    return _decode_map(data, dict[str, str | int | float | bool | None])


def decode_plain(data: bytes) -> dict:
    """An answer. Raises MessageRefused for anything that is not a map."""
    return _decode_map(data, dict)


def _decode_map(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise MessageRefused(str(error)) from None
