"""Sets the mode of a GenICam camera and reads it back.

What is set goes to the node of the Standard Feature Naming Convention, or of the older names with `Abs` or `Raw`.
"""

from typing import Any

from app.sources.mode_check import require_size, require_value
from app.sources.pylon_driver import RESULTING_RATE, error_text, first_readable, genicam, pylon
from app.sources.source import Mode, SourceError
from calibration.camera_source import PylonSource
from calibration.rig import RigCamera

_EXPOSURE = ("ExposureTime", "ExposureTimeAbs", "ExposureTimeRaw")
_GAIN = ("Gain", "GainAbs", "GainRaw")
_RATE = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
_LINE_STATUS = ("LineStatus",)
_TOLERANCE = 0.01


class PylonMode:
    """The mode that a rig's camera asks of an open device. Once applied, `tick_ns` is the unit of its time stamps and
    `line_status` the node of the level that takes follow, where one was asked for."""

    def __init__(self, device: "pylon.InstantCamera", camera: RigCamera, source: PylonSource, name: str) -> None:
        self._device = device
        self._camera = camera
        self._label = f"camera `{camera.camera_id}`"
        self._source = source
        self._name = name
        self.tick_ns = 1.0
        self.line_status: Any = None

    def apply(self) -> Mode:
        """Set the mode, read it back, and raise SourceError for what the camera does not do."""
        source, (width, height) = self._source, self._camera.source_size
        if source.pixel_format is not None:
            self._set("pixel_format", ("PixelFormat",), source.pixel_format)
        # Binning decides the largest size, and the size how far it can be offset.
        for name, value in source.features.items():
            if not name.startswith("Offset"):
                self._set(name, (name,), value)
        for name, value in (("Width", width), ("Height", height)):
            node = self._node((name,))
            if node is not None and node.Value != value and genicam.IsWritable(node) and node.Min <= value <= node.Max:
                node.Value = value
        for name, value in source.features.items():
            if name.startswith("Offset"):
                self._set(name, (name,), value)
        require_size(self._camera, self._name, *(self._read((name,)) for name in ("Width", "Height")))
        if source.exposure_us is not None:
            self._set_if_there("ExposureAuto", "Off")
            self._set("exposure_us", _EXPOSURE, source.exposure_us)
        if source.gain is not None:
            self._set_if_there("GainAuto", "Off")
            self._set("gain", _GAIN, source.gain)
        self._set_trigger()
        fps = self._set_rate()
        frequency = self._node(("GevTimestampTickFrequency",))
        self.tick_ns = 1e9 / frequency.Value if frequency is not None and frequency.Value else 1.0
        if source.take_line is not None:
            self._set("take_line", ("LineSelector",), source.take_line)
            self._read(_LINE_STATUS)
            self.line_status = self._node(_LINE_STATUS)
        pixel_format = self._read(("PixelFormat",))
        rate = f"at {fps:.4g} fps" if fps else "by its trigger line"
        return Mode(
            width,
            height,
            fps,
            f"{self._name}: {width}x{height} {pixel_format} {rate}, {source.trigger}",
        )

    def _set_trigger(self) -> None:
        selector = self._node(("TriggerSelector",))
        if selector is not None:
            for name in selector.Symbolics:
                selector.Value = name
                self._set_if_there("TriggerMode", "Off")
        if self._source.trigger != "free":
            self._set("trigger", ("TriggerSelector",), "FrameStart")
            self._set("trigger", ("TriggerMode",), "On")
            line = "Software" if self._source.trigger == "software" else self._source.trigger_line
            key = "trigger" if self._source.trigger == "software" else "trigger_line"
            self._set(key, ("TriggerSource",), line)

    def _set_rate(self) -> float | None:
        """The rate that the camera reaches in this mode; None where a signal on a line decides it."""
        source = self._source
        if source.trigger == "software":
            assert source.fps is not None
            self._set_if_there("AcquisitionFrameRateEnable", False)
            resulting = self._node(RESULTING_RATE)
            if resulting is not None and resulting.Value < source.fps * (1 - _TOLERANCE):
                require_value(self._camera, self._name, "fps", source.fps, resulting.Value)
            return source.fps
        if source.trigger == "line":
            self._set_if_there("AcquisitionFrameRateEnable", False)
            return None
        if source.fps is not None:
            self._set_if_there("AcquisitionFrameRateEnable", True)
            self._set("fps", _RATE, source.fps)
        resulting = self._node(RESULTING_RATE) or self._node(_RATE)
        if resulting is None:
            return source.fps
        if source.fps is not None:
            require_value(self._camera, self._name, "fps", source.fps, float(resulting.Value), _TOLERANCE)
        return float(resulting.Value)

    def _node(self, names: tuple[str, ...]) -> Any:
        return first_readable(self._device, names)

    def _read(self, names: tuple[str, ...]) -> Any:
        node = self._node(names)
        if node is None:
            raise SourceError(f"{self._label}, {self._name}: has no feature {names[0]}.")
        return node.Value

    def _set(self, key: str, names: tuple[str, ...], value: bool | int | float | str) -> None:
        node = self._node(names)
        if node is None:
            raise SourceError(
                f"{self._label}, {self._name}: asked for {key} {value}, but it has no feature {names[0]}. "
                f"Remove `{key}` from its `source` in rig.yaml."
            )
        wanted = round(value) if isinstance(value, float) and isinstance(node, genicam.IInteger) else value
        try:
            node.Value = wanted
        except (genicam.GenericException, TypeError) as error:
            raise SourceError(
                f"{self._label}, {self._name}: asked for {key} {value}, but it refuses: {error_text(error)} "
                f"It has {node.ToString()}{_range(node)}. Correct `{key}` in rig.yaml, or remove it."
            ) from None
        require_value(self._camera, self._name, key, value, node.Value, _TOLERANCE)

    def _set_if_there(self, name: str, value: bool | str) -> None:
        node = self._node((name,))
        if node is not None and genicam.IsWritable(node) and node.Value != value:
            node.Value = value


def _range(node: Any) -> str:
    if hasattr(node, "Symbolics"):
        return f", of {', '.join(node.Symbolics)}"
    if hasattr(node, "Min"):
        return f", between {node.Min} and {node.Max}"
    return ""
