"""The calibration wizard's process: frame sets in, captures of the board and a window out.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).

Every capture is on the disk before the window shows it, so that a crash loses none. At the end it writes the run's
`summary.json`: how many captures there are, and whether to calibrate from them.
"""

import json
import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.assembly.intake import Intake
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.transport.keys import close_authenticator
from app.transport.messages import CameraReport
from app.wizard.canvas import WizardScreen, draw_scene
from app.wizard.detection import BoardFinder, BoardViews
from app.wizard.drawn_window import open_drawn_window
from app.wizard.estimate import BackgroundEstimate, live_errors_px
from app.wizard.recorder import Recorder, encode_jpeg
from app.wizard.tile import camera_panel
from calibration.board.board import read_board
from calibration.rig import Rig
from calibration.wizard.hints import Suggestion, camera_needs
from calibration.wizard.wizard import Capture, Wizard, WizardStep
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

_DRAW_S = 1 / 25
_FLASH_S = 0.6
_EVENTS = 12
_LEAST_CAPTURES_TO_ESTIMATE = 3
_RESUME_GAP_NS = 2_000_000_000
_ENDED = Suggestion("The recordings have ended. Press c to calibrate, or q to keep the captures.")


class WizardProcess:
    """Runs detection, the step machine and the window, until a key or a signal ends it."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.wizard is not None
        self._rig, self._folder = rig, folder
        captures = Path(settings.wizard)
        board = read_board(captures / "board.yaml")
        self._recorder = Recorder(captures, rig, board)
        self._wizard = Wizard(board, {c.camera_id: (c.camera.width, c.camera.height) for c in rig.cameras})
        self._wizard.restore(self._recorder.captures)
        self._finder = BoardFinder(board, rig.camera_ids)
        self._finder.resume(self._recorder.facts)
        self._estimate = BackgroundEstimate(board, rig)
        self._intake = Intake(rig, settings, folder)
        self._window = open_drawn_window("Calibration wizard")
        self._recent: deque[BoardViews] = deque(maxlen=self._wizard.settings.burst + 1)
        self._seen_at: dict[str, tuple[float, np.ndarray]] = {}
        self._step = WizardStep(state="unseen")
        self._events: deque[tuple[str, str]] = deque(maxlen=_EVENTS)
        self._flash: tuple[float, tuple[str, ...]] = (0.0, ())
        self._shift_ns: int | None = None
        self._help = False
        self._drawn_at = 0.0
        if self._wizard.captures:
            self._events.appendleft(("resumed", f"with {len(self._wizard.captures)} captures"))
            self._request_estimate()

    def run(self) -> str:
        """Returns `calibrate`, `quit` or `stopped`."""
        outcome = "stopped"
        self._intake.start()
        self._intake.release()
        try:
            log.info("wizard: %d cameras, captures in %s", len(self._rig.cameras), self._recorder.folder)
            while not stop.is_set():
                pulse.beat()
                frame_set = self._intake.take(0.02)
                if frame_set is not None:
                    self._look(self._finder.find(frame_set))
                    self._intake.done(frame_set)
                    pulse.work()
                self._draw()
                for key in self._window.pressed():
                    done = self._press(key)
                    if done:
                        outcome = done
                        return outcome
        finally:
            self._close(outcome)
        return outcome

    def _look(self, seen: BoardViews) -> None:
        now = time.monotonic()
        for camera_id, image in seen.images.items():
            self._seen_at[camera_id] = now, image
        self._shift(seen)
        self._recent.append(seen)
        self._step = self._wizard.step(seen.views, seen.time_ns)
        if self._step.capture is not None:
            self._keep(self._step.capture)

    def _shift(self, seen: BoardViews) -> None:
        """Let the times of a resumed capture follow those that it had: the clock may have begun anew."""
        if self._shift_ns is None:
            last_ns = max((capture.time_ns for capture in self._wizard.captures), default=None)
            self._shift_ns = 0 if last_ns is None else last_ns + _RESUME_GAP_NS - seen.time_ns
        seen.shift(self._shift_ns)

    def _keep(self, capture: Capture) -> None:
        """Write a capture to the disk and say so in the window."""
        by_time = {(camera_id, view.time_ns): seen for seen in self._recent for camera_id, view in seen.views.items()}
        images = [
            {name: encode_jpeg(by_time[name, view.time_ns].images[name]) for name, view in views.items()}
            for views in capture.sets
        ]
        self._recorder.add(capture, images, self._finder.facts)
        text = "; ".join(capture.reasons)
        log.info("capture %d: %s", capture.number, text)
        self._events.appendleft((str(capture.number), text))
        self._flash = time.monotonic(), tuple(capture.views)
        self._request_estimate()

    def _request_estimate(self) -> None:
        """Calibrate in the background the largest group of cameras that shared views link."""
        if len(self._wizard.captures) >= _LEAST_CAPTURES_TO_ESTIMATE:
            linked = max(self._wizard.coverage.groups(_LEAST_CAPTURES_TO_ESTIMATE), key=len)
            facts = self._finder.facts
            detections = self._wizard.detections(legacy=facts["legacy"], mirrored=facts["mirrored"])
            self._estimate.request(detections, linked)

    def _press(self, key: str) -> str | None:
        """Do what a key asks for; returns how the wizard ends where it does."""
        if key == " ":
            capture = self._wizard.capture_now()
            if capture is not None:
                self._keep(capture)
            else:
                self._events.appendleft(("-", "nothing new to capture: no camera sees the board"))
        elif key == "u":
            undone = self._wizard.undo()
            if undone is not None:
                self._recorder.undo(undone)
                log.info("undid capture %d", undone.number)
                self._events.appendleft(("undone", f"capture {undone.number}"))
                self._request_estimate()
        elif key == "h":
            self._help = not self._help
        elif key == "c":
            if self._wizard.captures:
                return "calibrate"
            self._events.appendleft(("-", "nothing captured yet"))
        elif key == "q":
            return "quit"
        return None

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn_at < _DRAW_S:
            return
        self._drawn_at = now
        self._window.show(draw_scene(self._scene(now), *self._window.size))

    def _scene(self, now: float) -> WizardScreen:
        wizard, coverage, reports = self._wizard, self._wizard.coverage, self._intake.reports(None)
        absent = [camera_id for camera_id, report in reports.items() if report.state not in ("streaming", "starting")]
        suggestion = _ENDED if recordings_ended(reports) else wizard.suggestion(absent)
        newest = self._recent[-1] if self._recent else None
        estimate = self._estimate.latest
        if len(wizard.captures) < _LEAST_CAPTURES_TO_ESTIMATE:
            estimate = None
        live = live_errors_px(estimate.rig, wizard.board, newest.views) if estimate and estimate.rig and newest else {}
        panels = []
        for camera in self._rig.cameras:
            name = camera.camera_id
            there = newest is not None and name in newest.images
            panels.append(
                camera_panel(
                    name,
                    reports[name],
                    self._seen_at.get(name),
                    now,
                    view=newest.views.get(name) if newest and there else None,
                    rejected=newest.rejected.get(name, "") if newest and there else "",
                    heat=coverage.cameras[name].heat,
                    needs=camera_needs(coverage.cameras[name], wizard.settings.enough),
                    views=coverage.cameras[name].views,
                    region=suggestion.region if name in suggestion.camera_ids else None,
                    live_px=live.get(name),
                    rmse_px=estimate.rmse_px.get(name) if estimate else None,
                )
            )
        flash_at, flashed = self._flash
        step = self._step if any(panel.fresh for panel in panels) else WizardStep(state="unseen")
        return WizardScreen(
            panels=panels,
            suggestion=suggestion,
            step=step,
            captures=len(wizard.captures),
            complete=wizard.complete,
            shared=coverage.shared,
            shared_enough=wizard.settings.enough.shared,
            pair_heat=coverage.pair_heat,
            events=list(self._events),
            flash=max(0.0, 1 - (now - flash_at) / _FLASH_S),
            flashed=flashed,
            rmse_px=estimate.all_rmse_px if estimate else None,
            why_no_estimate=estimate.why if estimate else "",
            corner_shape=wizard.board.corner_shape,
            help=self._help,
        )

    def _close(self, outcome: str) -> None:
        try:
            self._intake.stop()
            self._estimate.close()
            self._finder.close()
            self._window.close()
        finally:
            summary = {"outcome": outcome, "captures": len(self._wizard.captures), "complete": self._wizard.complete}
            write_atomic(self._folder.summary, json.dumps(summary).encode())
            close_authenticator()


def recordings_ended(reports: Mapping[str, CameraReport]) -> bool:
    """Whether recordings took the cameras' place and are over; one that could not be opened does not come any more."""
    states = {report.state for report in reports.values()}
    return "ended" in states and states <= {"ended", "lost", "failed"}


def main() -> int:
    """Run the wizard of a run: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        log.info("wizard: %s", WizardProcess(rig, settings, folder).run())
        return 0

    return run_process("wizard", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())
