"""Hand detection by engine, each in a process of its own, beside MediaPipe's wheel where an environment has it."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from app.bench.detector_run import SETTLED_SETS
from app.worker.statistics import rounded
from calibration.errors import UserError
from calibration.session import check_session
from deploy.image_engines import engines_here

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_RATES = ("crops_per_s", "crops_per_cpu_s", "sets_per_s", "sets_per_cpu_s")
_COSTS = ("first_hand_s", "first_hand_cpu_s", "memory_mb")


def bench(session: Path, seconds: float, rounds: int, wheel_python: Path | None) -> dict:
    """The best of `rounds` rounds of each detector, in turn, how good it is, and each engine's ratio to the wheel's.

    Raises UserError where no detector can be measured, `wheel_python` cannot run the wheel, or the session is too
    short.
    """
    recorded = check_session(session)
    frames = max(len(recorded.frame_times_ns(camera_id)) for camera_id in recorded.camera_ids)
    if frames <= SETTLED_SETS:
        raise UserError(f"{session}: {frames} frames of a camera, and a bench needs more than {SETTLED_SETS}. Give a "
                        "longer recording.")  # fmt: skip
    kinds = [*(["wheel"] if wheel_python else []), *engines_here()]
    rows: dict[str, dict] = {}
    for _ in range(rounds):
        for kind in kinds:
            python = wheel_python if kind == "wheel" and wheel_python else Path(sys.executable)
            found = _run(python, kind, session, seconds)
            if found is not None:
                rows[kind] = _better(rows.get(kind), found)
    if not rows:
        raise UserError(f"{session}: no engine could detect hands there; the reasons are above.")
    result: dict = {"rows": [{name: _short(value) for name, value in row.items()} for row in rows.values()]}
    if "wheel" in rows:
        result["of_wheel"] = {
            kind: {name: _ratio(row[name], rows["wheel"][name]) for name in _RATES}
            | {"memory_mb": rounded(row["memory_mb"] - rows["wheel"]["memory_mb"])}
            | {"leave_one_out_px": _ratio(row["leave_one_out_px"], rows["wheel"]["leave_one_out_px"])}
            for kind, row in rows.items()
            if kind != "wheel"
        }
    return result


def _run(python: Path, kind: str, session: Path, seconds: float) -> dict | None:
    command = [str(python), "-m", "app.bench.detector_run", kind, str(session.resolve()), str(seconds)]
    log.info("bench: %s", kind)
    try:
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(_ROOT)}, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UserError(f"`--wheel-python {python}`: cannot be started ({error.strerror}).") from None
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
    if kind == "wheel":
        raise UserError(
            f"`--wheel-python {python}`: cannot run MediaPipe's wheel ({reason}). Make its environment: python -m venv "
            "wheel && wheel/bin/pip install mediapipe==0.10.21 msgspec psutil pyzmq PyYAML tqdm"
        )
    log.warning("bench: %s does not work here: %s", kind, reason)
    return None


def _better(old: dict | None, new: dict) -> dict:
    """The best of each figure."""
    if old is None:
        return new
    best = {name: max(old[name], new[name]) for name in _RATES}
    best |= {name: min(old[name], new[name]) for name in _COSTS if old[name] and new[name]}
    return new | best


def _ratio(value: float | None, of: float | None) -> float | None:
    return rounded(value / of) if value and of else None


def _short(value: float | str | None) -> float | str | None:
    return rounded(value) if isinstance(value, float) else value
