"""How a batch scales on this machine: two workers beside one, what a task costs beside its work, and resumption.

Beside it stands what the machine itself gives: the same command alone on a core, and on as many cores at once as there
are workers, without an engine.
"""

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.batch.batch import Batch, BatchSettings, make_engine, plan_batch, run_batch
from app.batch.engine import EngineSettings
from app.batch.jobs import JOBS
from app.batch.record import TaskOutcome, TaskPlace, encode_outcome, encode_task
from app.batch.sessions import link_session
from app.batch.task import command_environment
from calibration.errors import UserError
from calibration.found_files import remove_folder

_FINISHED = 1000
_SCHEDULED_WORKERS = 2
_REFERENCE_RUNS = 3
"""Of the command on each core, one after the other: the first is as the others, as the files have been read before."""


def bench(session: Path, sessions: int, workers: int, folder: Path) -> dict[str, Any]:
    """Figures of a replay of `sessions` copies of a session by one worker and by `workers`, in `folder`.

    `rate_ratio` is the rate of `workers` over that of one times their number, from the first task's begin to the last
    one's end; `rate_ratio_with_start` has the engine's start and end in it. `machine_ratio` is that of the commands
    alone, and `engine_cpu_s` of `one` and `more` the processor time of all that is not a task's command. Raises
    UserError where a task fails.
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
    alone, together = _machine(copies / "copy_00", folder, workers)
    return {
        "sessions": sessions,
        "workers": workers,
        "one": one,
        "more": more,
        "rate_ratio": round(one["work_s"] / more["work_s"] / workers, 3),
        "machine": {"alone_s": round(alone, 2), "together_s": round(together, 2)},
        "machine_ratio": round(alone / together, 3),
        "rate_ratio_with_start": round(one["wall_s"] / more["wall_s"] / workers, 3),
        "same_bytes": one_files == more_files,
        **_finished(folder),
    }


def _replay(copies: Path, out: Path, workers: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    batch = plan_batch(JOBS["replay"], [str(path) for path in sorted(copies.iterdir())], BatchSettings(out=out))
    began, cpu_began_s = time.perf_counter(), _cpu_s()
    run_batch(batch, out, lambda: make_engine("local", EngineSettings(workers=workers, out=str(out))))
    wall_s, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_began_s
    if batch.failed():
        raise UserError(
            f"{batch.failed()[0].session}: {batch.failed()[0].reason}. Give a session that can be replayed."
        )
    places = [TaskPlace(out, task.name) for task in batch.tasks]
    begun = min(place.claim.stat().st_mtime for place in places)
    ended = max((place.result / "task.json").stat().st_mtime for place in places)
    seconds = [batch.outcomes[task.name].seconds for task in batch.tasks]
    of_tasks = [batch.outcomes[task.name].cpu_s for task in batch.tasks]
    figures = {"wall_s": round(wall_s, 2), "work_s": round(ended - begun, 2),
               "task_s": round(sum(seconds) / len(seconds), 2), "task_cpu_s": round(sum(of_tasks) / len(of_tasks), 2),
               "engine_cpu_s": round(cpu_s - sum(of_tasks), 2)}  # fmt: skip
    files = {
        task.session: (place.result / "poses.npz").read_bytes() for task, place in zip(batch.tasks, places, strict=True)
    }
    return figures, files


def _cpu_s() -> float:
    """Of this process and all that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _machine(session: Path, folder: Path, workers: int) -> tuple[float, float]:
    """Seconds that a replay takes on a core while the others rest, and while `workers` are at it, each on its own."""
    cores = sorted(os.sched_getaffinity(0))
    alone = _side_by_side(session, folder, cores[:1])
    return alone, _side_by_side(session, folder, [cores[index % len(cores)] for index in range(workers)])


def _side_by_side(session: Path, folder: Path, cores: list[int]) -> float:
    """Mean seconds of a replay, of `_REFERENCE_RUNS` on each core."""
    with ThreadPoolExecutor(len(cores)) as threads:
        return sum(threads.map(lambda each: _replays_on(session, folder, *each), enumerate(cores))) / len(cores)


def _replays_on(session: Path, folder: Path, number: int, core: int) -> float:
    words = [
        str(session) if word == "{session}" else word.replace("{out}", str(folder)) for word in JOBS["replay"].words
    ]
    words = [word.replace("poses.npz", f"alone_{number}.npz") for word in words]
    command = [sys.executable, "-P", "-m", "app.batch.child", str(os.getpid()), str(core), "app", *words]
    began = time.perf_counter()
    for _ in range(_REFERENCE_RUNS):
        subprocess.run(command, env=command_environment(), capture_output=True, check=True)
    return (time.perf_counter() - began) / _REFERENCE_RUNS


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
