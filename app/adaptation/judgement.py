"""What an adapted network is worth: its figures on held-out footage and on simulated hands, beside those before."""

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.adaptation.check import FARTHEST
from app.adaptation.footage import Footage
from app.adaptation.settings import JudgementSettings
from app.adaptation.true_error import true_errors_mm
from app.estimators import make_estimator
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from app.evaluation.figures import method_figures, withheld_of
from app.evaluation.session_run import MakeEstimator, run_session
from app.evaluation.withheld import WithheldErrors, WithheldSettings
from app.worker.jitter import RestJitter
from app.worker.statistics import rounded
from calibration.programs import run_program

PACKAGED, ADAPTED, MEDIAPIPE = "packaged", "adapted", "mediapipe"
FIGURES = (
    "withheld_px_median", "withheld_percent_median", "withheld_hands", "withheld_missed", "leave_one_out_px_median",
    "bone_length_cv_mean", "sets_with_hand", "hands_per_set_mean",
)  # fmt: skip


def measure_footage(
    stretches: Sequence[tuple[Footage, tuple[int, int]]],
    checkpoints: Mapping[str, str],
    settings: JudgementSettings,
    hands: int,
    progress: Callable[[], object],
) -> dict[str, Any]:
    """The figures of each of the `checkpoints` and of MediaPipe on stretches of footage, from and until when."""
    limits = WithheldSettings()
    methods: dict[str, MakeEstimator] = {
        name: lambda rig, detector, source=source: make_estimator(
            "ust-hand", rig, checkpoint=source, detector=detector, hands=hands
        )
        for name, source in checkpoints.items()
    }
    methods[MEDIAPIPE] = lambda rig, detector: make_estimator(MEDIAPIPE, rig, detector=detector, hands=hands)
    detector, runs, true_mm = MediaPipeHands(), [], []
    try:
        for footage, (from_ns, until_ns) in stretches:
            sets = footage.sets_between(from_ns, until_ns, settings.warmup_s)
            run = run_session(footage.session, footage.rig, footage.phases_ns, detector, methods,
                              limits.least_presence, progress, sets)  # fmt: skip
            runs.append(run.since(from_ns))
            true_mm.append(true_errors_mm(footage.session, runs[-1], list(methods)))
    finally:
        detector.close()
    figures: dict[str, Any] = {"sets": sum(len(run.times_ns) for run in runs)}
    for name in methods:
        of_method = method_figures(runs, name, limits)
        jitter = RestJitter()
        for run in runs:
            for of_set in run.hands[name]:
                jitter.add(of_set)
            jitter.add([])
        figures[name] = {key: of_method[key] for key in FIGURES}
        figures[name]["withheld_percent_with_missed"] = _with_missed(withheld_of(runs, name, limits))
        figures[name]["jitter_mm"] = None if jitter.mm is None else rounded(jitter.mm)
        known = [mm for of_session in true_mm if of_session is not None for mm in of_session[name]]
        figures[name]["true_mm"] = rounded(sum(known) / len(known)) if known else None
    return figures


def _with_missed(errors: WithheldErrors) -> float | None:
    """Mean error in % of the hand's size over all hands that the detector sees, a missed one as far off as counts.

    The median over the hands that are given would be worse of a method that gives more of them.
    """
    if not len(errors.px):
        return None
    share = np.nan_to_num(errors.px / errors.size_px[:, None], nan=FARTHEST)
    return rounded(100 * float(np.minimum(share, FARTHEST).mean()))


def measure_simulated(checkpoint: str, data: Path) -> dict[str, float | None] | None:
    """The error of a checkpoint on simulated hands; None where the program that measures it fails."""
    command = [sys.executable, "-m", "models.evaluation", "--checkpoint", checkpoint, "--data", str(data), "--json"]
    with tempfile.TemporaryFile() as printed:
        if run_program([*command, "--windows", "48", "--views", "4"], stdout=printed):
            return None
        printed.seek(0)
        last = printed.read().decode().splitlines()[-1]
    ours = json.loads(last)["methods"]["ust_hand"]
    return {"mpjpe_mm": rounded(ours["mpjpe_mm"])}


def refusal(held: Mapping[str, Any], settings: JudgementSettings) -> str | None:
    """Why the adapted network is not better on the stretch that was held out, None where it is."""
    before, after = held[PACKAGED], held[ADAPTED]
    was, now = before["withheld_percent_with_missed"], after["withheld_percent_with_missed"]
    if was is None or now is None:
        return "no hand is seen in the stretch that was held out, so nothing can be said of it"
    if now > (1 - settings.least_gain) * was:
        return (
            f"on the stretch that was held out the error in a withheld view is {now} % of the hand's size, missed "
            f"hands included, and was {was} % before"
        )
    share, missed = before["withheld_missed"], after["withheld_missed"] - before["withheld_missed"]
    by_chance = math.sqrt(share * (1 - share) / max(before["withheld_hands"], 1))
    if missed > settings.more_missed + by_chance:
        return (
            f"it misses {after['withheld_missed']:.1%} of the hands that were held out, {missed:.1%} more than before"
        )
    return None


def forgets(simulated: Mapping[str, Any], settings: JudgementSettings) -> str | None:
    """Why the adapted network is worse on other hands than those it learned from, None where it is not."""
    was, now = (simulated[name]["mpjpe_mm"] for name in (PACKAGED, ADAPTED))
    if now > (1 + settings.forgotten) * was:
        return f"on simulated hands its error is {now} mm, and was {was} mm before: it forgets other hands"
    return None
