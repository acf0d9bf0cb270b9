"""Where V4L2 cameras hang on the USB, from the kernel's tree of devices.

https://docs.kernel.org/driver-api/usb/usb.html; a bus is a root hub `usbN`, whose devices share its rate.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class UsbPlace:
    """`bus` is the root hub. `device_mbit` is what the camera was connected with. Rates in Mbit/s, as the kernel says:
    480 of USB 2, 5000 and more of USB 3."""

    bus: str
    bus_mbit: float
    device_mbit: float


def usb_place(node: str, sysfs: Path = Path("/sys")) -> UsbPlace | None:
    """Of a camera's node, as /dev/video0; None where it is not on the USB."""
    place = (sysfs / "class" / "video4linux" / Path(node).name / "device").resolve()
    chain = [folder for folder in (place, *place.parents) if (folder / "speed").is_file()]
    if not chain or not chain[-1].name.startswith("usb"):
        return None
    device, hub = chain[0], chain[-1]
    return UsbPlace(
        bus=hub.name,
        bus_mbit=_number(hub / "speed"),
        device_mbit=_number(device / "speed"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:200].strip()
    except OSError:
        return ""


def _number(path: Path) -> float:
    try:
        return float(_text(path))
    except ValueError:
        return 0.0
