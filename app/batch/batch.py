"""A batch: tasks of all sessions, those that are done left out, the others given to an engine until all have ended."""

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.batch.engine import BatchEngine, EngineSettings
from app.batch.jobs import Job
from app.batch.key import code_version, task_key
from app.batch.progress import BatchProgress
from app.batch.record import (
    STOP_FILE,
    BatchTask,
    TaskAttempts,
    TaskOutcome,
    TaskPlace,
    decode_outcome,
    encode_outcome,
    encode_task,
    read_outcome,
)
from app.batch.sessions import manifest_of, session_name
from calibration.errors import UserError, write_error
from calibration.programs import handled
from calibration.written_files import errors_naming, write_atomic

log = logging.getLogger(__name__)

_STOP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """`results`: a URL for what the tasks leave, else it stays in `out`; `attempts` at a task whose worker or command
    is killed; `to`: the ending of `convert`; `parts` of simulated data, by seeds from `seed`; `again`: try what failed
    by bad input once more."""

    out: Path
    flags: tuple[str, ...] = ()
    results: str = ""
    attempts: int = 3
    to: str = ""
    parts: int = 0
    seed: int = 0
    again: bool = False


@dataclass(kw_only=True)
class Batch:
    """All tasks, in the order given, and the outcomes that are known, by the tasks' names."""

    job: Job
    tasks: list[BatchTask]
    outcomes: dict[str, TaskOutcome] = field(default_factory=dict)

    @property
    def left(self) -> list[BatchTask]:
        """Those that have not ended, the largest first: it is bad to begin with one when all others are done."""
        left = [task for task in self.tasks if task.name not in self.outcomes]
        return sorted(left, key=lambda task: -task.size_bytes)

    def failed(self) -> list[TaskOutcome]:
        return [each for each in self.outcomes.values() if each.state != "done"]


def plan_batch(job: Job, sessions: Sequence[str], settings: BatchSettings) -> Batch:
    """The tasks, with what is known of them from before. Raises UserError for a session that cannot be read, or has
    the results in it."""
    run, folder, version = secrets.token_hex(6), str(Path.cwd()), code_version()
    tasks: dict[str, BatchTask] = {}
    given = [(session, 0) for session in sessions] or [("", settings.seed + part) for part in range(settings.parts)]
    for session, seed in given:
        if session and Path(session).is_dir() and settings.out.resolve().is_relative_to(Path(session).resolve()):
            raise UserError(
                f"`-o {settings.out}`: lies in the session {session}, which would be another one after each run. Give "
                "a folder beside it."
            )
        manifest = manifest_of(session, job.writes) if session else None
        key = task_key(job, manifest, settings.flags, f"{settings.to} {settings.results}".strip(), seed)
        name = f"{session_name(session) if session else f'part_{seed:05d}'}-{key}"
        if name in tasks:
            log.info("%s: is the same as %s, and done once", session, tasks[name].session)
            continue
        tasks[name] = BatchTask(
            name=name,
            job=job.name,
            session=session,
            flags=settings.flags,
            out=str(settings.out.absolute()),
            version=version,
            run=run,
            attempts=settings.attempts,
            folder=folder,
            results=settings.results,
            to=settings.to,
            seed=seed,
            size_bytes=manifest.size_bytes if manifest else 0,
        )
    batch = Batch(job=job, tasks=list(tasks.values()))
    for task in batch.tasks:
        outcome = read_outcome(TaskPlace(Path(task.out), task.name))
        if outcome is not None and (outcome.state == "done" or (outcome.by_bad_input and not settings.again)):
            batch.outcomes[task.name] = outcome
    return batch


def run_batch(batch: Batch, out: Path, open_engine: Callable[[], BatchEngine]) -> bool:
    """Does all that is left, into `batch.outcomes`. Gives False where it was told to end before.

    Raises UserError where another batch works on the same folder, or an engine cannot be had.
    """
    if not batch.left:
        return True
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".batch").open("ab").close()
    except OSError as error:
        raise write_error(f"{out}: cannot be written ({error.strerror}). Give another folder by `-o`.", error) from None
    with _alone(out), BatchProgress(batch.tasks, batch.outcomes) as progress:
        (out / STOP_FILE).unlink(missing_ok=True)
        engine = open_engine()
        running = _Running(batch, engine, progress)
        try:
            running.until_ended()
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                (out / STOP_FILE).touch()
                log.info("interrupted: what runs is ended; the same command goes on where it was")
                running.until_stopped()
            return False
        finally:
            # A second Ctrl-C does not leave workers behind.
            with handled((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN):
                engine.close()
                (out / STOP_FILE).unlink(missing_ok=True)
    return True


class _Running:
    """The tasks that an engine has, by number."""

    def __init__(self, batch: Batch, engine: BatchEngine, progress: BatchProgress) -> None:
        self._batch, self._engine, self._progress = batch, engine, progress
        self._tasks = dict(enumerate(batch.left))
        self._given = dict.fromkeys(self._tasks, 0)
        for number in self._tasks:
            self._give(number)

    def _give(self, number: int) -> None:
        self._given[number] += 1
        self._engine.submit(number, encode_task(self._tasks[number]))

    def until_ended(self) -> None:
        while self._tasks:
            self._take(self._engine.next_ended(1.0), again=True)

    def until_stopped(self) -> None:
        """Waits for the tasks that run to end, as they were told; those that have not begun end at once."""
        end = time.monotonic() + _STOP_S
        while self._tasks and time.monotonic() < end and any(self._begun(number) for number in self._tasks):
            self._take(self._engine.next_ended(0.5), again=False)

    def _begun(self, number: int) -> bool:
        task = self._tasks[number]
        return bool(TaskAttempts(TaskPlace(Path(task.out), task.name).attempts, task.run).lost())

    def _take(self, ended: tuple[int, bytes | str] | None, again: bool) -> None:
        self._progress.tick()
        if ended is None:
            return
        number, result = ended
        task = self._tasks[number]
        if isinstance(result, str):
            if again and self._given[number] < task.attempts:
                log.info("%s: %s; tried again", task.name, result)
                self._give(number)
                return
            outcome = _given_up(task, result)
        else:
            outcome = decode_outcome(result)
        del self._tasks[number]
        if outcome.state == "interrupted":
            return
        self._batch.outcomes[task.name] = outcome
        self._progress.ended(task, outcome)


def _given_up(task: BatchTask, reason: str) -> TaskOutcome:
    """The outcome of a task of which the engine tells nothing but that it ended."""
    place = TaskPlace(Path(task.out), task.name)
    lost = TaskAttempts(place.attempts, task.run).lost()
    outcome = read_outcome(place)
    if outcome is not None and outcome.state == "done":
        return outcome
    outcome = TaskOutcome(
        name=task.name,
        job=task.job,
        session=task.session,
        state="failed",
        reason=f"{reason} ({len(lost)} attempts begun, of {task.attempts})",
        exit_code=1,
        lost=lost,
        read_bytes=task.size_bytes,
        version=task.version,
    )
    place.work.mkdir(parents=True, exist_ok=True)
    write_atomic(place.failed, encode_outcome(outcome))
    return outcome


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Raises UserError where another batch works on this folder."""
    with (out / ".batch").open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{out}: another batch works on it ({file.read().decode().strip()}). Wait, or end it."
            ) from None
        with errors_naming(out / ".batch"):
            file.truncate(0)
            file.write(f"{socket.gethostname()} process {os.getpid()}\n".encode())
        yield


def make_engine(on: str, settings: EngineSettings) -> BatchEngine:
    """Raises UserError where the engine's library is not installed, or the engine not there."""
    if on == "ray":
        from app.batch.ray_engine import RayEngine

        return RayEngine(settings)
    if on == "slurm":
        from app.batch.slurm_engine import SlurmEngine

        return SlurmEngine(settings)
    from app.batch.dask_engine import DaskEngine

    return DaskEngine(settings)
