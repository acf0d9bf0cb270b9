"""pypylon, Basler's driver, and what its callers share. Importing this raises SourceError where pypylon is missing."""

from typing import Any

from app.sources.source import SourceError

try:
    from pypylon import genicam, pylon
except ImportError as import_error:
    raise SourceError(
        f"a camera of kind `pylon` needs pypylon, which cannot be imported ({import_error}). Install it: "
        'pip install "usthand-live[basler]"'
    ) from None

__all__ = ["RESULTING_RATE", "error_text", "first_readable", "genicam", "pylon"]

RESULTING_RATE = ("ResultingFrameRate", "BslResultingAcquisitionFrameRate", "ResultingFrameRateAbs")


def first_readable(device: Any, names: tuple[str, ...]) -> Any:
    """The first node of these names that the camera has; None where it has none of them."""
    nodes = device.GetNodeMap()
    return next((node for name in names if (node := nodes.GetNode(name)) and genicam.IsReadable(node)), None)


def error_text(error: BaseException) -> str:
    """GenICam's messages without the source line they end on."""
    return str(error).rsplit(" : ", 1)[0].strip()
