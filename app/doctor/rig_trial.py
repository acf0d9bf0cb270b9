"""A rig: what it asks of the machine, and what its cameras do when all of them run for some seconds."""

import shlex
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from app.doctor.finding import Finding, Findings
from app.doctor.limits import DoctorLimits
from app.doctor.needs import CameraNeeds, RigNeeds
from app.run.logs import without_passwords
from app.sources import make_source
from app.sources.source import EndOfSource, FrameCorrupt, SourceLost, SourceTimeout, Stamp
from app.sources.video_file import is_url, is_video_file
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError
from calibration.rig import Rig, RigCamera

_TIMEOUT_S, _SETTLE_S = 3.0, 1.0


def rig_needs(rig: Rig, path: Path) -> RigNeeds:
    """Of the cameras of this machine, and of what others send it."""
    here, elsewhere = (
        tuple(_camera_needs(camera) for camera in rig.cameras if camera.remote == remote) for remote in (False, True)
    )
    return RigNeeds(here, bool(elsewhere), f"the {len(rig.cameras)} cameras of {path}", elsewhere)


def _camera_needs(camera: RigCamera) -> CameraNeeds:
    width, height = camera.source_size
    source = camera.source
    device = str(source.device) if isinstance(source, OpenCvSource) else ""
    usb = device.isdigit() or device.startswith("/dev/")
    return CameraNeeds(
        camera_id=camera.camera_id,
        device=device,
        width=width,
        height=height,
        locked=getattr(source, "exposure", None) is not None,
        kind="usb" if usb else "other",
        fps=getattr(source, "fps", None),
        fourcc=getattr(source, "fourcc", None),
    )


@dataclass(kw_only=True)
class CameraTrial:
    """What one camera did; `stamps` are of frames that were not damaged."""

    mode: str = ""
    fps: float | None = None
    stamps: list[Stamp] = field(default_factory=list)
    corrupt: int = 0
    failure: str = ""


def try_cameras(rig: Rig, seconds: float, limits: DoctorLimits, listens: bool = False) -> Findings:
    """All cameras of this machine at once, as in a run: a bus that is too slow for all is not for one. `listens`: those
    of other machines are tried as well, elsewhere."""
    local = [camera for camera in rig.cameras if not camera.remote]
    trials = {camera.camera_id: CameraTrial() for camera in local}
    threads = [
        threading.Thread(target=_run, args=(camera, rig, seconds, trials[camera.camera_id]), daemon=True)
        for camera in local
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds + 30.0
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for camera, thread in zip(local, threads, strict=True):
        trial = trials[camera.camera_id]
        if thread.is_alive():
            trial.failure = trial.failure or "its driver does not answer"
        yield from judge_trial(camera, trial, limits)
    for camera in rig.cameras:
        if camera.remote and not listens:
            text = "is grabbed on another machine: not tried here"
            yield Finding(f"camera {camera.camera_id}", "ok", text)


def _run(camera: RigCamera, rig: Rig, seconds: float, trial: CameraTrial) -> None:
    source = None
    try:
        source = make_source(camera, rig)
        mode = source.open()
        trial.mode, trial.fps = without_passwords(mode.description), mode.fps
        image = np.empty((camera.camera.height, camera.camera.width, 3), np.uint8)
        settled = time.monotonic() + min(_SETTLE_S, seconds / 4)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stamp = source.grab(_TIMEOUT_S)
            try:
                source.retrieve(image)
            except FrameCorrupt:
                trial.corrupt += 1
                continue
            if time.monotonic() > settled:
                trial.stamps.append(stamp)
    except EndOfSource:
        pass
    except (UserError, SourceLost, SourceTimeout, OSError) as error:
        trial.failure = without_passwords(str(error)) or type(error).__name__
    except Exception as error:
        trial.failure = without_passwords(f"{type(error).__name__}: {error}")
    finally:
        if source is not None:
            source.close()


def judge_trial(camera: RigCamera, trial: CameraTrial, limits: DoctorLimits) -> Findings:
    """One line on its rate, and one on its time stamps."""
    topic, asked_fps = f"camera {camera.camera_id}", getattr(camera.source, "fps", None)
    if trial.failure:
        what = f"after {len(trial.stamps)} frames: {trial.failure}" if trial.mode else trial.failure
        yield Finding(topic, "problem", what, _what_shows_more(camera))
        return
    damaged = f"; {trial.corrupt} frames were damaged" if trial.corrupt else ""
    cable = "lsusb -t   (another cable or port; fewer cameras on its bus)"
    if len(trial.stamps) < 3:
        what = f"{len(trial.stamps)} frames came{damaged}"
        yield Finding(topic, "problem", what, cable if trial.corrupt else _what_shows_more(camera))
        return
    periods_ms = _periods_ms(trial.stamps)
    rate = 1e3 * len(periods_ms) / sum(periods_ms) if sum(periods_ms) > 0 else 0.0
    wanted = asked_fps or trial.fps
    told = f"{rate:.2f} frames/s" + (f" of {wanted:g}" if wanted else "") + f"; {trial.mode}{damaged}"
    if wanted and rate < wanted * limits.rate:
        light = "v4l2-ctl -d DEVICE -c exposure_dynamic_framerate=0   (more light, a shorter exposure, another bus)"
        damage_slows = trial.corrupt > (1 - limits.rate) * (len(trial.stamps) + trial.corrupt)
        yield Finding(topic, "problem", told, cable if damage_slows else light)
    elif trial.corrupt:
        yield Finding(topic, "warning", told, cable)
    else:
        yield Finding(topic, "ok", told)
    yield _judge_times(topic, trial.stamps, periods_ms, limits)


def _what_shows_more(camera: RigCamera) -> str:
    """A command; `usthand cameras` knows those that are attached only."""
    device = getattr(camera.source, "device", 0)
    if is_url(device):
        host = urlsplit(str(device)).hostname or "HOST"
        return f"ping -c 3 {shlex.quote(host)}   (then compare path, user and password of its URL in rig.yaml)"
    if is_video_file(device):
        return f"ls -l {shlex.quote(str(device))}"
    return "usthand cameras --probe"


def _periods_ms(stamps: Sequence[Stamp]) -> list[float]:
    times = [stamp.capture_time_ns for stamp in stamps]
    return [(after - before) / 1e6 for before, after in zip(times, times[1:], strict=False)]


def _judge_times(topic: str, stamps: Sequence[Stamp], periods_ms: list[float], limits: DoctorLimits) -> Finding:
    """Even, rising, none missing, and how long after its time a frame is there."""
    usual = statistics.median(periods_ms)
    deviations = sorted(abs(period - usual) for period in periods_ms)
    jitter = deviations[int(0.95 * (len(deviations) - 1))]
    lost = sum(after.sequence - before.sequence - 1 for before, after in zip(stamps, stamps[1:], strict=False))
    delay = statistics.median((stamp.grab_time_ns - stamp.capture_time_ns) / 1e6 for stamp in stamps)
    told = f"time stamps: {usual:.2f} ms apart, 95 % within {jitter:.2f} ms, {lost} lost"
    if not stamps[0].recorded:
        told += f", there {delay:.1f} ms after their time"
    remedy = "usthand record RIG trial --seconds 60   (then see trial/frames.csv; more light, another bus, less load)"
    if min(periods_ms) <= 0:
        return Finding(topic, "problem", f"{told}; they do not rise", remedy)
    if jitter > usual * limits.jitter or lost > limits.gaps * len(stamps):
        return Finding(topic, "warning", told, remedy)
    return Finding(topic, "ok", told)
