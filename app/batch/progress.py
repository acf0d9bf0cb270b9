"""How far a batch is: on a terminal a bar with the time left, elsewhere a line for each session that ended."""

import logging
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType

from tqdm import tqdm

from app.batch.record import BatchTask, TaskOutcome

log = logging.getLogger(__name__)


def spoken(seconds: float) -> str:
    """A time for a person: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class BatchProgress:
    """Time left by the sizes of the sessions: those that take longest come first."""

    def __init__(self, tasks: Sequence[BatchTask], known: Mapping[str, TaskOutcome]) -> None:
        self._total, self._ended, self._failed = len(tasks), len(known), _failed(known.values())
        self._work = {task.name: task.size_bytes or 1 for task in tasks if task.name not in known}
        self._all, self._done, self._began = sum(self._work.values()), 0, time.monotonic()
        self._bar = tqdm(total=self._total, initial=self._ended, unit="session", file=sys.stderr, disable=None,
                         bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} {postfix}")  # fmt: skip

    def __enter__(self) -> "BatchProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def tick(self) -> None:
        self._bar.set_postfix_str(self._said(), refresh=True)

    def ended(self, task: BatchTask, outcome: TaskOutcome) -> None:
        self._ended += 1
        self._failed += outcome.state != "done"
        self._done += self._work.get(task.name, 0)
        self._bar.update()
        if self._bar.disable or outcome.state != "done":
            told = "done" if outcome.state == "done" else f"failed: {outcome.reason}"
            with tqdm.external_write_mode(file=sys.stderr):
                log.info("%d of %d, %s: %s in %s; %s", self._ended, self._total, task.name, told,
                         spoken(outcome.seconds), self._said())  # fmt: skip

    def _said(self) -> str:
        took = time.monotonic() - self._began
        left = "?" if not self._done else spoken(took * (self._all - self._done) / self._done)
        return f"{left} left" + (f", {self._failed} failed" if self._failed else "")


def _failed(outcomes: Collection[TaskOutcome]) -> int:
    return sum(each.state != "done" for each in outcomes)
