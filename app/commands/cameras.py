"""`usthand cameras`: what is attached, with modes, and the entry of each for rig.yaml."""

import argparse
import json
import time
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from app.commands.common import add_command
from app.devices.v4l2 import VideoDevice, VideoMode, list_video_devices
from app.sources import make_source
from app.sources.source import FrameCorrupt, SourceError, SourceLost, SourceTimeout
from calibration.camera import Camera
from calibration.camera_source import CameraSource, OpenCvSource, PylonSource
from calibration.rig import Rig, RigCamera

_PROBE_FRAMES = 10
_PROBE_S = 3.0


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "cameras",
        run,
        "list the cameras that are attached, their modes, and the `source` entry of each for rig.yaml",
        "  usthand cameras\n  usthand cameras --probe --json\n  PYLON_CAMEMU=4 usthand cameras   (emulated cameras)",
    )
    parser.add_argument("--probe", action="store_true", help="also read some frames from each camera and say what came")


def run(args: argparse.Namespace) -> int:
    cameras = [_describe_video(device) for device in list_video_devices()]
    missing = ""
    try:
        from app.sources.pylon_list import list_pylon_devices

        cameras += [
            _entry(
                "pylon",
                f"{device.vendor} {device.model}, serial {device.serial}, {device.transport}",
                PylonSource(serial=device.serial, fps=device.fps and round(device.fps, 3)),
                (device.width, device.height) if device.width and device.height else None,
                asdict(device),
            )
            for device in list_pylon_devices()
        ]
    except SourceError as error:
        missing = str(error)
    for camera in cameras:
        if args.probe and camera["image_size"]:
            camera["probe"] = _probe(msgspec.convert(camera["source"], CameraSource), *camera["image_size"])
        print(_text(camera))
    if not cameras:
        print("no camera is attached: no V4L2 capture device under /dev, and no camera that pylon finds")
    if missing:
        print(f"Basler and other GenICam cameras were not looked for: {missing}")
    if args.json:
        print(json.dumps({"cameras": cameras, "pylon": not missing}))
    return 0


def _describe_video(device: VideoDevice) -> dict[str, Any]:
    best = max(device.modes, key=_preference, default=None)
    source = OpenCvSource(
        device=device.path,
        fourcc=best.fourcc if best else None,
        fps=max(best.fps) if best and best.fps else None,
    )
    name = f"{device.name or 'video device'}, {device.node}, {device.bus}".rstrip(", ")
    return _entry("opencv", name, source, (best.width, best.height) if best else None, asdict(device))


def _preference(mode: VideoMode) -> tuple[bool, bool, int, float]:
    """For the entry to paste: MJPG, up to 1280x720 and at 30 fps or more; then the largest, then the fastest."""
    fps = max(mode.fps, default=0.0)
    return (mode.width * mode.height <= 1280 * 720 and fps >= 29, mode.fourcc == "MJPG", mode.width * mode.height, fps)


def _entry(
    kind: str, name: str, source: CameraSource, size: tuple[int, int] | None, details: dict[str, Any]
) -> dict[str, Any]:
    plain = {key: value for key, value in msgspec.to_builtins(source).items() if value not in (None, {})}
    for key in ("trigger", "trigger_line"):
        plain.pop(key, None)
    return {"kind": kind, "name": name, "source": plain, "image_size": size, "details": details}


def _text(camera: dict[str, Any]) -> str:
    details = camera["details"]
    lines = [camera["name"]]
    if details["problem"]:
        lines.append(f"  cannot be asked: {details['problem']}")
    for mode in details.get("modes", ()):
        rates = ", ".join(f"{fps:g}" for fps in mode["fps"])
        lines.append(f"  {mode['fourcc']} {mode['width']}x{mode['height']}" + (f" at {rates} fps" if rates else ""))
    if camera["kind"] == "pylon" and details["width"]:
        rate = f" at {details['fps']:g} fps" if details["fps"] else ""
        lines.append(f"  {details['width']}x{details['height']}{rate}; formats {', '.join(details['pixel_formats'])}")
    if "probe" in camera:
        lines.append(f"  probe: {camera['probe']['text']}")
    if camera["image_size"]:
        lines.append(f"  image_size: [{camera['image_size'][0]}, {camera['image_size'][1]}]")
    values = ", ".join(f"{key}: {json.dumps(value)}" for key, value in camera["source"].items())
    lines.append(f"  source: {{{values}}}")
    return "\n".join(lines)


def _probe(source: CameraSource, width: int, height: int) -> dict[str, Any]:
    """Open the camera in the mode of its entry and read frames."""
    focal_px = float(max(width, height))
    matrix = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    camera = RigCamera(
        camera_id="probe",
        camera=Camera(width=width, height=height, lens="pinhole5", matrix=matrix, distortion=np.zeros(5)),
        T_cam_world=np.eye(4),
        source=source,
    )
    reader = None
    try:
        reader = make_source(camera, Rig((camera,)))
        mode = reader.open()
        image = np.empty((height, width, 3), np.uint8)
        times_ns, corrupt, end = [], 0, time.monotonic() + _PROBE_S
        while len(times_ns) < _PROBE_FRAMES and time.monotonic() < end:
            stamp = reader.grab(_PROBE_S)
            try:
                reader.retrieve(image)
            except FrameCorrupt:
                corrupt += 1
            times_ns.append(stamp.capture_time_ns)
    except (SourceError, SourceLost, SourceTimeout) as error:
        return {"works": False, "text": str(error)}
    finally:
        if reader is not None:
            reader.close()
    span_ns = times_ns[-1] - times_ns[0] if len(times_ns) > 1 else 0
    fps = (len(times_ns) - 1) * 1e9 / span_ns if span_ns else None
    text = f"{mode.description}; {len(times_ns)} frames came" + (f" at {fps:.1f} fps" if fps else "")
    text += f", {corrupt} corrupt" if corrupt else ""
    return {"works": corrupt < len(times_ns), "text": text, "frames": len(times_ns), "corrupt": corrupt, "fps": fps}
