"""The evaluation report: one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from calibration.report.canvas import camera_colour, drawing
from calibration.report.html_page import html_page, html_section, made_by
from calibration.report.text import escape, number, table
from models.evaluation.evaluate import Evaluation
from models.evaluation.metrics import PCK_THRESHOLDS_MM
from models.evaluation.predict import METHODS

_COLUMNS = {
    "mpjpe_mm": ("MPJPE", ".2f"),
    "median_mm": ("median", ".2f"),
    "p90_mm": ("90 %", ".2f"),
    "root_aligned_mpjpe_mm": ("root-aligned", ".2f"),
    "pa_mpjpe_mm": ("Procrustes", ".2f"),
    "mpvpe_mm": ("MPVPE", ".2f"),
    "root_aligned_mpvpe_mm": ("MPVPE, root-aligned", ".2f"),
    "pa_mpvpe_mm": ("MPVPE, Procrustes", ".2f"),
    "auc_20": ("AUC to 20 mm", ".3f"),
    "auc_50": ("AUC to 50 mm", ".3f"),
}
_ERRORS = (
    "Distances to the true joints in millimetres: mean, median, 90th percentile, and the means with the wrist or the "
    "whole hand (Procrustes) aligned; MPVPE, the same of the vertices of the hand fitted to the joints, where the true "
    "mesh is known; the area under the PCK curve from 0 to 20 and to 50 mm; the acceleration's error "
    "in millimetres per frame squared."
)


def report_html(evaluation: Evaluation, provenance: Mapping[str, Any], worst: Sequence[tuple[str, str]]) -> str:
    """The page. `provenance`: what was evaluated, and the `command`; `worst`: captions with `data:` URLs."""
    figures = evaluation.figures
    facts = "".join(
        f"<span>{escape(name.replace('_', ' '))}: <b>{escape(value)}</b></span>"
        for name, value in provenance.items()
        if name != "command"
    )
    windows = (
        f"All methods on the same {figures['windows_compared']} of {figures['windows']} windows, with up to "
        f"{figures['views']} views."
    )
    sections = [
        html_section("Joint error", _methods_table(figures), f"{windows} {_ERRORS}"),
        html_section("PCK", f'<div class="one">{_pck_plot(evaluation)}</div>', "Share of joints within a distance."),
        html_section("2D error", _keypoints_table(figures),
                 "Distances to the true joints in the images, in % of the crop's side."),
        html_section("Is the uncertainty honest?", _coverage_table(figures["coverage"]),
                 "The share of true joints inside the ellipsoid that should hold so many of them."),
    ]  # fmt: skip
    if figures.get("by_views"):
        lead = "MPJPE in millimetres, each row on the same windows."
        sections.insert(2, html_section("By number of views", _views_table(figures["by_views"]), lead))
    if figures.get("two_views_by_angle"):
        lead = "MPJPE in millimetres by the angle, in degrees, between the directions from the hand to two views."
        sections.insert(
            -2, html_section("Two views by their angle", _angles_table(figures["two_views_by_angle"]), lead)
        )
    pictures = "".join(_figure(escape(caption), url) for caption, url in worst)
    sections.append(
        html_section(
            "Worst windows",
            f'<div class="grid">{pictures}</div>',
            "The largest errors, one of each sequence at most, in all views. Truth in green, estimate in red. Left "
            "hands are mirrored.",
        )
    )
    title = f"Evaluation: {figures['methods']['ust_hand']['mpjpe_mm']:.2f} mm"
    heading = "Evaluation of a UST-Hand checkpoint"
    return html_page(title, heading, facts, "".join(sections), made_by(provenance["command"]))


def _figure(caption: str, url: str) -> str:
    picture = f'<img src="{url}" alt="{caption}" style="width:100%">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _methods_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [METHODS[name], *(number(values.get(column), form) for column, (_, form) in _COLUMNS.items()),
         number(figures["acceleration_error_mm"][name], ".2f")]
        for name, values in figures["methods"].items()
    ]  # fmt: skip
    return table(["", *(title for title, _ in _COLUMNS.values()), "acceleration"], rows, text_columns=())


def _views_table(by_views: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[views, *(number(values[name], ".2f") for name in METHODS)] for views, values in by_views.items()]
    return table(["views", *METHODS.values()], rows)


def _keypoints_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [title, *(number(100 * figures[f"{name}_error_of_crop"][key], ".2f") for key in ("median", "p90"))]
        for name, title in (("keypoint", "stage 1's keypoints"), ("label", "labels"))
    ]
    return f'<div class="one">{table(["", "median", "90 %"], rows)}</div>'


def _angles_table(by_angle: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        [angle, number(values["windows"], ".0f"), *(number(values[name], ".2f") for name in METHODS)]
        for angle, values in by_angle.items()
    ]
    return table(["degrees", "windows", *METHODS.values()], rows)


def _coverage_table(held: Mapping[str, float]) -> str:
    rows = [[f"{float(level):.0%}", f"{share:.1%}"] for level, share in held.items()]
    return f'<div class="one">{table(["should hold", "holds"], rows)}</div>'


def _pck_plot(evaluation: Evaluation) -> str:
    with drawing("pck", 520, 320, "share of joints within a distance") as drawn:
        axes = drawn.axes(60, 42, 12, 8)
        for index, (name, curve) in enumerate(evaluation.curves.items()):
            axes.plot(PCK_THRESHOLDS_MM, curve, color=camera_colour(index), linewidth=1.8, label=METHODS[name])
        axes.set_xlim(0, PCK_THRESHOLDS_MM[-1])
        axes.set_ylim(0, 1)
        axes.set_xlabel("distance, mm")
        axes.set_ylabel("share of joints")
        axes.legend(frameon=False, fontsize=11, loc="best")
    return drawn.svg
