"""A task of a batch: one session, one command, in a process of its own, on whatever machine an engine runs it.

`run_task` is what every engine calls. It takes and gives bytes (JSON), so that an engine need know nothing of it. The
same session, settings and version have the same key, and so the same folder of results. Results appear whole, by a
rename, or not at all.
"""

import contextlib
import fcntl
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import app
from app.batch.jobs import JOBS, Job
from app.batch.key import code_version
from app.batch.record import (
    BatchTask,
    TaskAttempts,
    TaskOutcome,
    TaskPlace,
    TaskState,
    decode_task,
    encode_outcome,
    read_outcome,
)
from app.batch.sessions import link_session
from app.batch.storage import fetch, is_url, store
from calibration.errors import UserError
from calibration.found_files import remove_folder
from calibration.plain_json import parse_json
from calibration.written_files import write_atomic

CORES = "USTHAND_BATCH_CORES"
"""The cores of a local worker's commands, `0,1`, in its environment."""
_POLL_S = 0.2
_END_S = 40.0
"""A replay closes its files within seconds of being told to end; a label's stretch is kept."""
_MOST_REASON = 400
_WORD = re.compile(r"\{(session|out|to|seed)\}")


def run_task(data: bytes) -> bytes:
    """Does a task, given as JSON, unless it is done; gives its outcome as JSON. What goes wrong is in the outcome."""
    task = decode_task(data)
    place = TaskPlace(Path(task.out), task.name)
    try:
        with _claim(place) as claim:
            outcome = read_outcome(place)
            if outcome is None or outcome.state != "done":
                outcome = _attempts(task, place, claim)
    except _Stopped:
        outcome = _outcome(task, "interrupted", "the batch was interrupted")
    except OSError as error:
        outcome = _outcome(task, "failed", f"{error.filename or task.out}: {error.strerror}")
    return encode_outcome(outcome)


class _Stopped(Exception):
    """The batch was told to end."""


@contextlib.contextmanager
def _claim(place: TaskPlace) -> Iterator[int]:
    """Holds the task against another worker that was given it as well; its descriptor is also the command's, so that
    the task is free when both have ended. Raises _Stopped."""
    place.work.mkdir(parents=True, exist_ok=True)
    with place.claim.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if place.stopped():
                    raise _Stopped from None
                time.sleep(_POLL_S)
        yield file.fileno()


def _attempts(task: BatchTask, place: TaskPlace, claim: int) -> TaskOutcome:
    """The first attempt that ends, of as many as are left: those count whose worker, or command, was killed."""
    tried = TaskAttempts(place.attempts, task.run)
    while True:
        lost = tried.lost()
        if len(lost) >= task.attempts:
            outcome = _outcome(task, "failed", f"{lost[-1]}; {len(lost)} attempts of {task.attempts}", lost=lost)
            break
        if place.stopped():
            raise _Stopped
        tried.begin(f"{socket.gethostname()} process {os.getpid()}")
        try:
            outcome = _attempt(task, place, claim, lost)
        except _Stopped:
            tried.end("interrupted")
            raise
        except UserError as error:  # what cannot be copied from or to elsewhere, for now
            outcome = _outcome(task, "failed", str(error))
        except BaseException as error:
            tried.end(f"{type(error).__name__}: {error}")
            raise
        if outcome.exit_code >= 0:
            tried.end("")
            break
        tried.end(outcome.reason, killed=True)
    if outcome.state == "failed":
        write_atomic(place.failed, encode_outcome(outcome))
    return outcome


def _attempt(task: BatchTask, place: TaskPlace, claim: int, lost: list[str]) -> TaskOutcome:
    if (version := code_version()) != task.version:
        return _outcome(
            task,
            "failed",
            f"{socket.gethostname()} has usthand-live {version}, the batch {task.version}: install the same",
        )
    job, began, cpu_began_s = JOBS[task.job], time.monotonic(), _children_cpu_s()
    remove_folder(place.making)
    place.making.mkdir(parents=True)
    fetched = None
    try:
        session = task.session
        if is_url(session):
            fetched = Path(tempfile.mkdtemp(prefix="usthand-batch-"))
            fetch(session, fetched)
            session = str(fetched)
        if job.linked:
            link_session(Path(session), place.making, job.writes)
            session = str(place.making)
        words = command_words(job, task, session, place.making)
        code, printed, reason = _run(task, job, words, place, claim)
    finally:
        if fetched is not None:
            remove_folder(fetched)
    outcome = _outcome(task, "done" if code == 0 else "failed", reason, lost)
    outcome.exit_code, outcome.command, outcome.printed = code, words, printed
    outcome.seconds = round(time.monotonic() - began, 3)
    outcome.cpu_s = round(_children_cpu_s() - cpu_began_s, 3)
    if code == 0:
        _commit(place, outcome, task.results)
    return outcome


def _children_cpu_s() -> float:
    """Of all processes that this one started and that have ended, and of theirs: a worker has one task at a time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def command_words(job: Job, task: BatchTask, session: str, out: Path) -> list[str]:
    """The words of the task's command."""
    if job.name == "convert" and Path(session).is_dir():
        session = str(Path(session, "poses.npz"))
    filled = {"session": session, "out": str(out), "to": task.to, "seed": str(task.seed)}
    # All at once: a session's path may have such a word in it.
    return [_WORD.sub(lambda found: filled[found[1]], word) for word in (*job.words, *task.flags)]


def command_environment() -> dict[str, str]:
    """Of a task's command: it finds this program's modules from whatever folder it runs in."""
    root = str(Path(app.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _run(task: BatchTask, job: Job, words: list[str], place: TaskPlace, claim: int) -> tuple[int, dict | None, str]:
    """The command's exit code (below 0: a signal ended it), what it printed last, and, where it failed, why."""
    cores = os.environ.get(CORES) or "-"
    begin = [sys.executable, "-P", "-m", "app.batch.child", str(os.getpid()), cores, job.program]
    with place.log.open("w+b") as log, tempfile.TemporaryFile() as stdout:
        child = subprocess.Popen(
            [*begin, *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            env=command_environment(),
            cwd=task.folder if Path(task.folder).is_dir() else None,
            pass_fds=(claim,),
            start_new_session=True,
        )
        _wait(child, place.stopped)
        stdout.seek(0)
        said = stdout.read()
        log.seek(0, os.SEEK_END)
        log.write(said)
        log.seek(0)
        lines = log.read()[-100_000:].decode(errors="replace").splitlines()
    code = child.returncode
    return code, _printed(said), "" if code == 0 else _reason(code, lines)


def _wait(child: subprocess.Popen, stopped: Callable[[], bool]) -> None:
    """Until it has ended; raises _Stopped after it was told to end, where the batch is to."""
    try:
        while child.poll() is None:
            if stopped():
                raise _Stopped
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_S)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_END_S)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _printed(said: bytes) -> dict | None:
    """The object that `--json` printed as the last line."""
    lines = said.decode(errors="replace").strip().splitlines()
    try:
        value = parse_json(lines[-1].encode()) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _reason(code: int, lines: list[str]) -> str:
    if code < 0:
        return f"its command was ended by signal {signal.Signals(-code).name} (by hand, or for want of memory)"
    told = [line.removeprefix("usthand: ") for line in lines if line.startswith("usthand: ")]
    last = [line for line in lines if line.strip()]
    return (told or last or [f"exit code {code}"])[-1].strip()[:_MOST_REASON]


def _outcome(task: BatchTask, state: TaskState, reason: str, lost: list[str] | None = None) -> TaskOutcome:
    return TaskOutcome(
        name=task.name,
        job=task.job,
        session=task.session,
        state=state,
        reason=reason,
        exit_code=0 if state == "done" else 1,
        lost=lost or [],
        read_bytes=task.size_bytes,
        version=task.version,
        host=socket.gethostname(),
    )


def _commit(place: TaskPlace, outcome: TaskOutcome, elsewhere: str) -> None:
    """The results with their record, at once; where they go elsewhere, the record alone stays. Raises UserError."""
    files = [path for path in place.making.rglob("*") if path.is_file() and not path.is_symlink()]
    for link in [path for path in place.making.rglob("*") if path.is_symlink() and not path.exists()]:
        link.unlink()  # to a session that was copied here for the time of the work
    outcome.written_bytes = sum(path.stat().st_size for path in files)
    write_atomic(place.making / "task.json", encode_outcome(outcome))
    if elsewhere:
        store(place.making, f"{elsewhere.rstrip('/')}/{place.name}")
        remove_folder(place.making)
        place.making.mkdir()
        write_atomic(place.making / "task.json", encode_outcome(outcome))
    place.result.parent.mkdir(parents=True, exist_ok=True)
    if place.result.exists():  # its record is gone or cannot be read
        remove_folder(place.before)
        place.result.rename(place.before)
    place.making.rename(place.result)
    place.failed.unlink(missing_ok=True)
