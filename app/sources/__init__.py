"""Capture sources: `make_source` builds the one that a camera's `source` entry in `rig.yaml` asks for."""

from app.sources.source import Source, SourceError
from app.sources.turned import TurnedSource
from calibration.camera_source import OpenCvSource, PylonSource, RecordedSource, SimulatedSource
from calibration.rig import Rig, RigCamera

# Each kind's driver is imported when it is asked for: a rig of USB cameras needs no pypylon.


def make_source(camera: RigCamera, rig: Rig, copies: bool = False, decodes: bool = True) -> Source:
    """Build the source of one camera of `rig`; nothing is opened yet.

    With `copies`, a USB camera is opened such that it gives its own compressed pictures, as network cameras always do;
    where it then does not `decodes`, there are no pixels, as far as the camera's kind can do without.

    The opened source delivers upright images of the size that `rig.yaml` gives for the camera, or `open` raises
    SourceError: a rig is calibrated in one mode. Raises SourceError where the camera has no `source` entry.
    """
    source = _make_as_delivered(camera, rig, copies, decodes)
    if not camera.turn or isinstance(camera.source, SimulatedSource):  # what is simulated is drawn upright
        return source
    return TurnedSource(source, camera.turn)


def _make_as_delivered(camera: RigCamera, rig: Rig, copies: bool, decodes: bool) -> Source:
    match camera.source:
        case None:
            raise SourceError(
                f"camera `{camera.camera_id}` of the rig {', '.join(rig.camera_ids)} has no `source` in rig.yaml, so "
                "it cannot be opened. Add one, for example `source: {kind: opencv, device: /dev/v4l/by-id/...}`; "
                "`usthand cameras` prints the entry of each camera that is attached."
            )
        case OpenCvSource():
            from app.sources.opencv import OpenCvCapture
            from app.sources.video_file import VideoFileCapture, is_url, is_video_file

            if is_url(camera.source.device):
                from app.sources.network_stream import NetworkStream

                return NetworkStream(camera, copies, decodes)
            if is_video_file(camera.source.device):
                return VideoFileCapture(camera)
            if copies:
                from app.sources.v4l2_copy import V4l2Copy

                return V4l2Copy(camera, decodes)
            return OpenCvCapture(camera)
        case PylonSource():
            from app.sources.pylon import PylonCapture

            return PylonCapture(camera)
        case RecordedSource():
            from app.sources.recorded import RecordedCapture

            return RecordedCapture(camera)
        case SimulatedSource(screen=str()):
            from app.sources.screen import ScreenCapture

            return ScreenCapture(camera)
        case SimulatedSource():
            from app.sources.simulated import SimulatedCapture

            return SimulatedCapture(camera)
