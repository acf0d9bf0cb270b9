"""Tasks on SLURM, through submitit: job arrays of one task each. `cluster=local` runs them on this machine instead.

Whether a job has ended without a result is asked of `squeue`, not as submitit does of `sacct`: that answers only where
SLURM keeps accounts, which many clusters do not, and submitit asks it every ten minutes.
"""

import logging
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from app.batch.engine import EngineSettings, library
from app.batch.task import run_task
from calibration.errors import UserError

log = logging.getLogger(__name__)

_POLL_S = 0.5
_ASK_S = 10.0
_LATE_S = 20.0
"""So long after its job's end a result may appear in a shared folder."""
_ANSWER_S = 30.0
_MOST_MINUTES = 24 * 60
_MOST_ARRAY = 1000
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
          "REVOKED", "TIMEOUT"}  # fmt: skip


class SlurmEngine:
    """SLURM jobs, at most `settings.workers` at once."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises UserError where submitit is not installed, there is no SLURM, or it has no such parameter."""
        submitit: Any = library("submitit", "slurm")
        logging.getLogger("submitit").setLevel(logging.ERROR)
        parameters: dict[str, Any] = dict(settings.slurm)
        cluster = parameters.pop("cluster", "slurm")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("`--on slurm`: this machine has no sbatch. Run it where SLURM's jobs are given.")
        self._here, self._workers = cluster != "slurm", settings.workers
        # Of its own for each run: a SLURM that was set up anew counts its jobs from 1 again.
        folder = Path(settings.out, "slurm", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        numbers = {name: int(value) if value.isdecimal() else value for name, value in parameters.items()}
        wanted = {"timeout_min": _MOST_MINUTES, "cpus_per_task": settings.cores, "name": "usthand"} | numbers
        if settings.gpus:
            wanted["gpus_per_node"] = 1
        if not self._here:
            wanted.setdefault("slurm_array_parallelism", settings.workers)
        try:
            self._executor.update_parameters(**wanted)
        except (NameError, ValueError, TypeError) as error:
            raise UserError(f"`--slurm`: {error}") from None
        self._refused = submitit.core.utils.FailedJobError
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._running: dict[int, Any] = {}
        self._folder, self._silent = folder, _SilentJobs()

    def submit(self, number: int, data: bytes) -> None:
        self._waiting.append((number, data))

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        """Raises UserError where SLURM refuses the jobs."""
        self._give()
        end = time.monotonic() + seconds
        while True:
            ended = self._ended_here() if self._here else self._ended_on_slurm()
            if ended is not None:
                return ended
            if time.monotonic() > end:
                return None
            time.sleep(_POLL_S)

    def close(self) -> None:
        if self._here:
            for job in self._running.values():
                job.cancel(check=False)
        elif self._running:
            # An array's number stands for all of its jobs.
            arrays = sorted({job.job_id.partition("_")[0] for job in self._running.values()})
            subprocess.run(["scancel", *arrays], capture_output=True, check=False)

    def _give(self) -> None:
        """On SLURM whole arrays; on this machine, which would begin all at once, as many as there is room for."""
        if self._here:
            while self._waiting and len(self._running) < self._workers:
                number, data = self._waiting.popleft()
                self._running[number] = self._executor.submit(run_task, data)
            return
        while self._waiting:
            part = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_ARRAY))]
            try:
                with self._executor.batch():
                    jobs = [self._executor.submit(run_task, data) for _, data in part]
            except self._refused as error:
                raise UserError(f"SLURM did not take the jobs: {_last_line(str(error))}. See `--slurm`.") from None
            self._running |= {number: job for (number, _), job in zip(part, jobs, strict=True)}

    def _ended_here(self) -> tuple[int, bytes | str] | None:
        ended = next((number for number, job in self._running.items() if job.done()), None)
        return None if ended is None else (ended, _result(self._running.pop(ended)))

    def _ended_on_slurm(self) -> tuple[int, bytes | str] | None:
        there = {path.name for path in self._folder.glob("*_result.pkl")}
        for number, job in self._running.items():
            if job.paths.result_pickle.name in there:
                del self._running[number]
                return number, _result(job)
        for number, job in self._running.items():
            state = self._silent.state_of(job.job_id)
            if state is not None:
                del self._running[number]
                told = _last_line(job.stderr() or "")
                return number, f"job {job.job_id}: {state} by SLURM, without a result" + (f" ({told})" if told else "")
        return None


class _SilentJobs:
    """SLURM's jobs of this user, of which some may have ended without a result."""

    def __init__(self) -> None:
        self._asked = 0.0
        self._states: dict[str, str] | None = None
        self._since: dict[str, float] = {}

    def state_of(self, job_id: str) -> str | None:
        """What became of a job whose result should be there by now; None where it may still come."""
        now = time.monotonic()
        if now - self._asked > _ASK_S:
            self._asked, self._states = now, _states()
        if self._states is None:
            return None
        state = self._states.get(job_id, "forgotten")
        if state not in _ENDED and state != "forgotten":
            self._since.pop(job_id, None)
            return None
        return state if now - self._since.setdefault(job_id, now) > _LATE_S else None


def _states() -> dict[str, str] | None:
    """By the job's number; those that ended within minutes (MinJobAge) are among them. None: SLURM does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i %T"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("squeue: %s; asked again", error)
        return None
    if asked.returncode != 0:
        log.warning("squeue: %s; asked again", _last_line(asked.stderr))
        return None
    pairs: list[Sequence[str]] = [line.split() for line in asked.stdout.splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _result(job: Any) -> bytes | str:
    try:
        return job.result()
    except Exception as error:  # submitit's own, and whatever a job raised
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"job {job.job_id}: {lines[0]}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].strip()
