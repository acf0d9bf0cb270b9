"""What an evaluation on real footage reports of a method: the keys of `real` in its JSON."""

from collections.abc import Sequence

import numpy as np

from app.evaluation.session_run import SessionRun
from app.evaluation.withheld import WithheldErrors, WithheldSettings, withheld_errors, withheld_figures
from app.worker.statistics import MeanStd, rounded
from calibration.hand import Side, bone_lengths

Figures = dict[str, str | float | int | list[float | None] | None]


def method_figures(runs: Sequence[SessionRun], method: str, settings: WithheldSettings) -> Figures:
    """The method's figures over all sessions together."""
    hands = [of_set for run in runs for of_set in run.hands[method]]
    sets = len(hands)
    variations = [variation for run in runs for variation in _bone_length_variations(run, method)]
    figures: Figures = {
        "definition": runs[0].definitions[method],
        "sets": sets,
        "sets_with_hand": sum(bool(each) for each in hands),
        "sets_with_both_hands": sum(len(each) == 2 for each in hands),
        "hands_per_set_mean": rounded(sum(map(len, hands)) / sets) if sets else None,
        **withheld_figures(withheld_of(runs, method, settings)),
        "leave_one_out_px_median": _median([hand.leave_one_out_px for each in hands for hand in each]),
        "reprojection_px_median": _median([hand.reprojection_px for each in hands for hand in each]),
        "bone_length_cv_mean": float(np.mean(variations)) if variations else None,
    }
    return {name: _rounded(value) for name, value in figures.items()}


def withheld_of(runs: Sequence[SessionRun], method: str, settings: WithheldSettings) -> WithheldErrors:
    """The withheld-view errors in all cameras of all sessions."""
    return WithheldErrors.join(
        [
            withheld_errors(
                camera,
                run.frame_times_ns[camera.camera_id],
                run.seen_px[camera.camera_id],
                run.without[method, camera.camera_id],
                settings,
            )
            for run in runs
            for camera in run.rig.cameras
            if (method, camera.camera_id) in run.without
        ]
    )


def _bone_length_variations(run: SessionRun, method: str) -> list[float]:
    """For each side, how much its bones' lengths vary, standard deviation over mean, averaged over the bones."""
    bones: dict[Side, MeanStd] = {}
    for of_set in run.hands[method]:
        for hand in of_set:
            bones.setdefault(hand.side, MeanStd()).add(bone_lengths(hand.joints_world_m))
    return [float(np.mean(each.std / each.mean)) for each in bones.values() if each.count > 1]


def _median(values: Sequence[np.ndarray]) -> float | None:
    together = np.concatenate([np.zeros(0), *values])
    return float(np.median(together)) if len(together) else None


def _rounded(value: str | float | int | list[float | None] | None) -> str | float | int | list[float | None] | None:
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return rounded(value) if isinstance(value, float) else value
