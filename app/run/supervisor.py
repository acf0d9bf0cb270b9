"""The supervisor: starts the processes of a run, restarts what dies, ends them all, leaves nothing behind.

It runs in the command's own process and touches no camera, estimator or window, so that none of these can take the run
down with it: the viewer is a process too, and a crash in a graphics driver costs its window for a second, not the run.

Listens to: nothing but its children's ends. Emits: nothing.
"""

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.run.pose_rows import finish_poses, has_rows, is_written
from app.run.process import stop
from app.run.pulse import Watched
from app.run.settings import RunFolder, RunSettings, run_folder
from app.run.view_choice import ViewChoice
from calibration.errors import UserError
from calibration.rig import Rig

log = logging.getLogger(__name__)

_POLL_S = 0.05
_STACK_S = 0.5
_SLEPT_S = 5.0
# The seconds of a run count when these have begun.
_BEGIN = ("worker", "viewer", "recorder")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the supervisor waits, in seconds.

    `stop_s`: for what was told to end, so that Ctrl-C is over within two seconds. `finish_s`: for the worker where
    nobody presses Ctrl-C, and for a viewer that writes a video, which cannot be played unless it is closed; long
    enough on a machine that has ten other things to do. `last_poses_s`: for a viewer to draw what is left of a replay.
    `restart_s`: before what died is started again; what dies `deaths` times in `deaths_s`, or as often in a row without
    having done anything, will not get better. `hung_s`: a process whose main loop does not come round for so long
    stands still: it is ended and started again. The worker may take twice as long, as another engine may have to take
    the place of one that failed, and each twice as long before its first piece of work; `load_s` until its main loop
    begins, and the worker, which may build an engine, and the recorder, which may repair a session, five times that.
    `poses_s`: for the worker to finish a file of poses, whatever its length. `begin_s`: for the first picture, from
    which the seconds of a run count, and then they count without it.
    """

    stop_s: float = 1.5
    finish_s: float = 10.0
    last_poses_s: float = 120.0
    restart_s: float = 0.5
    deaths: int = 5
    deaths_s: float = 20.0
    hung_s: float = 30.0
    load_s: float = 120.0
    poses_s: float = 120.0
    begin_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class ViewerSettings:
    """Which view a run shows. A window's may render into the file `headless`, and leave a picture at the end, in one of
    the themes of `app.viewer.palette`; or write one of each of its modes into the folder `pictures`, and end."""

    headless: Path | None = None
    snapshot: Path | None = None
    pictures: Path | None = None
    title: str = "UST-Hand live"
    choice: ViewChoice = ViewChoice()
    theme: str = "dark"

    def arguments(self) -> list[str]:
        """What its process is told."""
        told = ["--title", self.title, *self.choice.arguments()]
        if self.choice.kind == "window":
            told += ["--theme", self.theme]
        for flag, path in (
            ("--headless", self.headless),
            ("--snapshot", self.snapshot),
            ("--pictures", self.pictures),
        ):
            if path is not None:
                told += [flag, str(path)]
        return told

    @property
    def file(self) -> Path | None:
        """What the view writes as it goes: a video, or a file for another viewer."""
        return self.headless or self.choice.file


@dataclass
class Outcome:
    """How a run ended: the exit code, and the worker's summary (empty where it never got that far)."""

    exit_code: int
    summary: dict = field(default_factory=dict)


@dataclass(kw_only=True)
class _Child:
    name: str
    command: list[str]
    process: subprocess.Popen | None = None
    deaths: deque[float]
    restart_at: float = 0.0
    pulse: Watched | None = None
    idle_deaths: int = 0

    def start(self, folder: RunFolder) -> None:
        # A process group of their own: Ctrl-C reaches the supervisor only, which ends them in order.
        # One BLAS thread: the matrices are tiny, and waking helper threads costs more than it saves.
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ}
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, env=environment, process_group=0)
        self.pulse = Watched(folder.pulse(self.process.pid))

    def poll(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def end_if_hung(self, now: float, patience: Patience) -> None:
        """Write the stack of one that stands still to the log, and kill it: it is then one that died."""
        if self.process is None or self.pulse is None or self.process.poll() is not None:
            return
        self.pulse.look(now)
        if self.pulse.turns:
            limit_s = patience.hung_s * (2 if self.name == "worker" else 1) * (1 if self.pulse.done else 2)
        else:
            limit_s = patience.load_s * (5 if self.name in ("worker", "recorder") else 1)
        if not self.pulse.stands_still(now, limit_s):
            return
        log.error("%s stands still for %.0f s; its stack follows, then it is ended", self.name, limit_s)
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(_STACK_S)
        self.process.kill()
        self.process.wait()


class Supervisor:
    """Runs one rig: a grabber per local camera, the worker, and viewer and streams as asked for."""

    def __init__(
        self,
        rig: Rig,
        settings: RunSettings,
        viewer: ViewerSettings | None,
        patience: Patience | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """`on_progress` is told how many sets of a replay were played, a few times a second."""
        self._rig, self._settings, self._viewer, self._on_progress = rig, settings, viewer, on_progress
        self._patience = patience or Patience()

    @property
    def _main(self) -> str:
        """The child whose end is the run's."""
        record = self._settings.record
        return "recorder" if record is not None and record.alone else "worker"

    @property
    def _writes_file(self) -> bool:
        return self._viewer is not None and self._viewer.file is not None

    def run(self, seconds: float | None = None) -> Outcome:
        """Until the worker is done, the viewer is closed, a signal says stop, or `seconds` from the first picture."""
        with run_folder(self._rig, self._settings) as folder:
            children = self._children(folder)
            try:
                for child in children.values():
                    child.start(folder)
                exit_code = self._watch(children, folder, seconds)
            finally:
                self._end(children)
            summary = _read_summary(folder)
            if not self._keep_poses(folder, summary):
                exit_code = exit_code or 1
            return Outcome(exit_code, summary)

    def _children(self, folder: RunFolder) -> dict[str, _Child]:
        parent = str(os.getpid())

        def child(name: str, module: str, *arguments: str) -> _Child:
            command = [sys.executable, "-m", module, str(folder.path), parent, *arguments]
            return _Child(name=name, command=command, deaths=deque(maxlen=self._patience.deaths))

        worker = "app.worker.process"
        if self._settings.wizard:
            worker = "app.wizard.process"
        elif self._settings.touch:
            worker = "app.touch.process"
        elif self._settings.latency:
            worker = "app.latency.led_process" if self._settings.latency_led else "app.latency.process"
        children = {}
        if self._settings.record is not None:
            # Before the cameras: it hears of their first frames.
            children["recorder"] = child("recorder", "app.recording.process")
        if self._main == "worker":
            children["worker"] = child("worker", worker)
        for camera in self._rig.cameras:
            if not camera.remote:
                name = f"grabber of {camera.camera_id}"
                children[name] = child(name, "app.capture.grabber", camera.camera_id)
        for address in self._settings.streams:
            children[address] = child(address, "app.streams.process", address)
        if self._viewer is not None:
            children["viewer"] = child("viewer", self._viewer.choice.module, *self._viewer.arguments())
        return children

    def _watch(self, children: dict[str, _Child], folder: RunFolder, seconds: float | None) -> int:
        begun_at, begin_by = None, time.monotonic() + self._patience.begin_s
        before = time.monotonic()
        while not stop.wait(_POLL_S):
            now = time.monotonic()
            _end_hung(children, now, None if now - before > _SLEPT_S else self._patience)
            before = now
            if begun_at is None and (
                now > begin_by or all(folder.begun(name).exists() for name in _BEGIN if name in children)
            ):
                begun_at = now
            if seconds is not None and begun_at is not None and now > begun_at + seconds:
                log.info("%g s are over", seconds)
                return 0
            if self._on_progress is not None and folder.progress.exists():
                self._on_progress(int(folder.progress.read_text() or 0))
            for child in children.values():
                code = child.poll()
                if child.process is None and now >= child.restart_at:
                    child.start(folder)
                if code is None:
                    continue
                if code == 0 and child.name == self._main:
                    return self._let_viewer_finish(children, folder)
                if code == 0 and child.name == "viewer":
                    log.info("%s: closed", child.name)
                    return 0
                if code == 2:
                    log.error("%s cannot go on, for the reason above", child.name)
                    return 2
                if self._must_give_up(child, code, now):
                    return 1
        return 0 if self._settings.policy.restarts else 1

    def _must_give_up(self, child: _Child, code: int, now: float) -> bool:
        """Note a death; the child is started again, unless that is of no use."""
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        is_stream = child.name in self._settings.streams
        if not (is_stream or child.name == "viewer" or self._settings.policy.restarts):
            log.error("%s died (%s): the replay cannot go on without loss. Start it again.", child.name, how)
            return True
        if child.name == "viewer" and self._writes_file:
            what = "video" if self._viewer is not None and self._viewer.headless else "file"
            log.error("%s died (%s): the %s cannot be finished. Start it again.", child.name, how, what)
            return True
        child.deaths.append(now)
        patience, lasted_s = self._patience, now - child.deaths[0]
        if child.pulse is not None:
            child.pulse.look(now)
            child.idle_deaths = 0 if child.pulse.done else child.idle_deaths + 1
        if is_stream and self._settings.policy.restarts and len(child.deaths) == patience.deaths:
            log.error("%s died %d times (%s); the run goes on without it", child.name, patience.deaths, how)
            child.process, child.restart_at = None, math.inf
            return False
        if child.name != "viewer" and child.idle_deaths >= patience.deaths:
            log.error("%s died %d times before it did anything (%s); giving up", child.name, child.idle_deaths, how)
            return True
        if len(child.deaths) == patience.deaths and lasted_s < patience.deaths_s:
            log.error("%s died %d times in %.0f s (%s); giving up", child.name, patience.deaths, lasted_s, how)
            return True
        log.warning("%s died (%s); starting it again, the others go on", child.name, how)
        child.process = None
        child.restart_at = now + patience.restart_s
        return False

    def _let_viewer_finish(self, children: dict[str, _Child], folder: RunFolder) -> int:
        """The worker has published its last pose: the viewer shows or writes it and ends by itself."""
        viewer = children.get("viewer")
        if viewer is not None and viewer.process is not None:
            end_at = time.monotonic() + self._patience.last_poses_s
            while viewer.poll() is None and time.monotonic() < end_at and not stop.wait(_POLL_S):
                if folder.viewer_stays.exists():
                    end_at = time.monotonic() + self._patience.last_poses_s
            return 0 if viewer.poll() == 0 or stop.is_set() else 1
        return 0

    def _finishes(self, name: str) -> bool:
        """Whether a child that is told to end has something to finish."""
        if name == "viewer":
            return self._writes_file
        return name == "recorder" or (name == "worker" and (not stop.is_set() or self._settings.poses is not None))

    def _end(self, children: dict[str, _Child]) -> None:
        running = [(child, child.process) for child in children.values() if child.process is not None]
        for _, process in running:
            if process.poll() is None:
                process.terminate()
        began = time.monotonic()
        for child, process in running:
            finishes = self._finishes(child.name)
            limit_s = self._patience.finish_s if finishes else self._patience.stop_s
            if child.name == "worker" and self._settings.poses is not None:
                limit_s = self._patience.poses_s
            try:
                process.wait(max(0.0, began + limit_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not end in %.1f s and was killed", child.name, limit_s)
                process.kill()
                process.wait()
        if self._viewer is not None and self._viewer.file is not None:
            for partial in self._viewer.file.parent.glob(f".{self._viewer.file.name}.*.partial"):
                partial.unlink(missing_ok=True)

    def _keep_poses(self, folder: RunFolder, summary: dict) -> bool:
        """What a worker that died had written of the poses becomes the file; False where there is none."""
        if self._settings.poses is None:
            return True
        path = Path(self._settings.poses)
        # Rows that another run writes, or left, are not this one's.
        if not folder.begun("poses").exists() or not has_rows(path) or is_written(path):
            return "poses" in summary
        try:
            hands = finish_poses(path)
        except OSError as error:
            log.error("%s: the poses could not be written (%s)", path, error.strerror)
            return False
        except UserError as error:
            log.error("%s", error)
            return False
        log.warning("%s has what the worker had written when it ended: %d hands", path, hands)
        if summary:
            summary["poses"] = str(path)
        return True


def _end_hung(children: dict[str, _Child], now: float, patience: Patience | None) -> None:
    """End those that stand still; without patience this process itself was stopped, and all begin anew."""
    for child in children.values():
        if patience is not None:
            child.end_if_hung(now, patience)
        elif child.pulse is not None:
            child.pulse.changed_s = now


def _read_summary(folder: RunFolder) -> dict:
    """The worker's, in `recording` the recorder's, and in `viewer` the window's."""
    summary = json.loads(folder.summary.read_text()) if folder.summary.exists() else {}
    if folder.recording.exists():
        summary["recording"] = json.loads(folder.recording.read_text())
    if summary and folder.viewing.exists():
        summary["viewer"] = json.loads(folder.viewing.read_text())
    return summary
