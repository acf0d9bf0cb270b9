"""Which cameras pylon finds."""

from dataclasses import dataclass

from app.sources.pylon_driver import RESULTING_RATE, error_text, first_readable, genicam, pylon


@dataclass(frozen=True, kw_only=True)
class PylonDevice:
    """A camera that pylon finds. What only an open camera tells is None where another program has it."""

    serial: str
    model: str
    vendor: str
    transport: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_formats: tuple[str, ...] = ()
    problem: str = ""


def list_pylon_devices() -> list[PylonDevice]:
    """The cameras attached, with their present mode and the pixel formats they have."""
    factory = pylon.TlFactory.GetInstance()
    devices = []
    for info in factory.EnumerateDevices():
        known = {
            "serial": info.GetSerialNumber(),
            "model": info.GetModelName(),
            "vendor": info.GetVendorName(),
            "transport": info.GetDeviceClass(),
        }
        device = None
        try:
            device = pylon.InstantCamera(factory.CreateDevice(info))
            device.Open()
            rate = first_readable(device, RESULTING_RATE)
            devices.append(
                PylonDevice(
                    **known,
                    width=device.Width.Value,
                    height=device.Height.Value,
                    fps=float(rate.Value) if rate is not None else None,
                    pixel_formats=tuple(device.PixelFormat.Symbolics),
                )
            )
        except genicam.GenericException as error:
            devices.append(PylonDevice(**known, problem=error_text(error)))
        finally:
            if device is not None:
                device.Close()
                device.DestroyDevice()
    return devices
