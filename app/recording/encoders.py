"""The encoders of a recording, one process for each camera: started, started again where one dies, told what to do."""

import logging
import time
from collections import deque
from collections.abc import Iterator

from app.recording.encoder_link import EncoderProcess, EncoderReport, Order, encoder_command
from app.run.settings import RunFolder
from app.transport.messages import CameraState
from calibration.errors import UserError
from calibration.rig import Rig

log = logging.getLogger(__name__)

_END_S = 5.0
# What dies so often in so many seconds will not get better.
_DEATHS, _DEATHS_S = 5, 20.0


class Encoders:
    """By camera. `lines`: those of the cameras that have one; `codecs`: what encodes; `left`: all are to end."""

    def __init__(self, rig: Rig, folder: RunFolder) -> None:
        self._folder = folder
        self._remote = {camera.camera_id for camera in rig.cameras if camera.remote}
        self._states: dict[str, CameraState | None] = dict.fromkeys(rig.camera_ids)
        self._deaths = {camera_id: deque[float](maxlen=_DEATHS) for camera_id in rig.camera_ids}
        self._processes = {camera_id: self._start(camera_id) for camera_id in rig.camera_ids}
        self.left = False
        self.lines: dict[str, bool] = {}
        self.codecs: dict[str, str] = {}

    def _start(self, camera_id: str) -> EncoderProcess:
        return EncoderProcess(encoder_command(self._folder.path, camera_id))

    def reports(self) -> Iterator[tuple[str, EncoderReport | None]]:
        """What they said since the last call; None where one has ended."""
        for camera_id, process in list(self._processes.items()):
            while not process.reports.empty():
                report = process.reports.get()
                if report is not None:
                    self._states[camera_id] = report.state or self._states[camera_id]
                    if report.line is not None:
                        self.lines[camera_id] = report.line
                    if report.codec:
                        self.codecs[camera_id] = report.codec
                yield camera_id, report

    def send(self, camera_id: str, order: Order) -> None:
        self._processes[camera_id].send(order)

    def restart(self, camera_id: str) -> None:
        """Raises UserError where it dies again and again."""
        deaths, now = self._deaths[camera_id], time.monotonic()
        deaths.append(now)
        if len(deaths) == _DEATHS and now - deaths[0] < _DEATHS_S:
            raise UserError(f"the encoder of camera `{camera_id}` died {_DEATHS} times; see what it said above.")
        log.warning("the encoder of camera %s died; it is started again", camera_id)
        self._processes[camera_id].wait(0.0)
        self._processes[camera_id] = self._start(camera_id)

    def all_states(self, state: CameraState) -> bool:
        return all(each == state for each in self._states.values())

    def all_known(self) -> bool:
        """Every camera of this host has been heard of, and is no longer starting; others come when they come."""
        return all(
            state not in (None, "starting")
            for camera_id, state in self._states.items()
            if camera_id not in self._remote
        )

    def leave(self) -> None:
        """Tell all to finish what they write, and to end."""
        self.left = True
        for process in self._processes.values():
            process.leave()

    def wait(self) -> None:
        for process in self._processes.values():
            process.wait(_END_S)
