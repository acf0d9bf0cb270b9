"""The touch test's report: one HTML page that needs nothing else, to be attached to a paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.evaluation.touch_targets import corner_names
from calibration.board.board import Board
from calibration.hand import FINGERS
from calibration.report.canvas import INK, LINE, MUTED, camera_colour, drawing
from calibration.report.html_page import html_page, html_section, made_by
from calibration.report.page import board_text
from calibration.report.text import escape, number, table

_COLUMNS = {
    "touches": ("touches", "d"),
    "sets": ("sets", "d"),
    "plane_mm": ("in the plane", ".1f"),
    "plane_mm_p95": ("95 %", ".1f"),
    "plane_mm_without_constant": ("without constant part", ".1f"),
    "along_mm": ("along the finger", "+.1f"),
    "pad_mm": ("pad", ".1f"),
    "normal_mm": ("along the normal", ".1f"),
    "error_mm": ("both", ".1f"),
}
_METHOD = (
    "Fingertips rest on named inner corners of a printed calibration board. The board's pose in each frame set is "
    "fitted to its corners in all cameras with the rig as calibrated, so the corner's place is known to a fraction of "
    "a millimetre, without markers on the hand. Of a touch, the first and last fifth of a second are left out, and all "
    "frame sets between count in which the method gives the hand; none is left out for its error."
)
_DISTANCES = (
    "Millimetres. In the plane: the mean distance from the fingertip's joint to the corner along the board, and its "
    "95th percentile. Along the finger: the mean of it in the finger's direction, towards the tip; it holds where on "
    "its pad a finger touches, and a constant error of the method, which a touch cannot tell apart. Without constant "
    "part: the mean distance once each finger's mean offset, in its own direction, is taken off. Pad: the height over "
    "the board at which the tip is given, median of the finger's touches; it is the distance from joint to skin and "
    "again the method's constant error. Along the normal: the mean distance from that height."
)


def report_html(figures: Mapping[str, Any], board: Board) -> str:
    """The page of what `usthand validate` found."""
    whole = figures["all"]
    sections = [
        html_section("Distance from the corner touched", _finger_table(figures), _DISTANCES),
        html_section("Where fingertips were given", _plots(figures, board),
                 "Medians of each touch. Left: seen onto the board, with the corner touched in the middle. Middle: the "
                 "height over the printed face. Right: the board's corners as printed, with those that were touched."),
        html_section("At rest", _jitter_table(figures),
                 "How far a joint is from its mean while a fingertip rests, root mean square in 3D: the method's noise "
                 "and the hand's own tremor."),
        html_section("Touches", _touch_table(figures), "x to the right and y down as the board is printed, from the "
                 "corner; height over the printed face, and its difference from the finger's pad."),
        html_section("Method and uncertainty", _uncertainty(figures, board), _METHOD),
    ]  # fmt: skip
    title = f"Touch test: {number(whole['plane_mm'], '.1f')} mm"
    body = f"{_tiles(figures)}\n{''.join(sections)}"
    return html_page(title, "Touch test", _meta(figures, board), body, made_by(figures["command"]))


def _meta(figures: Mapping[str, Any], board: Board) -> str:
    parts = [
        figures["date"],
        f"method {figures['method']} ({figures['definition']} joints)",
        f"rig {figures['rig_id']}, {figures['cameras']} cameras",
        board_text(board),
        figures["data"],
    ]
    return "".join(f"<span>{escape(part)}</span>" for part in parts)


def _tiles(figures: Mapping[str, Any]) -> str:
    whole, latency = figures["all"], figures["latency_ms"]
    tiles = [
        ("In the plane", whole["plane_mm"], ".1f", "mm", _range(whole["plane_mm_ci95"])),
        ("Along the normal", whole["normal_mm"], ".1f", "mm", _range(whole["normal_mm_ci95"])),
        ("Jitter at rest", figures["jitter_mm"], ".2f", "mm", "root mean square, all joints"),
        ("Dropouts", 100 * figures["dropouts"], ".1f", "%", "sets of touches without the hand"),
        ("Latency", latency and latency["p50"], ".0f", "ms",
         "not known of a recording" if latency is None else f"grab to pose; 99 %: {latency['p99']:.0f} ms"),
    ]  # fmt: skip
    cells = "".join(
        f'<div class="tile"><h3>{title}</h3><b>{number(value, form)}<small>{unit}</small></b><p>{note}</p></div>'
        for title, value, form, unit, note in tiles
    )
    return f'<div class="tiles" style="margin-top:26px">{cells}</div>'


def _range(interval: Sequence[float] | None) -> str:
    return "too few touches for an interval" if interval is None else f"95 %: {interval[0]:.1f} to {interval[1]:.1f}"


def _finger_table(figures: Mapping[str, Any]) -> str:
    rows = [[name, *_cells(each)] for name, each in figures["fingers"].items()]
    rows.append(["<b>all</b>", *_cells(figures["all"])])
    return table(["", *(title for title, _ in _COLUMNS.values())], rows)


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [number(figures[key], form) for key, (_, form) in _COLUMNS.items()]


def _jitter_table(figures: Mapping[str, Any]) -> str:
    rows = [[name, number(mm, ".2f")] for name, mm in figures["jitter_mm_by_joint"].items()]
    third = -(-len(rows) // 3)
    parts = "".join(table(["", "mm"], rows[first : first + third]) for first in range(0, len(rows), third))
    return f'<div class="grid three">{parts}</div>'


def _touch_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{touch['hand']} {touch['finger']}",
            escape(touch["corner"]),
            number(touch["start_s"], ".1f"),
            f"{touch['sets_with_hand']} of {touch['sets']}",
            *(number(touch[key], "+.1f") for key in ("x_mm", "y_mm", "height_mm", "from_pad_mm")),
        ]
        for touch in figures["touches"]
    ]
    return table(["finger", "corner", "at s", "sets", "x mm", "y mm", "height mm", "from pad mm"], rows, (0, 1))


def _uncertainty(figures: Mapping[str, Any], board: Board) -> str:
    seen, whole = figures["board"], figures["all"]
    told = {
        "Sample": f"{whole['touches']} touches, {whole['sets']} frame sets of {figures['sets']}, "
        f"{figures['sets_with_board']} of them with the board. Intervals are from drawing whole touches anew, since "
        "the sets of one touch err alike.",
        "Board": f"its corners fit to {number(seen['rmse_px'], '.2f')} pixels (root mean square over all cameras); "
        f"a corner's place varies by {number(seen['noise_mm'], '.2f')} mm about a steady motion.",
        "Scale": f"rests on the printed square of {board.squares_text_mm} mm: as wrong as that is in percent, all "
        "lengths are.",
        "Touch": "where on its pad a finger meets the corner is up to the person, about 1 to 2 mm; it is in the "
        "figures, which are so much too large rather than too small.",
        "Selection": "a touch is found where a fingertip is given within "
        f"{number(figures['capture_mm'], '.0f')} mm of a corner; a method that errs by more has no touch there, which "
        "its dropouts do not show.",
        "Not seen": "a constant error along the normal or along a finger, which is part of pad and along the finger.",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in told.items()) + "</dl>"


def _plots(figures: Mapping[str, Any], board: Board) -> str:
    touches = figures["touches"]
    return (
        f'<div class="grid three"><figure>{_plane_plot(touches)}</figure><figure>{_height_plot(touches)}</figure>'
        f"<figure>{board_plot(board, sorted({touch['corner'] for touch in touches}))}</figure></div>"
    )


def _plane_plot(touches: Sequence[Mapping[str, Any]]) -> str:
    with drawing("touch-plane", 340, 320, "fingertips about the corner") as drawn:
        axes = drawn.axes(46, 42, 8, 8)
        reach = max(5.0, *(max(abs(touch["x_mm"]), abs(touch["y_mm"])) for touch in touches)) * 1.15
        axes.axhline(0, color=LINE, linewidth=1)
        axes.axvline(0, color=LINE, linewidth=1)
        for index, finger in enumerate(FINGERS):
            own = [(touch["x_mm"], touch["y_mm"]) for touch in touches if touch["finger"] == finger]
            if own:
                axes.plot(*np.array(own).T, "o", color=camera_colour(index), markersize=6, alpha=0.8, label=finger)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(reach, -reach)
        axes.set_aspect("equal")
        axes.set_xlabel("x, mm")
        axes.set_ylabel("y, mm")
        axes.legend(frameon=False, fontsize=10, loc="best")
    return drawn.svg


def _height_plot(touches: Sequence[Mapping[str, Any]]) -> str:
    with drawing("touch-height", 340, 320, "heights of fingertips over the board") as drawn:
        axes = drawn.axes(46, 42, 8, 8)
        axes.axhline(0, color=MUTED, linewidth=1)
        for index, finger in enumerate(FINGERS):
            own = [touch["height_mm"] for touch in touches if touch["finger"] == finger]
            axes.plot(np.full(len(own), index), own, "o", color=camera_colour(index), markersize=6, alpha=0.8)
        axes.set_xticks(range(len(FINGERS)), FINGERS)
        axes.set_xlim(-0.5, len(FINGERS) - 0.5)
        axes.set_ylabel("height, mm")
    return drawn.svg


def board_plot(board: Board, named: Sequence[str]) -> str:
    """The board's corners as printed, with the names of some."""
    with drawing("touch-board", 340, 320, "names of the corners") as drawn:
        axes = drawn.axes(8, 8, 8, 8)
        places_mm = 1e3 * board.corners_board_m
        axes.plot(places_mm[:, 0], places_mm[:, 1], "+", color=MUTED, markersize=7)
        for name, place in zip(corner_names(board), places_mm, strict=True):
            if name in named:
                axes.plot(place[0], place[1], "o", color=camera_colour(0), markersize=7)
                axes.annotate(name, place[:2], (6, -6), textcoords="offset points", fontsize=12, color=INK)
        axes.set_aspect("equal")
        axes.margins(0.12)
        axes.invert_yaxis()
        axes.set_axis_off()
    return drawn.svg
