"""How a batch scales on this machine: two workers beside one, what a task costs beside its work, and resumption."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from app.batch.batch import Batch, BatchSettings, make_engine, plan_batch, run_batch
from app.batch.engine import EngineSettings
from app.batch.jobs import JOBS
from app.batch.record import TaskOutcome, TaskPlace, encode_outcome, encode_task
from app.batch.sessions import link_session
from calibration.errors import UserError
from calibration.found_files import remove_folder

_FINISHED = 1000
_SCHEDULED_WORKERS = 2


def bench(session: Path, sessions: int, workers: int, folder: Path) -> dict[str, Any]:
    """Figures of a replay of `sessions` copies of a session by one worker and by `workers`, in `folder`.

    `rate_ratio` is the rate of `workers` over that of one times their number, from the first task's begin to the last
    one's end; `rate_ratio_with_start` has the engine's start and end in it. Raises UserError where a task fails.
    """
    copies = folder / "sessions"
    for number in range(sessions):
        copy = copies / f"copy_{number:02d}"
        copy.mkdir(parents=True)
        link_session(session.resolve(), copy, ("session.yaml",))
        text = (session / "session.yaml").read_text()
        (copy / "session.yaml").write_text(f"{text}# copy {number}\n")
    one, one_files = _replay(copies, folder / "one", 1)
    more, more_files = _replay(copies, folder / "more", workers)
    return {
        "sessions": sessions,
        "workers": workers,
        "one": one,
        "more": more,
        "rate_ratio": round(one["work_s"] / more["work_s"] / workers, 3),
        "rate_ratio_with_start": round(one["wall_s"] / more["wall_s"] / workers, 3),
        "same_bytes": one_files == more_files,
        **_finished(folder),
    }


def _replay(copies: Path, out: Path, workers: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    batch = plan_batch(JOBS["replay"], [str(path) for path in sorted(copies.iterdir())], BatchSettings(out=out))
    began = time.perf_counter()
    run_batch(batch, out, lambda: make_engine("local", EngineSettings(workers=workers, out=str(out))))
    wall_s = time.perf_counter() - began
    if batch.failed():
        raise UserError(
            f"{batch.failed()[0].session}: {batch.failed()[0].reason}. Give a session that can be replayed."
        )
    places = [TaskPlace(out, task.name) for task in batch.tasks]
    begun = min(place.claim.stat().st_mtime for place in places)
    ended = max((place.result / "task.json").stat().st_mtime for place in places)
    seconds = [batch.outcomes[task.name].seconds for task in batch.tasks]
    figures = {"wall_s": round(wall_s, 2), "work_s": round(ended - begun, 2),
               "task_s": round(sum(seconds) / len(seconds), 2)}  # fmt: skip
    files = {
        task.session: (place.result / "poses.npz").read_bytes() for task, place in zip(batch.tasks, places, strict=True)
    }
    return figures, files


def _finished(folder: Path) -> dict[str, Any]:
    """What 1,000 finished sessions take: to be found so by the command, and to be asked for on the engine's workers."""
    sessions, out = folder / "finished", folder / "finished_out"
    for number in range(_FINISHED):
        (sessions / f"{number:04d}").mkdir(parents=True)
        (sessions / f"{number:04d}" / "session.yaml").write_text(f"name: {number}\n")
        (sessions / f"{number:04d}" / "rig.yaml").write_text("version: 1\n")
    batch = plan_batch(JOBS["replay"], [str(path) for path in sorted(sessions.iterdir())], BatchSettings(out=out))
    for task in batch.tasks:
        place = TaskPlace(out, task.name)
        place.result.mkdir(parents=True)
        outcome = TaskOutcome(name=task.name, job=task.job, session=task.session, state="done", seconds=1.0)
        (place.result / "task.json").write_bytes(encode_outcome(outcome))
    began = time.perf_counter()
    command = [sys.executable, "-m", "app", "batch", "replay", str(sessions), "-o", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    resume_s = time.perf_counter() - began
    printed = json.loads(done.stdout.splitlines()[-1])
    figures = {"finished_sessions": printed["finished_before"], "resume_s": round(resume_s, 2)}
    figures["task_overhead_ms"] = round(_overhead_s(batch, out) * 1e3, 2)
    remove_folder(sessions)
    return figures


def _overhead_s(batch: Batch, out: Path) -> float:
    """Seconds a task that is done already takes from here to a worker and back, its claim and record read."""
    engine = make_engine("local", EngineSettings(workers=_SCHEDULED_WORKERS, out=str(out)))
    try:
        began = time.perf_counter()
        for number, task in enumerate(batch.tasks):
            engine.submit(number, encode_task(task))
        left = len(batch.tasks)
        while left:
            left -= engine.next_ended(10.0) is not None
        return (time.perf_counter() - began) / len(batch.tasks)
    finally:
        engine.close()
