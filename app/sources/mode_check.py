"""What was asked of a camera against what it does."""

import math

from app.sources.source import SourceError, WrongSize
from calibration.rig import RigCamera


def require_size(camera: RigCamera, what: str, width: int, height: int) -> None:
    """Raise WrongSize unless `what` delivers images of the size the rig was calibrated with."""
    asked, upright = camera.source_size, camera.turn.exchanged((width, height))
    if (width, height) != asked:
        turned = f" before `{camera.turn}`" if camera.turn else ""
        raise WrongSize(
            f"camera `{camera.camera_id}`, {what}: asked for {asked[0]}x{asked[1]}, the image size in rig.yaml{turned}"
            f", but it delivers {width}x{height}. Choose a mode of this size (`usthand cameras` lists them), or "
            f"calibrate the rig again with image_size [{upright[0]}, {upright[1]}].",
            (width, height),
        )


Value = bool | int | float | str


def require_value(
    camera: RigCamera,
    what: str,
    key: str,
    asked: Value,
    actual: Value,
    tolerance: float = 0.0,
) -> None:
    """Raise SourceError unless `actual` is `asked`; numbers may differ by the relative `tolerance`."""
    if isinstance(asked, float | int) and isinstance(actual, float | int):
        same = math.isclose(asked, actual, rel_tol=tolerance, abs_tol=1e-9)
    else:
        same = asked == actual
    if not same:
        raise SourceError(
            f"camera `{camera.camera_id}`, {what}: asked for {key} {_text(asked)}, but it does {_text(actual)}. "
            f"Set `{key}` in rig.yaml to a value that the camera has, or remove it to take the camera's own."
        )


def _text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"
