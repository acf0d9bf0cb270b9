"""The touch test's process: frame sets in, a window that says what to touch next, and what was touched out.

Listens to: FrameHeader, CameraStatus (through the intake).
Emits: Pace (through the intake).

It stands where the worker does. After every touch, and at the end, what was seen is in the test's folder.
"""

import contextlib
import json
import logging
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from app.assembly.intake import Intake
from app.estimators import make_detector, make_estimator
from app.evaluation.touch_targets import targets_of
from app.evaluation.touches import find_touches
from app.run.policy import LivePolicy
from app.run.process import process_parser, run_process, stop
from app.run.pulse import pulse
from app.run.settings import RunFolder, RunSettings
from app.touch.guide import TouchGuide
from app.touch.plan import PLAN, Prompt, TouchPlan, prompt_text
from app.touch.recorder import TouchRecorder
from app.touch.screen import TouchScreen, draw_touch
from app.transport.keys import close_authenticator
from app.wizard.detection import BoardFinder
from app.wizard.drawn_window import open_drawn_window
from app.wizard.tile import CameraPanel, camera_panel
from app.worker.statistics import Quantiles
from calibration.board.board import read_board
from calibration.errors import UserError
from calibration.frames import FrameSet
from calibration.rig import Rig
from calibration.written_files import write_atomic

log = logging.getLogger(__name__)

WINDOW = "Touch test"
_DRAW_S = 1 / 20
_EVENTS = 6
_NOBODY = (-1, -1, -1)


class TouchProcess:
    """Runs the estimator, the board's detection and the window, until the plan, a key or a signal ends it."""

    def __init__(self, rig: Rig, settings: RunSettings, folder: RunFolder) -> None:
        assert settings.touch is not None
        self._rig, self._folder, self._settings = rig, folder, settings
        place = Path(settings.touch)
        self._board = read_board(place / "board.yaml")
        plan = msgspec.json.decode((place / PLAN).read_bytes(), type=TouchPlan)
        self._targets = targets_of(self._board, plan.corners)
        self._guide = TouchGuide([Prompt(*each) for each in plan.touches], self._targets)
        self._finder = BoardFinder(self._board, rig.camera_ids)
        engine = settings.engine if settings.estimator == "mediapipe" else "auto"
        self._estimator = make_estimator(
            settings.estimator, rig, settings.seed, settings.checkpoint, settings.engine,
            make_detector(settings.detector, engine), settings.hands,
        )  # fmt: skip
        self._recorder = TouchRecorder(place, rig, self._board, self._estimator.definition)
        self._go_on()
        self._intake = Intake(rig, settings, folder)
        self._window = open_drawn_window(WINDOW)
        self._seen_at: dict[str, tuple[float, np.ndarray]] = {}
        self._hands_m: list[np.ndarray] = []
        self._pose: np.ndarray | None = None
        self._latency_ms = Quantiles()
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._drawn_at = 0.0

    def run(self) -> None:
        self._intake.start()
        self._intake.release()
        try:
            log.info("touch test: %d touches are asked for", len(self._guide.plan))
            while not stop.is_set() and self._guide.current is not None:
                pulse.beat()
                frame_set = self._intake.take(0.02)
                if frame_set is not None:
                    self._look(frame_set)
                    self._intake.done(frame_set)
                    pulse.work()
                elif self._intake.ended:
                    break
                self._draw()
                if any(self._press(key) for key in self._window.pressed()):
                    break
        finally:
            self._close()

    def _go_on(self) -> None:
        """Where a test's process died, the touches before do not have to be made again."""
        if self._recorder.before is None:
            return
        with contextlib.suppress(UserError):
            made = {Prompt(t.side, t.finger, t.target) for t in find_touches(self._recorder.before, self._targets)}
            while self._guide.current in made:
                self._guide.skip()

    def _look(self, frame_set: FrameSet) -> None:
        estimate = self._estimator.estimate(frame_set)
        oldest_ns = min((frame.grab_time_ns for frame in frame_set.frames.values()), default=0)
        if estimate.hands:
            self._latency_ms.add((time.monotonic_ns() - oldest_ns) / 1e6)
        seen = self._finder.find(frame_set)
        self._seen_at |= {name: (time.monotonic(), image) for name, image in seen.images.items()}
        self._hands_m = [hand.joints_world_m for hand in estimate.hands]
        prompt = self._guide.current
        self._recorder.add(frame_set.reference_time_ns, estimate.hands, seen.views, prompt or _NOBODY)
        newest = self._recorder.newest
        if newest is None:
            return
        self._pose = newest.T_world_board[0] if newest.measured[0] else self._pose
        if self._guide.update(int(newest.times_ns[0]), newest.joints_board_m[0]) and prompt is not None:
            self._say(prompt_text(prompt, self._targets).replace(": touch corner", " at").split(" with")[0])
            self._recorder.write()

    def _press(self, key: str) -> bool:
        """Do what a key asks for; whether it ends the test."""
        if key == "s":
            self._guide.skip()
        elif key == "b":
            self._guide.back()
            if self._guide.current is not None:
                self._recorder.forget(self._guide.current)
                self._say("once more")
        return key == "q"

    def _say(self, text: str) -> None:
        log.info("touch test: %s", text)
        self._events.appendleft(text)

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn_at < _DRAW_S:
            return
        self._drawn_at = now
        guide = self._guide
        screen = TouchScreen(
            panels=self._panels(now), hands_world_m=self._hands_m, T_world_board=self._pose, prompt=guide.current,
            state=guide.state, held=guide.held, done=guide.number, total=len(guide.plan), events=list(self._events),
        )  # fmt: skip
        self._window.show(draw_touch(screen, self._rig, self._board, self._targets, self._window.size))

    def _panels(self, now: float) -> list[CameraPanel]:
        """Each camera's newest image, and whether it still is of now."""
        reports = self._intake.reports(None)
        return [
            camera_panel(camera_id, reports[camera_id], self._seen_at.get(camera_id), now)
            for camera_id in self._rig.camera_ids
        ]

    def _close(self) -> None:
        try:
            self._intake.stop()
            self._recorder.write()
        finally:
            self._finder.close()
            self._estimator.close()
            self._window.close()
            write_atomic(self._folder.summary, json.dumps(self._summary()).encode())
            close_authenticator()

    def _summary(self) -> dict:
        # Of a recording the time that a frame waited for its turn is no latency.
        live = isinstance(self._settings.policy, LivePolicy) and self._latency_ms.count
        latency_ms = self._latency_ms.summary() if live else None
        return {"sets": len(self._recorder), "asked": self._guide.number, "latency_ms": latency_ms}


def main() -> int:
    """Run the touch test of a run: started by the supervisor."""

    def work(folder: RunFolder, rig: Rig, settings: RunSettings) -> int:
        TouchProcess(rig, settings, folder).run()
        return 0

    return run_process("touch test", process_parser().parse_args(), work)


if __name__ == "__main__":
    sys.exit(main())
