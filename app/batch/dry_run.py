"""What a batch would take: its tasks, what they read and write, and the hours, from those that are done already."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.batch.batch import Batch
from app.batch.progress import spoken
from app.batch.storage import ends_of, is_url

_FRAMES, _END_BYTES = "frames.csv", 4096


@dataclass(frozen=True, kw_only=True)
class AsIf:
    """Plan for so many sessions of so many hours each, as those given."""

    sessions: int
    hours: float


def dry_run(batch: Batch, workers: int, as_if: AsIf | None = None) -> dict[str, Any]:
    """The plan as plain data. None stands for what no finished session tells.

    Work is counted by what is read; with `as_if`, by the hours that were recorded. `task_seconds` and
    `worker_hours` are of one worker, `hours` of all `workers`; rates are those of the whole batch while they work.
    """
    done = [batch.outcomes[task.name] for task in batch.tasks if _done(batch, task.name)]
    tasks = len(batch.tasks) if as_if is None else as_if.sessions
    left = len(batch.left) if as_if is None else as_if.sessions
    plan: dict[str, Any] = {"job": batch.job.name, "sessions": tasks, "tasks": left, "workers": workers,
                            "finished": tasks - left, "measured_sessions": len(done)}  # fmt: skip
    scale, read = _scale(batch, as_if)
    seconds = sum(each.seconds for each in done) * scale if done and scale is not None else None
    written = sum(each.written_bytes for each in done) * scale if done and scale is not None else None
    cpu_s = sum(each.cpu_s for each in done) * scale if done and scale is not None else None
    hours = None if seconds is None else seconds / 3600 / max(1, min(workers, left))
    plan |= {
        "read_bytes": None if read is None else round(read),
        "written_bytes": None if written is None else round(written),
        "task_seconds": None if seconds is None or not left else round(seconds / left, 1),
        "cpu_hours": None if cpu_s is None else round(cpu_s / 3600, 2),
        "worker_hours": None if seconds is None else round(seconds / 3600, 2),
        "hours": None if hours is None else round(hours, 2),
        "tasks_per_s": None if not hours else round(left / hours / 3600, 4),
        "read_mb_per_s": None if not hours or read is None else round(read / 1e6 / hours / 3600, 2),
        "written_mb_per_s": None if not hours or written is None else round(written / 1e6 / hours / 3600, 3),
    }
    return plan


def _done(batch: Batch, name: str) -> bool:
    return name in batch.outcomes and batch.outcomes[name].state == "done"


def _scale(batch: Batch, as_if: AsIf | None) -> tuple[float | None, float | None]:
    """How much more is to be done than was done, and the bytes that are to be read."""
    done = [task for task in batch.tasks if _done(batch, task.name)]
    if as_if is None:
        read, was = sum(task.size_bytes for task in batch.left), sum(task.size_bytes for task in done)
        by_count = len(batch.left) / len(done) if done else None
        return (read / was if was else by_count), float(read)
    hours = [recorded_hours(task.session) for task in done]
    known = [(task, each) for task, each in zip(done, hours, strict=True) if each]
    if not known or len(known) < len(done):
        return None, None
    scale = as_if.sessions * as_if.hours / sum(each for _, each in known)
    return scale, scale * sum(task.size_bytes for task, _ in known)


def recorded_hours(session: str) -> float | None:
    """From the first and the last row of its `frames.csv`; None where it has none."""
    ends = ends_of(session, _FRAMES, _END_BYTES) if is_url(session) else _local_ends(Path(session, _FRAMES))
    if ends is None:
        return None
    head, tail = (end.split(b"\n") for end in ends)
    try:
        return (int(tail[-2].rpartition(b",")[2]) - int(head[1].rpartition(b",")[2])) / 3.6e12
    except (IndexError, ValueError):
        return None


def _local_ends(path: Path) -> tuple[bytes, bytes] | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        return head, file.read()


def plan_text(plan: dict[str, Any]) -> str:
    """The plan for a person."""
    lines = [f"{plan['job']}: {plan['sessions']} sessions, {plan['finished']} finished, {plan['tasks']} tasks left"]
    if plan["read_bytes"] is not None:
        lines.append(f"to read: {plan['read_bytes'] / 1e9:,.3f} GB")
    if plan["hours"] is None:
        lines.append("how long: not known before one of these sessions is done in this folder; do one, then plan again")
        return "\n".join(lines)
    written = f"{plan['written_mb_per_s']:g} MB/s written"
    lines += [
        f"to write: {plan['written_bytes'] / 1e9:,.3f} GB",
        f"time: {spoken(plan['hours'] * 3600)} on {plan['workers']} workers, {plan['worker_hours']:,.1f} hours of one",
        f"processor time: {plan['cpu_hours']:,.1f} hours",
        f"a task: {plan['task_seconds']:,.1f} s (from {plan['measured_sessions']} that are done)",
        f"all workers together: {plan['tasks_per_s']:g} tasks/s, {plan['read_mb_per_s']:g} MB/s read, {written}",
    ]
    return "\n".join(lines)
