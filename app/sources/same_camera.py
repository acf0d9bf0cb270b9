"""One camera under two names: each would get half of its frames, or the second cannot be opened."""

import os

from calibration.camera_source import OpenCvSource, PylonSource
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera


def check_cameras_differ(rig: Rig) -> None:
    """Raises UserError where two cameras of this host are opened as one device."""
    names: dict[str, str] = {}
    for camera in rig.cameras:
        device = None if camera.remote else _device(camera)
        if device is None:
            continue
        if device in names:
            raise UserError(
                f"cameras `{names[device]}` and `{camera.camera_id}` are both {device}: one camera cannot have two "
                "names. Correct the `source` of one of them; `usthand cameras` lists what is attached."
            )
        names[device] = camera.camera_id


def _device(camera: RigCamera) -> str | None:
    """What tells a device from others; None where several may be opened alike, as a file."""
    source = camera.source
    if isinstance(source, PylonSource):
        return None if source.serial is None else f"the camera with serial {source.serial}"
    if not isinstance(source, OpenCvSource):
        return None
    device = str(source.device)
    if "://" in device:
        scheme, _, rest = device.partition("://")
        return f"the stream {scheme}://{rest.rpartition('@')[2]}"
    if device.isdigit():
        return f"/dev/video{int(device)}"
    return os.path.realpath(device) if device.startswith("/dev/") else None
