"""Keypoints from what a network answers: coordinates, heatmaps or SimCC."""

from collections.abc import Sequence

import numpy as np

from app.estimators.detectors.user_settings import UserDetectorSettings
from calibration.hand import JOINTS


def decode(answers: Sequence[np.ndarray], settings: UserDetectorSettings) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 21, 2) in pixels of the crop, in the network's order, and their confidence in [0, 1] (N, 21).

    NaN in the answers stays NaN. Raises ValueError that says what was expected, for answers of another shape.
    """
    size = np.array([settings.input.width, settings.input.height])
    if settings.output.kind == "coordinates":
        (values,) = _expect(answers, 1)
        if values.size % (len(values) * JOINTS) or values.size < 2 * len(values) * JOINTS or values.ndim > 3:
            raise ValueError(f"coordinates of shape {_shape(values)}, expected batch x {JOINTS} x 2 (or more)")
        places = values.reshape(len(values), JOINTS, -1)[..., :2].astype(np.float64)
        return places * (size if settings.output.unit == "share" else 1), np.ones(places.shape[:2])
    if settings.output.kind == "heatmaps":
        (values,) = _expect(answers, 1)
        if values.ndim != 4 or values.shape[1] != JOINTS:
            raise ValueError(f"heatmaps of shape {_shape(values)}, expected batch x {JOINTS} x height x width")
        rows, columns = values.shape[2:]
        peak = values.reshape(*values.shape[:2], -1)
        y, x = np.divmod(peak.argmax(-1), columns)
        across = _refined(np.take_along_axis(values, y[..., None, None], 2)[:, :, 0], x)
        down = _refined(np.take_along_axis(values, x[..., None, None], 3)[..., 0], y)
        places = (np.stack([across, down], -1) + 0.5) * size / (columns, rows) - 0.5
        return places, np.clip(peak.max(-1), 0, 1)
    x, y = _expect(answers, 2)
    bins = [round(each * settings.output.split) for each in size]
    if x.ndim != 3 or x.shape[1:] != (JOINTS, bins[0]) or y.shape[1:] != (JOINTS, bins[1]):
        raise ValueError(
            f"SimCC of shapes {_shape(x)} and {_shape(y)}, expected batch x {JOINTS} x {bins[0]} and "
            f"batch x {JOINTS} x {bins[1]}"
        )
    places = np.stack([_refined(axis, axis.argmax(-1)) for axis in (x, y)], -1) / settings.output.split
    return places, np.clip(np.minimum(x.max(-1), y.max(-1)), 0, 1)


def _refined(values: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """The top of the parabola through the peak of `values` (..., L) and its neighbours; NaN where they are NaN."""
    inner = np.clip(peak, 1, values.shape[-1] - 2)[..., None]
    before, at, after = (np.take_along_axis(values, inner + step, -1)[..., 0].astype(np.float64) for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curvature < 0, 0.5 * (before - after) / curvature, 0.0)
    at_border = inner[..., 0] != peak
    return np.where(np.isnan(curvature), np.nan, peak + np.where(at_border, 0.0, np.clip(shift, -0.5, 0.5)))


def _expect(answers: Sequence[np.ndarray], count: int) -> Sequence[np.ndarray]:
    if len(answers) != count:
        raise ValueError(f"{len(answers)} outputs with keypoints, expected {count}; name them in `names`")
    return answers


def _shape(values: np.ndarray) -> str:
    return " x ".join(["batch", *map(str, values.shape[1:])])
