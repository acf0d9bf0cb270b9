"""The calibration report: how good a calibration is and what to do if it is not, as one HTML file."""

from pathlib import Path

from calibration.report.page import ReportContext, board_text, report_html
from calibration.result.result import CalibrationResult
from calibration.written_files import write_atomic

__all__ = ["ReportContext", "board_text", "report_html", "write_report"]


def write_report(path: Path, result: CalibrationResult, context: ReportContext | None = None) -> None:
    """Write the report of a calibration, atomically: one file with its plots, which loads nothing from elsewhere."""
    write_atomic(path, report_html(result, context).encode())
