"""Recording by encoder setting: frames that were lost, processor time of the encoders and of all, and bytes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.bench.cpu_watch import CpuWatch
from app.bench.mjpeg_cameras import mjpeg_cameras
from app.run.process import stop
from app.run.record_settings import RecordSettings
from app.run.settings import RunSettings
from app.run.supervisor import Outcome
from calibration.rig import Rig
from models.simulation.simulated_rig import ring_rig

SETTINGS: dict[str, dict] = {
    "ultrafast": {"preset": "ultrafast"},
    "superfast": {"preset": "superfast"},
    "veryfast": {"preset": "veryfast"},
    "lossless": {"codec": "ffv1"},
    "copy": {"codec": "copy"},
}
"""By name on the command line: what is set in RecordSettings."""


def bench(
    name: str,
    cameras: int,
    size: tuple[int, int],
    fps: float,
    seconds: float,
    folder: Path,
    run: Callable[[Rig, RunSettings], Outcome],
) -> dict | None:
    """The figures of one recording, which is removed afterwards; None where it failed.

    Raises KeyboardInterrupt where it was told to end before its `seconds`, by which its bytes are divided.
    """
    record = RecordSettings(folder=str(folder), alone=True, calibrated=False, reserve_mb=1)
    settings = RunSettings(estimator="", record=msgspec.structs.replace(record, **SETTINGS[name]))
    with mjpeg_cameras(ring_rig(cameras, *size, fps)) as rig:
        watch = CpuWatch(begins_s=min(5.0, seconds / 4))
        try:
            outcome = run(rig, settings)
        finally:
            cores = watch.end()
            shutil.rmtree(folder, ignore_errors=True)
    if stop.is_set():
        raise KeyboardInterrupt
    takes = outcome.summary.get("recording", {}).get("takes", ())
    if outcome.exit_code or not takes:
        return None
    frames, dropped = (sum(take[key] for take in takes) for key in ("frames", "dropped"))
    return {
        "setting": name,
        "codec": next(iter(outcome.summary["recording"]["codecs"].values()), ""),
        "cameras": cameras,
        "size": list(size),
        "fps": fps,
        "seconds": seconds,
        "frames": frames,
        "dropped": dropped,
        "mb_per_s": round(sum(take["bytes"] for take in takes) / 1e6 / seconds, 2),
        "cores": cores,
        "all_cores": round(sum(cores.values()), 3),
        "processors": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[2], 1),
    }
