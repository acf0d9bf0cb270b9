"""The figures of an evaluation on real footage as lines for a terminal and as sections of a page."""

from collections.abc import Mapping
from typing import Any

from calibration.hand import JOINT_NAMES
from calibration.report.html_page import html_page, html_section, made_by
from calibration.report.text import escape, number, table

TITLES = {"mediapipe": "MediaPipe, triangulated", "ust-hand": "UST-Hand"}
"""The methods by their names on the command line, as tables call them."""

_SHARE = "share"
_COLUMNS = {
    "withheld_px_median": ("withheld px", ".2f"),
    "withheld_px_median_without_wrist_thumb_base": ("without wrist, thumb base", ".2f"),
    "withheld_percent_median": ("% of hand", ".2f"),
    "withheld_missed": ("missed", _SHARE),
    "leave_one_out_px_median": ("leave-one-out px", ".2f"),
    "reprojection_px_median": ("reprojection px", ".2f"),
    "bone_length_cv_mean": ("bone variation", ".3f"),
    "hands_per_set_mean": ("hands a set", ".2f"),
    "sets_with_hand": ("sets with a hand", "d"),
}
_GRIP_COLUMNS = {
    "tips": ("fingertips", "d"),
    "tips_missed": ("missed", _SHARE),
    "normal_sd_mm": ("sd mm", ".2f"),
    "gap_mm": ("thumb to fingers mm", ".1f"),
    "wrong_side": ("thumb on wrong side", _SHARE),
}
_WITHHELD_LEAD = (
    "Each method is run without one camera; its joints are projected into that camera's image at the time when it was "
    "taken, and compared with what the detector alone sees there. A hand that the detector sees and the method does "
    "not give is missed. Medians over the joints; in % of the hand's size, twice the root mean square spread of its "
    "keypoints. Leave-one-out compares a method's own keypoints with each other. Bone variation is the standard "
    "deviation of the bones' lengths over their means."
)
_GRIP_LEAD = (
    "Fingertips of hands that hold the board lie on its faces. sd: the robust standard deviation of a fingertip's "
    "distance from the board's plane, about its own median. The gap is across the board, from the index and middle "
    "fingertips to the thumb's."
)


def text_tables(figures: Mapping[str, Any]) -> str:
    """For a terminal: one line a method, one a joint, and the grip test's."""
    methods: Mapping[str, Mapping[str, Any]] = figures["real"]
    first = next(iter(methods.values()))
    lines = [f"{first['sets']} frame sets, {first['withheld_hands']} hands seen in a withheld view"]
    lines += _aligned(_COLUMNS, methods)
    if any(each["withheld_px_median"] is not None for each in methods.values()):
        lines += ["", f"{'median px, % of the hand':26}" + "".join(f"{TITLES[name]:>24}" for name in methods)]
        for joint, title in enumerate(JOINT_NAMES):
            cells = "".join(f"{_joint(each, joint, 'px', '.2f'):>15}{_joint(each, joint, 'percent', '.1f'):>8}%"
                            for each in methods.values())  # fmt: skip
            lines.append(f"{title:26}{cells}")
    if figures.get("grip"):
        lines += ["", f"grip test: {figures['sets_with_board']} sets with the board"]
        lines += _aligned(_GRIP_COLUMNS, figures["grip"])
    return "\n".join(lines) + "\n"


def sections(figures: Mapping[str, Any]) -> str:
    """As sections of an HTML page."""
    methods: Mapping[str, Mapping[str, Any]] = figures["real"]
    parts = [html_section("Real footage", _html_table(_COLUMNS, methods), _WITHHELD_LEAD)]
    if any(each["withheld_px_median"] is not None for each in methods.values()):
        header = ["", *(f"{TITLES[name]}, {unit}" for name in methods for unit in ("px", "%"))]
        rows = [
            [title, *(cell for each in methods.values()
                      for cell in (_joint(each, joint, "px", ".2f"), _joint(each, joint, "percent", ".1f")))]
            for joint, title in enumerate(JOINT_NAMES)
        ]  # fmt: skip
        parts.append(
            html_section("Withheld view, by joint", table(header, rows), "Medians, in pixels and in % of the hand.")
        )
    if figures.get("grip"):
        parts.append(html_section("Grip test", _html_table(_GRIP_COLUMNS, figures["grip"]), _GRIP_LEAD))
    return "".join(parts)


def page(figures: Mapping[str, Any]) -> str:
    """A page that needs nothing else."""
    facts = "".join(
        f"<span>{escape(name.replace('_', ' '))}: <b>{escape(figures[name])}</b></span>"
        for name in ("data", "left_out", "checkpoint", "holdout")
        if figures.get(name) is not None
    )
    title = "Evaluation on real footage"
    return html_page(title, title, facts, sections(figures), made_by(figures["command"]))


def with_sections(other_page: str, figures: Mapping[str, Any]) -> str:
    """Another evaluation's page with these sections before its end."""
    before, end, after = other_page.rpartition("<footer>")
    return before + sections(figures) + end + after


def _html_table(columns: Mapping[str, tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]) -> str:
    cells = [[TITLES[name], *(_cell(each[key], form) for key, (_, form) in columns.items())]
             for name, each in rows.items()]  # fmt: skip
    return table(["", *(title for title, _ in columns.values())], cells)


def _aligned(columns: Mapping[str, tuple[str, str]], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    widths = [max(len(title), 8) + 2 for title, _ in columns.values()]
    lines = [
        " " * 26 + "".join(f"{title:>{width}}" for (title, _), width in zip(columns.values(), widths, strict=True))
    ]
    for name, each in rows.items():
        cells = (_cell(each[key], form, "-") for key, (_, form) in columns.items())
        lines.append(f"{TITLES[name]:26}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
    return lines


def _joint(figures: Mapping[str, Any], joint: int, unit: str, form: str) -> str:
    values = figures[f"withheld_{unit}_median_by_joint"]
    return number(values[joint], form, "-")


def _cell(value: float | None, form: str, missing: str = "&ndash;") -> str:
    if form == _SHARE:
        return number(None if value is None else 100 * value, ".1f", missing) + ("" if value is None else " %")
    return number(value, form, missing)
