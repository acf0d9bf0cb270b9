"""A short recording of a simulated rig whose pictures nobody needs to look at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.session import Session, write_session
from models.simulation.simulated_rig import ring_rig

SETS = 45
START_NS = 5_000_000_000
STEP_NS = 33_333_333


def write_simulated_session(path: Path, write_video: Callable[..., Path], step_ns: int = STEP_NS) -> Session:
    """Three cameras, 45 frames at 30 Hz or so far apart; the simulated detector knows where the hands were."""
    rig = ring_rig(3)
    rig = replace(rig, cameras=tuple(replace(camera, source=None) for camera in rig.cameras))
    times = START_NS + np.arange(SETS) * step_ns
    for camera_id in rig.camera_ids:
        write_video(path / f"{camera_id}.mp4", 640, 480, SETS)
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in rig.camera_ids}
    return write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, times))
