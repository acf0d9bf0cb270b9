"""Basler and other GenICam cameras through pypylon, Basler's driver.

Basler's USB3 Vision and GigE Vision cameras are found by themselves. Cameras of other makers come through the maker's
GenTL producer: set GENICAM_GENTL64_PATH to the folder of its .cti file before starting `usthand`, and `usthand cameras`
lists them with their serial numbers. GigE Vision and USB3 Vision cameras of other makers need that producer too.
`PYLON_CAMEMU=4` in the environment gives four emulated cameras, with the serials 0815-0000 to 0815-0003.
"""

import logging
import time
from typing import Any

import numpy as np

from app.sources.device_clock import DeviceClock, FrameCounter
from app.sources.pylon_driver import error_text, genicam, pylon
from app.sources.pylon_mode import PylonMode
from app.sources.source import FrameCorrupt, Mode, SourceError, SourceLost, SourceTimeout, Stamp
from calibration.camera_source import PylonSource
from calibration.rig import RigCamera

log = logging.getLogger(__name__)

# A camera that was unplugged is noticed between waits of this length.
_WAIT_S = 0.1
_UNKNOWN_BLOCK = 2**64 - 1


class PylonCapture:
    """A camera that runs freely, is triggered by its grabber at `fps`, or by a signal on a line.

    The frame counter is the device's block id, so a frame lost on the way shows as a gap. Capture times are the
    device's, put on the host's clock; a device without a clock (the emulator) gives the time of the software trigger or
    of arrival.
    """

    def __init__(self, camera: RigCamera) -> None:
        assert isinstance(camera.source, PylonSource)
        self._camera = camera
        self._label = f"camera `{camera.camera_id}`"
        self._source = camera.source
        self._device: pylon.InstantCamera | None = None
        self._name = f"camera {self._source.serial or ''}".strip()
        self._result: pylon.GrabResult | None = None
        self._counter = FrameCounter()
        self._clock = DeviceClock()
        self._tick_ns = 1.0
        self._line_status: Any = None
        self._period_ns = round(1e9 / self._source.fps) if self._source.fps else 0
        self._next_trigger_ns = 0
        self._converter = pylon.ImageFormatConverter()
        self._converter.OutputPixelFormat = pylon.PixelType_BGR8packed

    def open(self) -> Mode:
        self.close()
        source = self._source
        if source.trigger == "software" and not source.fps:
            raise SourceError(f"{self._label}: a software trigger needs a rate. Set `fps` in its `source` in rig.yaml.")
        try:
            self._device = self._create()
            wanted = PylonMode(self._device, self._camera, self._source, self._name)
            mode = wanted.apply()
            self._tick_ns, self._line_status = wanted.tick_ns, wanted.line_status
            self._device.MaxNumBuffer.Value = 8
            self._device.StartGrabbing(pylon.GrabStrategy_LatestImageOnly)
        except BaseException as error:
            self.close()
            if isinstance(error, genicam.GenericException):
                raise SourceError(
                    f"{self._label}, {self._name}: cannot be opened: {error_text(error)} "
                    "Close other programs that use it, check the cable, and try again."
                ) from None
            raise
        self._counter.restart()
        self._clock = DeviceClock()
        if self._period_ns:
            self._next_trigger_ns = (time.monotonic_ns() // self._period_ns + 1) * self._period_ns
        return mode

    def grab(self, timeout_s: float) -> Stamp:
        if self._device is None:
            raise SourceLost(f"{self._name} is not open")
        self._release_result()
        deadline_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        try:
            trigger_ns = self._trigger(deadline_ns) if self._source.trigger == "software" else None
            result = self._wait(deadline_ns)
            line = None if self._line_status is None else bool(self._line_status.Value)
        except genicam.GenericException as error:
            raise SourceLost(f"{self._name} went away: {error_text(error)}") from None
        now_ns = time.monotonic_ns()
        if result is None:
            raise SourceTimeout(f"{self._name}: no frame in {timeout_s:.3g} s")
        self._result = result
        if result.BlockID == _UNKNOWN_BLOCK:
            sequence = self._counter.count(result.NumberOfSkippedImages)
        else:
            sequence = self._counter.unwrap(result.BlockID)
        if result.TimeStamp:
            capture_ns = self._clock.to_host_ns(round(result.TimeStamp * self._tick_ns), now_ns)
        else:
            capture_ns = trigger_ns or now_ns
        return Stamp(sequence=sequence, capture_time_ns=capture_ns, grab_time_ns=now_ns, line=line)

    def retrieve(self, out: np.ndarray) -> None:
        if self._device is None or self._result is None:
            raise SourceLost(f"{self._name} is not open")
        result = self._result
        if not result.GrabSucceeded():
            raise FrameCorrupt(f"{self._name}: frame {self._counter.last}: {result.ErrorDescription}")
        try:
            if result.PixelType == pylon.PixelType_BGR8packed:
                with result.GetArrayZeroCopy() as pixels:
                    np.copyto(out, pixels)
            else:
                image = self._converter.Convert(result)
                with image.GetArrayZeroCopy() as pixels:
                    np.copyto(out, pixels)
                image.Release()
        except (genicam.GenericException, ValueError) as error:
            raise FrameCorrupt(f"{self._name}: frame {self._counter.last}: {error_text(error)}") from None

    def close(self) -> None:
        self._release_result()
        device, self._device = self._device, None
        if device is None:
            return
        for step in (device.StopGrabbing, device.Close, device.DestroyDevice):
            try:
                step()
            except genicam.GenericException as error:
                log.debug("%s: %s", self._name, error_text(error))

    def _create(self) -> "pylon.InstantCamera":
        factory = pylon.TlFactory.GetInstance()
        found = factory.EnumerateDevices()
        serials = [info.GetSerialNumber() for info in found]
        listed = ", ".join(serials) or "none"
        wanted = self._source.serial
        if wanted is None and len(found) != 1:
            raise SourceError(
                f"{self._label}: `source` in rig.yaml names no serial, and {len(found)} cameras are "
                f"attached ({listed}). "
                + ("Add `serial`." if found else "Plug the camera in; `usthand cameras` lists them.")
            )
        if wanted is not None and wanted not in serials:
            raise SourceError(
                f"{self._label}: no camera with serial {wanted}; attached: {listed}. Plug it in and "
                "check its power and network, or correct `serial` in rig.yaml."
            )
        info = found[serials.index(wanted) if wanted is not None else 0]
        self._name = f"{info.GetModelName()} {info.GetSerialNumber()}"
        device = pylon.InstantCamera(factory.CreateDevice(info))
        try:
            device.Open()
        except BaseException:
            device.DestroyDevice()
            raise
        return device

    def _trigger(self, deadline_ns: int) -> int | None:
        """Fire at the next whole period of the host's clock, as the grabbers of other cameras do; when that was."""
        assert self._device is not None
        now_ns = time.monotonic_ns()
        due_ns = max(self._next_trigger_ns, now_ns // self._period_ns * self._period_ns)
        if due_ns > deadline_ns:
            time.sleep(max(deadline_ns - now_ns, 0) / 1e9)
            return None
        if due_ns > now_ns:
            time.sleep((due_ns - now_ns) / 1e9)
        ready = self._device.CanWaitForFrameTriggerReady()
        if ready and not self._device.WaitForFrameTriggerReady(
            max((deadline_ns - time.monotonic_ns()) // 1_000_000, 0), pylon.TimeoutHandling_Return
        ):
            return None
        self._next_trigger_ns = due_ns + self._period_ns
        fired_ns = time.monotonic_ns()
        self._device.TriggerSoftware.Execute()
        return fired_ns

    def _wait(self, deadline_ns: int) -> "pylon.GrabResult | None":
        assert self._device is not None
        while True:
            left_ms = min(_WAIT_S * 1e3, (deadline_ns - time.monotonic_ns()) / 1e6)
            result = self._device.RetrieveResult(max(round(left_ms), 0), pylon.TimeoutHandling_Return)
            if result.IsValid():
                return result
            result.Release()
            if self._device.IsCameraDeviceRemoved() or not self._device.IsGrabbing():
                raise SourceLost(f"{self._name} was unplugged")
            if time.monotonic_ns() >= deadline_ns:
                return None

    def _release_result(self) -> None:
        if self._result is not None:
            self._result.Release()
            self._result = None
