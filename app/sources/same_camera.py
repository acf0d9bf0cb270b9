"""One camera under two names: each would get half of its frames, or the second cannot be opened."""

import os
from urllib.parse import urlsplit

from calibration.camera_source import OpenCvSource, PylonSource
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera

_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}


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
        return f"the stream {_address(device)}"
    if device.isdigit():
        return f"/dev/video{int(device)}"
    return os.path.realpath(device) if device.startswith("/dev/") else None


def _address(url: str) -> str:
    """The URL without what does not tell cameras apart: who asks, capitals, the usual port, a slash at the end."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return url
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    shown = "" if port in (None, _PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}{'?' if parts.query else ''}{parts.query}"
