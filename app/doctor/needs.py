"""What a rig asks of the machine: each camera's mode, what it sends, what is recorded of it."""

from dataclasses import dataclass
from typing import Literal

from app.doctor.limits import DoctorLimits

_RAW_BYTES = {"YUYV": 2.0, "YUY2": 2.0, "UYVY": 2.0, "NV12": 1.5, "YU12": 1.5, "RGB3": 3.0, "BGR3": 3.0, "GREY": 1.0}
# Where the rig asks for none.
_USUAL_FPS, _USUAL_FOURCC = 30.0, "MJPG"


@dataclass(frozen=True, kw_only=True)
class CameraNeeds:
    """A camera in its mode. `device` as in rig.yaml, `fps` and `fourcc`, too, None where that asks for none; `locked`:
    the rig sets its exposure itself."""

    camera_id: str
    device: str
    width: int
    height: int
    fps: float | None = None
    fourcc: str | None = None
    locked: bool = False
    kind: Literal["usb", "other"] = "usb"

    @property
    def pixel_rate(self) -> float:
        return self.width * self.height * (self.fps or _USUAL_FPS)

    def sent_mbyte(self, limits: DoctorLimits) -> float:
        """In a second, over its cable."""
        fourcc = (self.fourcc or _USUAL_FOURCC).upper()
        return self.pixel_rate * _RAW_BYTES.get(fourcc, limits.mjpg_bytes) / 1e6


@dataclass(frozen=True)
class RigNeeds:
    """`cameras` are this machine's. `remote`: some of its cameras are grabbed on other machines; `elsewhere` are those,
    which are recorded here, too. `said`: whose needs they are."""

    cameras: tuple[CameraNeeds, ...]
    remote: bool
    said: str
    elsewhere: tuple[CameraNeeds, ...] = ()

    def recorded_mbyte(self, limits: DoctorLimits, lossless: bool) -> float:
        """In a second, by the recorder."""
        each = limits.ffv1_bytes if lossless else limits.h264_bytes
        return sum(camera.pixel_rate for camera in (*self.cameras, *self.elsewhere)) * each / 1e6


USUAL_RIG = RigNeeds(
    tuple(CameraNeeds(camera_id=f"cam_{i}", device="", width=1280, height=720) for i in range(4)),
    False,
    "four cameras of 1280x720 at 30 frames/s",
)
"""What is asked of a machine where no rig is given."""
