"""The jobs of `usthand batch`: the command that each runs, what it reads, and the figures that its summary gives.

Words of a command may hold `{session}`, `{out}` (the task's folder of results), `{to}` (the ending of `convert`) and
`{seed}` (the number of a part of simulated data).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

JobName = Literal["replay", "label", "evaluate", "calibrate", "convert", "data", "simulate-crops"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A column of the summary: where it stands in the JSON that the command prints (`/` between keys; of a list, the
    mean).

    `worse` is the side on which an outlier is one: +1 high, -1 low, 0 neither. `per`: divided by that figure.
    """

    key: str
    title: str
    worse: int = 0
    per: str = ""

    def of(self, printed: Mapping[str, Any]) -> float | str | None:
        """The figure of one session; None where the command could not tell it."""
        value = _at(printed, self.key)
        if isinstance(value, str):
            return value
        if not isinstance(value, (int, float)):
            return None
        if not self.per:
            return float(value)
        whole = _at(printed, self.per)
        return float(value) / float(whole) if isinstance(whole, (int, float)) and whole else None


def _at(value: Any, key: str) -> Any:
    """What stands there; of a list, such as that of the hands, the mean over all in it."""
    if isinstance(value, list):
        each = [number for number in (_at(one, key) for one in value) if isinstance(number, (int, float))]
        return sum(each) / len(each) if each else None
    part, _, rest = key.partition("/")
    value = value.get(part) if isinstance(value, Mapping) else None
    return _at(value, rest) if rest else value


@dataclass(frozen=True, kw_only=True)
class Job:
    """`program` runs with `words`. `owned`: flags that the batch gives itself; `outputs`: those that name a file to be
    written, which must lie in `{out}`, for all sessions would write the same one. `writes`: files of a session that no
    job of this kind reads, so that they are no part of its key. `linked`: the command writes into the session, so it
    gets one of links in `{out}`. `sessions`: whether it is of sessions at all."""

    name: JobName
    words: tuple[str, ...]
    figures: tuple[Figure, ...]
    program: str = "app"
    owned: tuple[str, ...] = ("--json",)
    outputs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ("labels.*", "poses.*")
    linked: bool = False
    sessions: bool = True


_LABEL_FIGURES = (
    Figure(key="sessions/labels", title="labels"),
    Figure(key="sessions/sets_with_hand", per="sessions/sets", title="share of sets with a hand", worse=-1),
    Figure(key="sessions/confidence_mean", title="confidence", worse=-1),
    Figure(key="sessions/residual_px_median", title="residual px", worse=1),
)
_EVALUATE_FIGURES = (
    Figure(key="methods/ust_hand/mpjpe_mm", title="UST-Hand MPJPE mm", worse=1),
    Figure(key="methods/dlt_labels/mpjpe_mm", title="DLT of labels MPJPE mm", worse=1),
    Figure(key="real/ust-hand/withheld_px_median", title="UST-Hand withheld px", worse=1),
    Figure(key="real/ust-hand/withheld_percent_median", title="UST-Hand withheld % of hand", worse=1),
    Figure(key="real/ust-hand/withheld_missed", title="UST-Hand missed", worse=1),
    Figure(key="real/mediapipe/withheld_px_median", title="MediaPipe withheld px", worse=1),
    Figure(key="real/mediapipe/withheld_missed", title="MediaPipe missed", worse=1),
)

JOBS: dict[JobName, Job] = {
    job.name: job
    for job in (
        Job(
            name="replay",
            words=("replay", "{session}", "--fast", "--no-viewer", "--poses", "{out}/poses.npz", "--json"),
            owned=("--fast", "--no-viewer", "--poses", "--json"),
            outputs=("--overlay", "--headless", "--snapshot"),
            figures=(
                Figure(key="frame_sets", title="frame sets"),
                Figure(key="sets_with_hand", per="frame_sets", title="share of sets with a hand", worse=-1),
                Figure(key="reprojection_px_median", title="reprojection px", worse=1),
                Figure(key="leave_one_out_px_median", title="leave-one-out px", worse=1),
                Figure(key="bone_length_cv_mean", title="bone variation", worse=1),
                Figure(key="jitter_at_rest_mm", title="jitter at rest mm", worse=1),
                Figure(key="mpjpe_mm", title="MPJPE mm", worse=1),
            ),
        ),
        Job(
            name="label",
            words=("label", "{session}", "--json"),
            outputs=("--overlay",),
            figures=_LABEL_FIGURES,
            linked=True,
        ),
        Job(
            name="evaluate",
            words=("evaluate", "--data", "{session}", "--report", "{out}/evaluation.html", "--json"),
            owned=("--data", "--report", "--json"),
            writes=("poses.*",),
            figures=_EVALUATE_FIGURES,
        ),
        Job(
            name="calibrate",
            words=(
                "calibrate",
                "--session",
                "{session}",
                "-o",
                "{out}/rig.yaml",
                "--report",
                "{out}/report.html",
                "--json",
            ),
            owned=("--session", "--check", "-o", "--output", "--report", "--json"),
            figures=(
                Figure(key="verdict", title="verdict"),
                Figure(key="heldout_rmse_px", title="held-out RMSE px", worse=1),
                Figure(key="loo_px", title="leave-one-out px", worse=1),
                Figure(key="rigidity_mm_rms", title="rigidity mm", worse=1),
                Figure(key="heldout_corners", title="held-out corners", worse=-1),
            ),
        ),
        Job(
            name="convert",
            words=("convert", "{session}", "{out}/hands.{to}", "--json"),
            writes=("labels.*",),
            figures=(
                Figure(key="frames", title="frames"),
                Figure(key="hands/missing", per="frames", title="share missing", worse=1),
                Figure(key="hands/gaps", title="gaps a hand", worse=1),
            ),
        ),
        Job(
            name="data",
            program="models.data.cache_session",
            words=("{session}", "{out}/cache", "--json"),
            writes=("poses.*",),
            figures=(Figure(key="crops", title="crops", worse=-1), Figure(key="size_px", title="crop px")),
        ),
        Job(
            name="simulate-crops",
            words=("simulate-crops", "{out}/cache", "--seed", "{seed}", "--workers", "1", "--json"),
            owned=("--seed", "--workers", "--json"),
            figures=(Figure(key="crops", title="crops"), Figure(key="size_px", title="crop px")),
            sessions=False,
        ),
    )
}
"""By name, in the order of `--help`."""
