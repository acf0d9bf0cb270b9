"""The summary of a batch: a row each session, those that failed first, then by how far their figures lie out."""

import datetime
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.batch.batch import Batch
from app.batch.engine import library
from app.batch.jobs import Figure
from app.batch.progress import spoken
from calibration.report.style import STYLE
from calibration.report.text import escape, number, table
from calibration.written_files import write_atomic

OUTLIER = 3.5
"""Of the robust z-score; B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, 1993."""
_FEWEST = 5
"""Sessions: of fewer there is no usual value."""

Row = dict[str, Any]


def robust_z(values: np.ndarray, worse: int) -> np.ndarray:
    """How far each of `values` (n,) lies on the worse side of their median, in robust standard deviations; 0 where a
    value is NaN, there are fewer than five, or all are alike.

    0.6745 (x - median) / MAD, with the mean absolute deviation, times 1.2533, where the MAD is zero (Iglewicz and
    Hoaglin, 1993).
    """
    known = values[np.isfinite(values)]
    if len(known) < _FEWEST or not worse:
        return np.zeros(len(values))
    distance = np.abs(known - np.median(known))
    spread = 1.4826 * float(np.median(distance)) or 1.2533 * float(np.mean(distance))
    if spread <= 1e-12 * max(1.0, float(np.abs(known).max())):
        return np.zeros(len(values))
    return np.where(np.isfinite(values), worse * (values - np.median(known)) / spread, 0.0)


def summary_rows(batch: Batch) -> list[Row]:
    """A row each session: failed ones, outliers, the others, and those that have not ended last."""
    rows: list[Row] = []
    for task in batch.tasks:
        outcome = batch.outcomes.get(task.name)
        printed = outcome.printed if outcome is not None and outcome.printed else {}
        row: Row = {
            "session": task.session or task.name,
            "task": task.name,
            "state": outcome.state if outcome else "waiting",
            "reason": outcome.reason if outcome else "",
            "outlier_z": 0.0,
            "outlier_in": "",
            "seconds": outcome.seconds if outcome else None,
            "killed": len(outcome.lost) if outcome else 0,
        }
        rows.append(row | {figure.title: figure.of(printed) for figure in batch.job.figures})
    for figure in batch.job.figures:
        _judge(rows, figure)
    order = {"failed": 0, "done": 1, "waiting": 2}
    return sorted(rows, key=lambda row: (order.get(row["state"], 2), -row["outlier_z"]))


def _judge(rows: list[Row], figure: Figure) -> None:
    values = np.array([_float(row[figure.title]) for row in rows])
    for row, z in zip(rows, robust_z(values, figure.worse), strict=True):
        if z > row["outlier_z"]:
            row["outlier_z"], row["outlier_in"] = round(float(z), 2), figure.title


def _float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def write_summary(batch: Batch, out: Path) -> list[Row]:
    """Writes `summary.html` and `summary.parquet`; gives their rows. Raises UserError where pyarrow is missing."""
    rows = summary_rows(batch)
    library("pyarrow", "batch")
    import pyarrow
    from pyarrow import parquet

    columns = list(rows[0])
    plain = {name: [_plain(row[name]) for row in rows] for name in columns}
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(plain), content)
    write_atomic(out / "summary.parquet", content.getvalue())
    write_atomic(out / "summary.html", _page(batch, rows, columns).encode())
    return rows


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _page(batch: Batch, rows: Sequence[Row], columns: Sequence[str]) -> str:
    told = [name for name in columns if any(row[name] is not None for row in rows)]
    shown = [name for name in told if name not in ("task", "reason")]
    cells = [[_cell(batch, row, name) for name in shown] for row in rows]
    text_columns = [shown.index(name) for name in ("session", "state", "outlier_in")]
    done, failed = (sum(row["state"] == state for row in rows) for state in ("done", "failed"))
    outliers = sum(row["outlier_z"] > OUTLIER for row in rows)
    at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    title = f"{batch.job.name}: {len(rows)} sessions"
    head = table([escape(name.replace("_", " ")) for name in shown], cells, text_columns)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><h1>{html.escape(title)}</h1>"
        f'<p class="meta">{done} done, {failed} failed, {len(rows) - done - failed} not ended; {at}</p>'
        f'<p class="lead">Failed sessions come first, then the others by how far a figure lies on the worse side of '
        f"the median of all, in robust standard deviations (z). {outliers} are outliers: z above {OUTLIER:g}.</p>"
        f"{head}</main></body></html>\n"
    )


def _cell(batch: Batch, row: Row, name: str) -> str:
    value = row[name]
    if name == "session":
        place = f"results/{row['task']}/" if row["state"] == "done" else f"tasks/{row['task']}/log.txt"
        return f'<a href="{escape(place)}">{escape(value)}</a>'
    if name == "state" and row["reason"]:
        return f"{escape(value)}: {escape(row['reason'])}"
    if name == "seconds":
        return "&ndash;" if value is None else spoken(value)
    if isinstance(value, str):
        return escape(value)
    text = number(value, ".4g")
    return f"<b>{text}</b>" if name == "outlier_z" and value > OUTLIER else text
