"""The accuracy of a network on data whose truth is known, beside its peers on the same windows."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.errors import UserError
from models.data.windows import WindowDataset
from models.evaluation.mesh_error import mesh_summaries
from models.evaluation.metrics import (
    PCK_THRESHOLDS_MM,
    acceleration_error_mm,
    coverage,
    joint_errors_mm,
    pck,
    summary,
)
from models.evaluation.predict import METHODS, Predictions, predict
from models.evaluation.reliability import judged, reliability
from models.network.ust_hand import UstHand

LEVELS = (0.5, 0.9)
ANGLES_DEG = (0, 30, 60, 120, 180)
_JUDGED = 64
"""Windows of whose crops it is asked whether there is a hand, and of which side."""


@dataclass(frozen=True)
class Evaluation:
    """`figures` is what `--json` prints; `predictions` and `curves` (PCK by method) are for the report."""

    figures: dict[str, Any]
    predictions: Predictions
    curves: dict[str, np.ndarray] = field(default_factory=dict)


def evaluate(network: UstHand, data: WindowDataset, windows: int, views: int | None, seed: int = 0) -> Evaluation:
    """Compare on at most `windows` windows, in runs of consecutive ones, with `views` views (None: all).

    Where `views` is None there is a table by number of views as well, empty where no window has labels enough for all
    numbers; there, and with two views, one by the angle between two views. Raises UserError for views that the data
    lacks.
    """
    most = data.views
    if views is not None and not 2 <= views <= most:
        raise UserError(f"`--views {views}`: the data has {most} views; give 2 to {most}.")
    numbers = choose_windows(len(data), windows, seed)
    predictions = predict(network, data, numbers, views or most)
    kept = compared(predictions)
    if not kept.any():
        raise UserError(
            "no window has a known truth and labels of every joint in two views, so there is nothing to compare. Give "
            "more windows, or simulated data."
        )
    figures: dict[str, Any] = {
        "windows": len(numbers),
        "windows_compared": int(kept.sum()),
        "views": views or most,
        "methods": _methods(predictions, kept),
    }
    for name, mesh in mesh_summaries(data, predictions, kept).items():
        figures["methods"][name] |= mesh
    ours = figures["methods"]["ust_hand"]["mpjpe_mm"]
    for peer in ("dlt_labels", "dlt_heatmaps", "stage1_mode"):
        figures[f"gain_over_{peer}"] = 1 - ours / figures["methods"][peer]["mpjpe_mm"]
    joints, truth = predictions.joints_m["ust_hand"], predictions.truth_m
    held = coverage(joints[kept], truth[kept], predictions.covariance_m2[kept], LEVELS)
    figures["coverage"] = {f"{level:g}": share for level, share in held.items()}
    figures["keypoint_error_of_crop"] = _spread(predictions.keypoint_error)
    figures["label_error_of_crop"] = _spread(predictions.label_error)
    some = numbers[:: max(len(numbers) // _JUDGED, 1)]
    presence, side = judged(network, data, some, views or most, seed)
    if len(presence.true):
        figures["presence"] = reliability(presence)
    if len(side.true) and network.config.landmarks:  # heatmaps do not say which side it is
        figures["side"] = reliability(side)
    figures["acceleration_error_mm"] = {
        name: _acceleration(data, predictions, predictions.joints_m[name]) for name in METHODS
    }
    two = predictions
    if views is None:
        by_count = {count: predict(network, data, numbers, count) for count in range(2, most)} | {most: predictions}
        figures["by_views"] = _by_views(by_count)
        two = by_count[2]
    if views in (None, 2):
        figures["two_views_by_angle"] = _by_angle(two)
    errors = {name: joint_errors_mm(predictions.joints_m[name][kept], truth[kept]) for name in METHODS}
    return Evaluation(figures, predictions, {name: pck(each, PCK_THRESHOLDS_MM) for name, each in errors.items()})


def choose_windows(count: int, wanted: int, seed: int, run: int = 8) -> np.ndarray:
    """Numbers of at most `wanted` of `count` windows: runs of `run` consecutive ones from all over the data."""
    if wanted >= count:
        return np.arange(count)
    starts = np.arange(0, count, run)
    chosen = np.sort(np.random.default_rng(seed).permutation(starts)[: -(-wanted // run)])
    numbers = (chosen[:, None] + np.arange(run)).ravel()
    return numbers[numbers < count][:wanted]


def compared(predictions: Predictions) -> np.ndarray:
    """Which windows (n,) every method has an answer for and whose truth is known."""
    arrays = (predictions.truth_m, *predictions.joints_m.values())
    return np.all([np.isfinite(joints).all((1, 2)) for joints in arrays], axis=0)


def _methods(predictions: Predictions, kept: np.ndarray) -> dict[str, dict[str, float]]:
    truth = predictions.truth_m[kept]
    return {name: summary(predictions.joints_m[name][kept], truth) for name in METHODS}


def _by_views(predictions: Mapping[int, Predictions]) -> dict[str, dict[str, float]]:
    """MPJPE in mm of each method by number of views, all on the windows that can be compared with any number."""
    kept = np.all([compared(some) for some in predictions.values()], axis=0)
    if not kept.any():
        return {}
    return {str(count): _mpjpe(some, kept) for count, some in predictions.items()}


def _mpjpe(predictions: Predictions, kept: np.ndarray) -> dict[str, float]:
    truth = predictions.truth_m[kept]
    return {name: float(joint_errors_mm(predictions.joints_m[name][kept], truth).mean()) for name in METHODS}


def _by_angle(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Of two views: MPJPE in mm of each method by the angle between the views' directions, and how many windows."""
    kept, place = compared(predictions), np.digitize(predictions.widest_deg, ANGLES_DEG[1:-1])
    found = {}
    for index, (least, most) in enumerate(itertools.pairwise(ANGLES_DEG)):
        some = kept & (place == index)
        if some.any():
            found[f"{least}-{most}"] = {"windows": int(some.sum())} | _mpjpe(predictions, some)
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"median": float("nan"), "p90": float("nan")}
    return {"median": float(np.median(values)), "p90": float(np.percentile(values, 90))}


def _acceleration(data: WindowDataset, predictions: Predictions, joints_m: np.ndarray) -> float:
    """Mean over the runs of consecutive windows of one hand, in the world: each frame has its own origin."""
    places = [data.place(int(number)) for number in predictions.number]
    values = []
    sequence = [place.sequence for place in places]
    for one in sorted(set(sequence)):
        chosen = [index for index, each in enumerate(sequence) if each == one]
        origins = np.stack([places[index].target_m for index in chosen])[:, None]
        times_s = np.array([places[index].time_ns for index in chosen]) * 1e-9
        here, truth = joints_m[chosen] + origins, predictions.truth_m[chosen] + origins
        known = np.isfinite(here - truth).all((1, 2))
        values.append(acceleration_error_mm(here[known], truth[known], times_s[known]))
    values = [value for value in values if np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")
