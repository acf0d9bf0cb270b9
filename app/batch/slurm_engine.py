"""Tasks on SLURM, through submitit: job arrays of one task each. `cluster=local` runs them on this machine instead."""

import logging
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from app.batch.engine import EngineSettings, library
from app.batch.task import run_task
from calibration.errors import UserError

_POLL_S = 0.1
_MOST_MINUTES = 24 * 60
_MOST_ARRAY = 1000


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
        self._executor = submitit.AutoExecutor(folder=Path(settings.out, "slurm"), cluster=cluster)
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
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._running: dict[int, Any] = {}

    def submit(self, number: int, data: bytes) -> None:
        self._waiting.append((number, data))

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        self._give()
        end = time.monotonic() + seconds
        while True:
            ended = next((number for number, job in self._running.items() if job.done()), None)
            if ended is not None:
                return ended, self._result(self._running.pop(ended))
            if time.monotonic() > end:
                return None
            time.sleep(_POLL_S)

    def close(self) -> None:
        for job in self._running.values():
            job.cancel(check=False)

    def _give(self) -> None:
        """On SLURM whole arrays; on this machine, which would begin all at once, as many as there is room for."""
        if self._here:
            while self._waiting and len(self._running) < self._workers:
                number, data = self._waiting.popleft()
                self._running[number] = self._executor.submit(run_task, data)
            return
        while self._waiting:
            part = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_ARRAY))]
            with self._executor.batch():
                jobs = [self._executor.submit(run_task, data) for _, data in part]
            self._running |= {number: job for (number, _), job in zip(part, jobs, strict=True)}

    def _result(self, job: Any) -> bytes | str:
        try:
            return job.result()
        except Exception as error:  # submitit's own, and whatever a job raised
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return f"job {job.job_id}: {lines[0]}"
