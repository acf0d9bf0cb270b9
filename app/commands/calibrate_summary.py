"""What `usthand calibrate` prints: a summary as plain data, and as text."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.result.result import BoardFigures, CalibrationResult, CameraFigures, CauseFigures
from calibration.rig_backup import replace_rig

_POSE_NAMES = ("rotation_x_rad", "rotation_y_rad", "rotation_z_rad", "position_x_m", "position_y_m", "position_z_m")
_LENS_NAMES = ("fx_px", "fy_px", "cx_px", "cy_px")
_PINHOLE_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_FISHEYE_NAMES = ("k1", "k2", "k3", "k4")


def result_summary(result: CalibrationResult, detections: Detections) -> dict[str, Any]:
    """The machine-readable summary. None stands for what could not be told."""
    held, scale = result.heldout, result.scale_bias_percent
    return {
        "cameras": {
            camera_id: _camera(one, result.rig[camera_id].camera, detections) | _parameter_std(result, camera_id)
            for camera_id, one in result.cameras.items()
        },
        "rmse_px": rounded(result.rmse_px),
        "heldout_rmse_px": rounded(held.rmse_px),
        "heldout_trim_rmse_px": rounded(held.trim_rmse_px),
        "heldout_median_px": rounded(held.median_px),
        "loo_px": rounded(held.loo_px),
        "heldout_corners": held.corners,
        "rigidity_mm_rms": rounded(held.rigidity_mm_rms),
        "scale_bias_percent": rounded(held.scale_bias_percent if scale is None else scale),
        "scale_bias_against": "board" if scale is None else "known distances",
        "distances_m": {f"{a}-{b}": rounded(value, 6) for (a, b), value in result.distances_m.items()},
        "distance_std_m": {f"{a}-{b}": rounded(value, 6) for (a, b), value in result.distance_std_m.items()},
        "shared_views": {f"{a}-{b}": count for (a, b), count in result.shared_views.items()},
        "noise_px": rounded(result.noise_px),
        "time_offset_note": result.time_offset_note,
        "verdict": result.verdict,
        "reasons": result.reasons,
        "remedies": result.remedies,
        "warnings": result.warnings,
        "board": {"legacy": detections.legacy, "inverted": detections.inverted, "mirrored": list(detections.mirrored)}
        | _shape(result.shape),
        "cause": None if result.cause is None else _cause(result.cause),
        "rig_id": result.rig.rig_id,
    }


def write_files(
    result: CalibrationResult, detections: Detections, *, output: Path | None, report: Path | None, session: Path,
    command: str, known_distances_m: Mapping[tuple[str, str], float] | None = None,
) -> dict[str, str | None]:  # fmt: skip
    """Write the rig and the report where they are wanted. Gives what was written, by keys of the summary.

    `session`, `command` and `known_distances_m` are told by the report.
    """
    backup = None if output is None else replace_rig(output, result.rig)
    if report is not None:
        from calibration.report import ReportContext, write_report

        write_report(report, result, ReportContext(str(session), command, detections, known_distances_m or {}))
    paths = {"rig": output, "rig_before": backup, "report": report}
    return {key: None if path is None else str(path) for key, path in paths.items()}


def _camera(one: CameraFigures, lens: Camera, detections: Detections) -> dict[str, Any]:
    return {
        "intrinsic_rmse_px": rounded(one.intrinsic_rmse_px),
        "rmse_px": rounded(one.rmse_px),
        "heldout_rmse_px": rounded(one.heldout_rmse_px),
        "loo_px": rounded(one.loo_px),
        "frames": one.frames,
        "looked_at": detections.looked_at.get(one.camera_id),
        "rejected": detections.rejected.get(one.camera_id, {}),
        "coverage": rounded(one.coverage),
        "lens": lens.lens,
        "lens_note": one.lens_note,
        "focal_px": rounded(lens.focal_px, 3),
        "focal_std_px": rounded(float(np.mean(one.intrinsics_std[:2])), 3),
        "rotation_std_deg": rounded(one.rotation_std_deg, 5),
        "position_std_mm": rounded(one.position_std_mm),
        "time_offset_ms": rounded(one.time_offset_ns / 1e6),
        "time_offset_std_ms": None if one.time_offset_std_ns is None else rounded(one.time_offset_std_ns / 1e6),
        "row_time_us": None if one.row_time_ns is None else rounded(one.row_time_ns / 1e3),
    }


def _shape(shape: BoardFigures) -> dict[str, Any]:
    return {
        "shape_solved": shape.solved,
        "square_mm": [rounded(side) for side in shape.square_mm],
        "square_std_mm": rounded(shape.square_std_mm),
        "stretch_percent": rounded(shape.stretch_percent),
        "stretch_std_percent": rounded(shape.stretch_std_percent),
        "shear_deg": rounded(shape.shear_deg),
        "shear_std_deg": rounded(shape.shear_std_deg),
        "bend_mm": rounded(shape.bend_mm),
        "bend_std_mm": rounded(shape.bend_std_mm),
    }


def _cause(cause: CauseFigures) -> dict[str, Any]:
    after_s = None if cause.after_s is None else rounded(cause.after_s, 2)
    return {
        "kind": cause.kind, "cameras": list(cause.cameras), "after_s": after_s, "share": rounded(cause.share),
        "text": cause.text,
    }  # fmt: skip


def _parameter_std(result: CalibrationResult, camera_id: str) -> dict[str, Any]:
    """One standard deviation of every parameter by name, from the covariance; zero for what was held, null where the
    fit has not converged."""
    std = np.sqrt(np.maximum(np.diag(result.covariance[camera_id]), 0))
    fisheye = result.rig[camera_id].camera.lens == "fisheye4"
    names = [*_POSE_NAMES, *_LENS_NAMES, *(_FISHEYE_NAMES if fisheye else _PINHOLE_NAMES)]
    stds = {
        name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in zip(names, std, strict=False)
    }
    one = result.cameras[camera_id]
    times_ns = {"time_offset_ms": one.time_offset_std_ns, "row_time_ms": one.row_time_std_ns}
    times = {name: float(f"{ns / 1e6:.4g}") for name, ns in times_ns.items() if ns is not None and math.isfinite(ns)}
    return {"parameter_std": stds | times}


def rounded(value: float, digits: int = 4) -> float | None:
    """For JSON, which has no NaN."""
    return round(float(value), digits) if math.isfinite(value) else None


def print_result(summary: dict[str, Any]) -> None:
    """The summary for a person."""
    print(f"verdict: {summary['verdict']}")
    for reason, remedy in zip(summary["reasons"], summary["remedies"], strict=False):
        print(f"  {reason}\n    {remedy}")
    for warning in summary["warnings"]:
        print(f"  note: {warning}")
    print(
        f"on frames not used: {_text(summary['heldout_rmse_px'], '.2f')} px RMS, "
        f"rigidity {_text(summary['rigidity_mm_rms'], '.2f')} mm RMS, "
        f"leave-one-out {_text(summary['loo_px'], '.2f')} px; "
        f"scale {_text(summary['scale_bias_percent'], '+.2f')} % against the {summary['scale_bias_against']}"
    )
    print(_board_line(summary["board"]))
    header = ["camera", "frames", "lens", "focal px", "alone", "joint", "held-out", "coverage", "position mm",
              "offset ms"]  # fmt: skip
    rows = [header]
    for camera_id, one in summary["cameras"].items():
        offset = _text(one["time_offset_ms"], "+.1f")
        rows.append(
            [
                camera_id,
                str(one["frames"]),
                one["lens"],
                f"{_text(one['focal_px'], '.1f')} ± {_text(one['focal_std_px'], '.1f')}",
                _text(one["intrinsic_rmse_px"], ".2f"),
                _text(one["rmse_px"], ".2f"),
                _text(one["heldout_rmse_px"], ".2f"),
                _text(one["coverage"], ".1%"),
                f"± {_text(one['position_std_mm'], '.1f')}",
                offset if one["time_offset_std_ms"] is None else f"{offset} ± {one['time_offset_std_ms']:.1f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  " + "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    for key, name in (("rig", "rig"), ("rig_before", "the rig before"), ("report", "report")):
        if summary[key]:
            print(f"{name}: {summary[key]}")
    if not summary["rig"]:
        print("no rig was written; give `-o rig.yaml`")


def _board_line(board: dict[str, Any]) -> str:
    sides = " x ".join(_text(side, ".2f") for side in board["square_mm"])
    parts = [
        f"board: squares {sides} ± {_text(board['square_std_mm'], '.3f')} mm by their mean",
        f"off a right angle by {_text(board['shear_deg'], '+.2f')} ± {_text(board['shear_std_deg'], '.2f')} degrees",
        f"bent by {_text(board['bend_mm'], '.2f')} ± {_text(board['bend_std_mm'], '.2f')} mm",
    ]
    return f"{', '.join(parts)}; {'solved for' if board['shape_solved'] else 'taken as flat and square'}"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
