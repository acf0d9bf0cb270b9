"""The calibration report: one HTML page that needs nothing else, for a screen and for paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.report.html_page import html_page
from calibration.report.rig_section import rig_section
from calibration.report.sections import (
    accuracy_section,
    board_section,
    camera_section,
    coverage_section,
    error_section,
    meaning_section,
    residual_section,
    time_section,
    uncertainty_section,
)
from calibration.report.text import escape, sentence
from calibration.result.result import CalibrationResult

_SUMMARY = {
    "good": "Trust this calibration.",
    "usable": "It works, and can be better.",
    "poor": "Do not measure with this calibration.",
}


@dataclass(frozen=True)
class ReportContext:
    """What the report tells besides the result: where it came from and what it is compared with.

    `detections` adds how many images were looked at and turned down, `known_distances_m` distances between cameras
    that were measured otherwise, `command` the line that makes the report again.
    """

    session: str = ""
    command: str = ""
    detections: Detections | None = None
    known_distances_m: Mapping[tuple[str, str], float] = field(default_factory=dict)


def report_html(result: CalibrationResult, context: ReportContext | None = None) -> str:
    """The page as text. The same result gives the same text."""
    context = context or ReportContext()
    sections = [
        accuracy_section(result),
        camera_section(result),
        board_section(result),
        rig_section(result, context.known_distances_m),
        coverage_section(result, context.detections),
        residual_section(result),
        error_section(result),
        time_section(result),
        uncertainty_section(result),
        meaning_section(result),
    ]
    title = f"Calibration of {len(result.rig.cameras)} cameras"
    command = (
        f'<p>Made with</p><div class="command"><code>{escape(context.command)}</code></div>' if context.command else ""
    )
    body = f"{_verdict(result)}\n{''.join(sections)}"
    return html_page(f"{title}: {result.verdict}", title, _meta(result, context), body, command)


def board_text(board: Board) -> str:
    """The board in a few words."""
    name = {"charuco": "ChArUco", "chessboard": "chessboard", "aprilgrid": "AprilGrid"}[board.type]
    parts = [f"{name} {board.columns} x {board.rows}", f"squares {board.squares_text_mm} mm"]
    if board.dictionary:
        parts.append(board.dictionary)
    if board.inverted:
        parts.append("inverted")
    return ", ".join(parts)


def _meta(result: CalibrationResult, context: ReportContext) -> str:
    record = result.rig.calibration
    parts = [
        record.date if record else None,
        f"rig {result.rig.rig_id}",
        board_text(result.board),
        f"session {context.session}" if context.session else None,
    ]
    return "".join(f"<span>{escape(part)}</span>" for part in parts if part)


def _verdict(result: CalibrationResult) -> str:
    rows = "".join(
        f"<li><div>{escape(sentence(reason))}</div><div>{escape(sentence(remedy))}</div></li>"
        for reason, remedy in zip(result.reasons, result.remedies, strict=False)
    )
    rows = f"<ol><li><span>Why</span><span>What to do</span></li>{rows}</ol>" if rows else ""
    warnings = "".join(f"<li>{escape(sentence(warning))}</li>" for warning in result.warnings)
    warnings = f'<div class="warnings"><ul>{warnings}</ul></div>' if warnings else ""
    return (
        f'<div class="verdict {result.verdict}"><header><strong>{result.verdict.capitalize()}</strong>'
        f"<span>{_SUMMARY[result.verdict]}</span></header>{rows}{warnings}</div>"
    )
