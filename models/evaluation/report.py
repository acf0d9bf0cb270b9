"""The evaluation report: one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from calibration.report.canvas import camera_colour, drawing
from calibration.report.style import STYLE
from calibration.report.text import escape, number, table
from models.evaluation.evaluate import Evaluation
from models.evaluation.metrics import PCK_THRESHOLDS_MM
from models.evaluation.predict import METHODS

_COLUMNS = {
    "mpjpe_mm": ("MPJPE, mm", ".2f"),
    "median_mm": ("median, mm", ".2f"),
    "p90_mm": ("90th percentile, mm", ".2f"),
    "root_aligned_mpjpe_mm": ("root-aligned, mm", ".2f"),
    "pa_mpjpe_mm": ("Procrustes-aligned, mm", ".2f"),
    "auc_20": ("AUC 0-20 mm", ".3f"),
    "auc_50": ("AUC 0-50 mm", ".3f"),
}


def report_html(evaluation: Evaluation, provenance: Mapping[str, Any], worst: Sequence[tuple[str, str]]) -> str:
    """The page. `provenance`: what was evaluated, by name; `worst`: pictures as (caption, `data:` URL)."""
    figures = evaluation.figures
    facts = "".join(f"<span>{escape(name)}: <b>{escape(value)}</b></span>" for name, value in provenance.items())
    sections = [
        _section("Joint error", _methods_table(figures), "All methods on the same windows."),
        _section("PCK", f'<div class="one">{_pck_plot(evaluation)}</div>', "Share of joints within a distance."),
        _section("Is the uncertainty honest?", _coverage_table(figures["coverage"]),
                 "The share of true joints inside the ellipsoid that should hold so many of them."),
    ]  # fmt: skip
    if "by_views" in figures:
        sections.insert(2, _section("By number of views", _views_table(figures["by_views"]), "MPJPE in millimetres."))
    pictures = "".join(_figure(escape(caption), url) for caption, url in worst)
    sections.append(
        _section("Worst windows", f'<div class="grid">{pictures}</div>', "Truth in green, estimate in red.")
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation: {figures["methods"]["ust_hand"]["mpjpe_mm"]:.2f} mm</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Evaluation of a UST-Hand checkpoint</h1>
<div class="meta">{facts}</div>
{"".join(sections)}
</main>
</body>
</html>
"""


def _section(title: str, body: str, lead: str) -> str:
    return f'<section><h2>{title}</h2><p class="lead">{lead}</p>{body}</section>'


def _figure(caption: str, url: str) -> str:
    picture = f'<img src="{url}" alt="{caption}" style="width:100%">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _methods_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [METHODS[name], *(number(values[column], form) for column, (_, form) in _COLUMNS.items()),
         number(figures["acceleration_error_mm"][name], ".2f")]
        for name, values in figures["methods"].items()
    ]  # fmt: skip
    return table(["", *(title for title, _ in _COLUMNS.values()), "acceleration error, mm/frame²"], rows)


def _views_table(by_views: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[views, *(number(values[name], ".2f") for name in METHODS)] for views, values in by_views.items()]
    return table(["views", *METHODS.values()], rows)


def _coverage_table(held: Mapping[str, float]) -> str:
    return table(["ellipsoid", "holds"], [[f"{float(level):.0%}", f"{share:.1%}"] for level, share in held.items()])


def _pck_plot(evaluation: Evaluation) -> str:
    with drawing("pck", 520, 320, "share of joints within a distance") as drawn:
        axes = drawn.axes(46, 42, 12, 8)
        for index, (name, curve) in enumerate(evaluation.curves.items()):
            axes.plot(PCK_THRESHOLDS_MM, curve, color=camera_colour(index), linewidth=1.8, label=METHODS[name])
        axes.set_xlim(0, PCK_THRESHOLDS_MM[-1])
        axes.set_ylim(0, 1)
        axes.set_xlabel("distance, mm")
        axes.legend(frameon=False, fontsize=11, loc="lower right")
    return drawn.svg
