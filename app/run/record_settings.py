"""What is recorded of a run, and how: what `usthand record` and `usthand live --record` set."""

from typing import Literal

import msgspec

Codec = Literal["h264", "ffv1", "copy"]


class RecordSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """`folder` is the session, or with `takes` the folder of the takes, each a session of its own.

    `codec`: H.264, lossless FFV1, or the camera's own stream as it is. `crf` and `preset` are x264's: the quality,
    from 0 to 51, lower is better, and how much time is spent on a smaller file. `pre_roll_s`: a take begins so many
    seconds before it was asked for; they are kept encoded, in at most `pre_roll_mb` MB for each camera. `control` is
    where takes are asked for besides the run's folder. `reserve_mb`: a recording ends while so many MB of the disk are
    free. `slots`: frames of a camera that wait in shared memory for their encoder, 1 s at 30 Hz; the oldest is dropped.
    `alone`: the run has no worker. `calibrated`: whether the rig is.
    """

    folder: str
    takes: bool = False
    codec: Codec = "h264"
    crf: int = 18
    preset: str = "ultrafast"
    pre_roll_s: float = 0.0
    pre_roll_mb: int = 256
    control: str | None = None
    reserve_mb: int = 500
    slots: int = 32
    alone: bool = False
    calibrated: bool = True
