"""Many large simulated cameras at once: sets a second, frames lost by cause, and which process takes the time."""

import os
import time
from collections.abc import Callable

import numpy as np

from app.bench.cpu_watch import CpuWatch
from app.bench.live import frames_lost
from app.run.settings import RunSettings
from app.run.supervisor import Outcome
from app.sources.hand_drawing import HandDrawing
from app.worker.statistics import rounded
from calibration.rig import Rig
from models.simulation.hands import hands_of_people_at

_PICTURES = 40


def bench(rig: Rig, settings: RunSettings, run: Callable[[Rig, RunSettings], Outcome]) -> dict:
    """The figures of one run; empty where it failed."""
    drawing_ms = _drawing_ms(rig)
    watch = CpuWatch()
    outcome = run(rig, settings)
    cores, summary = watch.end(), outcome.summary
    if outcome.exit_code or not summary:
        return {}
    lost = frames_lost(summary)
    fps = rig.sync.fps or 0.0
    return {
        "cameras": len(rig.cameras),
        "size": [rig.cameras[0].camera.width, rig.cameras[0].camera.height],
        "fps_asked": fps,
        "sets_per_s": summary["fps"],
        "frames": lost.pop("frames"),
        "lost": lost,
        "latency_ms": summary["latency_ms"],
        "stage_ms": summary["stage_ms"],
        "cores": cores,
        "cores_of_drawing": round(drawing_ms * fps * len(rig.cameras) / 1e3, 3),
        "processors": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[2], 1),
    }


def _drawing_ms(rig: Rig) -> float:
    """Of processor time, for a picture of a simulated camera, which a real one would not need."""
    drawing, lens = HandDrawing(rig.cameras[0]), rig.cameras[0].camera
    image = np.empty((lens.height, lens.width, 3), np.uint8)
    began = time.thread_time()
    for number in range(_PICTURES):
        drawing.draw([joints_m for _, joints_m in hands_of_people_at(number / 30, 1)], image)
    return rounded((time.thread_time() - began) / _PICTURES * 1e3) or 0.0
