"""What a batch keeps in its folder OUT, and what is sent to a worker and back.

    OUT/results/TASK/        the files of a finished session, and task.json; with `--results URL` task.json alone
    OUT/tasks/TASK/          log.txt of its command, attempts.jsonl, and failed.json where it failed; before/ has what
                             lay in the place of the results without a record that can be read
    OUT/summary.html, .parquet

TASK is the session's name with its key. A task is finished when its folder of results is there.
"""

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from app.batch.jobs import JobName
from calibration.found_files import read_found
from calibration.plain_json import parse_json
from calibration.written_files import errors_naming

STOP_FILE = ".stop"
TaskState = Literal["done", "failed", "interrupted"]


class BatchTask(msgspec.Struct, frozen=True, kw_only=True):
    """`name` of the task's folders; `out`, absolute; `run` of the batch that gives it; `attempts` at most; `folder` in
    which its command runs; `results`: a URL in whose folders the results go; `to` the ending of convert; `seed` of
    simulated data; `size_bytes` of the session."""

    name: str
    job: JobName
    session: str
    flags: tuple[str, ...]
    out: str
    version: str
    run: str
    attempts: int
    folder: str
    results: str = ""
    to: str = ""
    seed: int = 0
    size_bytes: int = 0


class TaskOutcome(msgspec.Struct, kw_only=True):
    """How a task ended. `exit_code` of its command: 2 is bad input. `lost` tells of attempts whose worker or command
    was killed, `printed` is the command's JSON, `cpu_s` the processor time of its processes."""

    name: str
    job: JobName
    session: str
    state: TaskState
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    lost: list[str] = []
    command: list[str] = []
    printed: dict[str, Any] | None = None
    read_bytes: int = 0
    written_bytes: int = 0
    version: str = ""
    host: str = ""

    @property
    def by_bad_input(self) -> bool:
        """Whether the same would fail again."""
        return self.state == "failed" and self.exit_code == 2


@dataclass(frozen=True)
class TaskPlace:
    """Where a task's files are."""

    out: Path
    name: str

    @property
    def result(self) -> Path:
        return self.out / "results" / self.name

    @property
    def work(self) -> Path:
        return self.out / "tasks" / self.name

    @property
    def making(self) -> Path:
        return self.work / "making"

    @property
    def before(self) -> Path:
        return self.work / "before"

    @property
    def claim(self) -> Path:
        return self.work / "claim"

    @property
    def log(self) -> Path:
        return self.work / "log.txt"

    @property
    def attempts(self) -> Path:
        return self.work / "attempts.jsonl"

    @property
    def failed(self) -> Path:
        return self.work / "failed.json"

    def stopped(self) -> bool:
        """Whether the batch was told to end."""
        return (self.out / STOP_FILE).exists()


class TaskAttempts:
    """The attempts at a task in one run of the batch, on disk, so that one whose worker died is known of."""

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run

    def begin(self, worker: str) -> None:
        self._write({"begun": worker})

    def end(self, reason: str, killed: bool = False) -> None:
        self._write({"ended": reason, "killed": killed})

    def lost(self) -> list[str]:
        """What is known of each attempt that was killed."""
        lost, open_by = [], ""
        for line in self._lines():
            if open_by and "begun" in line:
                lost.append(_DIED.format(open_by))
            open_by = line.get("begun", "")
            if line.get("killed"):
                lost.append(str(line["ended"]))
        return [*lost, _DIED.format(open_by)] if open_by else lost

    def _lines(self) -> list[dict]:
        try:
            lines = read_found(self._path).splitlines()
        except OSError:
            return []
        read = []
        for line in lines:
            try:
                value = parse_json(line)
            except ValueError:
                continue  # torn by what killed the worker
            if isinstance(value, dict) and value.get("run") == self._run:
                read.append(value)
        return read

    def _write(self, line: dict[str, Any]) -> None:
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with errors_naming(self._path), self._path.open("ab") as file:
            file.write(msgspec.json.encode({"run": self._run, "at": at, **line}) + b"\n")
            file.flush()
            os.fsync(file.fileno())


_DIED = "the worker on {} ended without a word (killed, out of memory, or its machine went down)"


def encode_task(task: BatchTask) -> bytes:
    return msgspec.json.encode(task)


def decode_task(data: bytes) -> BatchTask:
    return msgspec.json.decode(data, type=BatchTask)


def encode_outcome(outcome: TaskOutcome) -> bytes:
    return msgspec.json.encode(outcome)


def decode_outcome(data: bytes) -> TaskOutcome:
    return msgspec.json.decode(data, type=TaskOutcome)


def read_outcome(place: TaskPlace) -> TaskOutcome | None:
    """How the task ended before; None where it has not, or its record cannot be read."""
    for path in (place.result / "task.json", place.failed):
        try:
            return decode_outcome(read_found(path))
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            continue
    return None
