"""The sections of the calibration report, each as HTML."""

import numpy as np

from calibration.board.views import Detections
from calibration.image_cells import cell_counts
from calibration.report.canvas import camera_colour
from calibration.report.figure_plots import histogram_plot, offset_plot, uncertainty_plot
from calibration.report.image_plots import coverage_plot, nice_scale, region_plot, residual_plot
from calibration.report.text import escape, number, plus_minus, sentence, table
from calibration.result.result import CalibrationResult, ViewResiduals


def accuracy_section(result: CalibrationResult) -> str:
    held = result.heldout
    if result.scale_bias_percent is not None:
        scale = (result.scale_bias_percent, "against the distances that you measured")
    else:
        scale = (held.scale_bias_percent, "against the board; measure two cameras' distance to check the board itself")
    median, noise = number(held.median_px, ".2f"), number(result.noise_px, ".2f")
    tiles = [
        ("Held-out error", number(held.rmse_px, ".2f"), "px RMS", f"on frames not used; median {median} px"),
        (
            "Rigidity",
            number(held.rigidity_mm_rms, ".2f"),
            "mm RMS",
            "error in 3D of the known distances between corners",
        ),
        ("Leave-one-out", number(held.loo_px, ".2f"), "px", "what a camera sees, foretold by the others; median"),
        ("Scale", number(scale[0], "+.2f"), "%", scale[1]),
        ("Joint fit", number(result.rmse_px, ".2f"), "px RMS", f"of the whole board; corner noise {noise} px"),
    ]
    cells = "".join(
        f'<div class="tile"><h3>{name}</h3><b>{value}<small>{unit}</small></b><p>{note}</p></div>'
        for name, value, unit, note in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def camera_section(result: CalibrationResult) -> str:
    header = [
        "camera", "lens", "focal length<br>px", "frames", "alone<br>px RMS", "joint fit<br>px RMS",
        "held-out<br>px RMS", "leave-one-out<br>px", "coverage", "direction ±<br>degrees", "position ±<br>mm",
    ]  # fmt: skip
    rows, notes = [], []
    for index, (camera_id, one) in enumerate(result.cameras.items()):
        lens = result.rig[camera_id].camera
        rows.append(
            [
                f'<span class="dot" style="background:{camera_colour(index)}"></span>{escape(camera_id)}',
                lens.lens,
                plus_minus(lens.focal_px, float(np.mean(one.intrinsics_std[:2])), ".1f"),
                str(one.frames),
                number(one.intrinsic_rmse_px, ".2f"),
                number(one.rmse_px, ".2f"),
                number(one.heldout_rmse_px, ".2f"),
                number(one.loo_px, ".2f"),
                number(100 * one.coverage, ".1f") + " %",
                "reference" if index == 0 else number(one.rotation_std_deg, ".3f"),
                "reference" if index == 0 else number(one.position_std_mm, ".2f"),
            ]
        )
        if one.lens_note:
            notes.append(f"{escape(camera_id)}: {escape(one.lens_note)}")
    note = f'<p class="note" style="margin-top:10px;font-size:13px">{"<br>".join(notes)}</p>' if notes else ""
    return f"<section><h2>Cameras</h2>{table(header, rows, (0, 1))}{note}</section>"


def board_section(result: CalibrationResult) -> str:
    shape = result.shape
    if shape.solved:
        lead = "The rig was solved with the board as it is below: it is not flat and square, and the footage shows how."
    else:
        lead = "The footage shows no other board than a flat and square one, and the rig was solved with that."
    header = ["squares wide<br>mm", "squares high<br>mm", "wider than high<br>%", "off a right angle<br>degrees",
              "bent<br>mm"]  # fmt: skip
    row = [
        plus_minus(shape.square_mm[0], shape.square_std_mm, ".2f"),
        plus_minus(shape.square_mm[1], shape.square_std_mm, ".2f"),
        plus_minus(shape.stretch_percent, shape.stretch_std_percent, ".2f"),
        plus_minus(shape.shear_deg, shape.shear_std_deg, ".2f"),
        plus_minus(shape.bend_mm, shape.bend_std_mm, ".2f"),
    ]
    return (
        f'<section><h2>The board</h2><p class="lead">{lead} The mean of both sides is that of board.yaml, which no '
        f"footage can check: measure a row and a column.</p>{table(header, [row])}</section>"
    )


def coverage_section(result: CalibrationResult, detections: Detections | None) -> str:
    views = _views_by_camera(result)
    most = 1
    for camera_id, seen in views.items():
        if seen:
            corners = np.concatenate([view.corners_px for view in seen])
            most = max(most, int(cell_counts(corners, _size(result, camera_id)).max()))
    figures = []
    for camera_id, seen in views.items():
        plot = coverage_plot(camera_id, seen, _size(result, camera_id), _width(len(views)), most)
        share = number(100 * result.cameras[camera_id].coverage, ".1f")
        figures.append(_figure(camera_id, f"{share} % of the image", plot, _looked_at(camera_id, detections)))
    return (
        "<section><h2>Where the board was seen</h2>"
        f'<p class="lead">Corners by image field, darker for more, up to {most}. Grey fields never saw the board, '
        "so that the lens is a guess there.</p>"
        f'<div class="grid {_columns(len(views))}">{"".join(figures)}</div></section>'
    )


def _looked_at(camera_id: str, detections: Detections | None) -> str:
    if detections is None or camera_id not in detections.looked_at:
        return ""
    rejected = detections.rejected.get(camera_id, {})
    parts = [f"{count} {escape(reason)}" for reason, count in sorted(rejected.items(), key=lambda item: -item[1])]
    found = len(detections.views.get(camera_id, []))
    text = f"board in {found} of {detections.looked_at[camera_id]} images"
    return f"{text}; turned down: {', '.join(parts)}" if parts else text


def residual_section(result: CalibrationResult) -> str:
    views = _views_by_camera(result)
    residuals = np.concatenate([view.residuals_px for view in result.views] or [np.zeros((0, 2))])
    scale = nice_scale(residuals, _size(result, result.rig.camera_ids[0]))
    figures = []
    for index, (camera_id, seen) in enumerate(views.items()):
        plot = residual_plot(camera_id, index, seen, _size(result, camera_id), 500, scale)
        note = f"{number(result.cameras[camera_id].rmse_px, '.2f')} px RMS"
        figures.append(_figure(camera_id, note, plot))
    return (
        "<section><h2>Residuals</h2>"
        f'<p class="lead">From where the model puts each corner to where it was seen, drawn {scale:g} times as long; '
        "red where it is far beyond the rest. Black is the mean of an image field: where these lines are long, the "
        "lens model does not fit.</p>"
        f'<div class="grid two">{"".join(figures)}</div></section>'
    )


def error_section(result: CalibrationResult) -> str:
    views = _views_by_camera(result)
    lengths = {
        camera_id: np.concatenate([np.linalg.norm(view.residuals_px, axis=1) for view in seen] or [np.zeros(0)])
        for camera_id, seen in views.items()
    }
    everything = np.concatenate(list(lengths.values()))
    median_px = float(np.median(everything)) if len(everything) else 0.0
    longest_px = float(np.percentile(everything, 98)) if len(everything) else 0.0
    # A few corners that are far off must not flatten all the others.
    most_px = max(min(longest_px, 6 * median_px), 0.1)
    width = _width(len(views))
    darkest_px = max(4 * median_px, 0.2)
    histograms = [
        _figure(camera_id, "", histogram_plot(camera_id, index, lengths[camera_id], width, most_px))
        for index, camera_id in enumerate(views)
    ]
    maps = [
        _figure(camera_id, "", region_plot(camera_id, one.region_rmse_px, _size(result, camera_id), width, darkest_px))
        for camera_id, one in result.cameras.items()
    ]
    columns = _columns(len(views))
    return (
        "<section><h2>Errors</h2>"
        '<p class="lead">How long the residuals are; the last bar holds all that are longer.</p>'
        f'<div class="grid {columns}">{"".join(histograms)}</div>'
        '<p class="lead" style="margin-top:24px">The same by image region, px RMS: a lens that fits errs evenly.</p>'
        f'<div class="grid {columns}">{"".join(maps)}</div></section>'
    )


def time_section(result: CalibrationResult) -> str:
    estimated = any(one.time_offset_std_ns is not None for one in result.cameras.values())
    plot = f"<figure>{offset_plot(result.cameras, 1000)}</figure>" if estimated else ""
    bars = " Bars span two standard deviations." if estimated else ""
    rows = [
        [escape(camera_id), plus_minus(one.row_time_ns / 1e3, (one.row_time_std_ns or np.nan) / 1e3, ".2f")]
        for camera_id, one in result.cameras.items()
        if one.row_time_ns is not None
    ]
    shutter = (
        f'<h3 style="margin-top:18px">Rolling shutter</h3>{table(["camera", "µs per image row"], rows)}' if rows else ""
    )
    return (
        f'<section><h2>Time offsets</h2><p class="lead">{escape(sentence(result.time_offset_note))}{bars}</p>'
        f"{plot}{shutter}</section>"
    )


def uncertainty_section(result: CalibrationResult) -> str:
    return (
        "<section><h2>How well each parameter is known</h2>"
        '<p class="lead">One standard deviation, from the covariance of the fit; of positions and times at least half '
        "of what two halves of the footage differ by. Direction and position are relative "
        f"to {escape(result.rig.camera_ids[0])}. What the footage cannot determine is held, and says so above.</p>"
        f"<figure>{uncertainty_plot(result, 1000)}</figure></section>"
    )


def meaning_section(result: CalibrationResult) -> str:
    held = result.heldout
    return f"""<section><h2>What the figures mean</h2><dl style="margin-top:12px">
<dt>Held-out error</dt><dd>Corners of frames that the fit did not see, triangulated from all cameras and projected back
({held.corners} corners): {number(held.rmse_px, ".3f")} px RMS, {number(held.trim_rmse_px, ".3f")} px without the worst
2.5 % of each camera, {number(held.median_px, ".3f")} px median.</dd>
<dt>Rigidity</dt><dd>The board does not bend, so the distance between two of its corners is known. This is how far the
triangulated distances are off. It is the figure to compare with what you want to measure.</dd>
<dt>Leave-one-out</dt><dd>Triangulated without one camera, compared in that camera: it also sees errors that all
cameras together hide.</dd>
<dt>Scale</dt><dd>Positive: the rig measures too long. A wrong square size in board.yaml shows only against a distance
that was measured otherwise; give one with <code>--distance</code>.</dd>
<dt>Alone, joint fit</dt><dd>RMS of a camera calibrated by itself, and in the one fit of all cameras with one rigid
board. A joint fit much above alone says that cameras disagree: one moved, or their times do.</dd>
<dt>Coverage</dt><dd>The share of the image&rsquo;s 8 x 6 fields in which corners were seen.</dd>
</dl></section>"""


def _figure(title: str, note: str, plot: str, caption: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure><h3>{escape(title)} <i>{note}</i></h3>{plot}{below}</figure>"


def _columns(count: int) -> str:
    return {1: "two", 2: "two", 3: "three"}.get(count, "four")


def _width(count: int) -> int:
    """Of a plot in a row of `_columns`, in pixels of a wide page, so that letters are of one size."""
    return {1: 490, 2: 490, 3: 320}.get(count, 236)


def _size(result: CalibrationResult, camera_id: str) -> tuple[int, int]:
    camera = result.rig[camera_id].camera
    return camera.width, camera.height


def _views_by_camera(result: CalibrationResult) -> dict[str, list[ViewResiduals]]:
    return {
        camera_id: [view for view in result.views if view.camera_id == camera_id] for camera_id in result.rig.camera_ids
    }
