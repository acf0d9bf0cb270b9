"""The figures beside the browser's scene, as HTML."""

from html import escape

from app.viewer.hud import figure
from app.viewer.state import Shown


def figures_html(title: str, shown: Shown, now_ns: int) -> str:
    """What is wrong, then hands, rate and latency, and each camera's state and counts."""
    figures = shown.figures(now_ns)
    rows = [
        ("hands", str(shown.hands(now_ns))),
        ("poses/s", figure(figures.rate_hz, 1)),
        ("latency p50", f"{figure(figures.latency_p50_ms)} ms"),
        ("latency p99", f"{figure(figures.latency_p99_ms)} ms"),
        *_photon_to_pose(shown),
        ("estimator", (shown.newest.estimator if shown.newest else "-")),
    ]
    cameras = [
        (camera_id, report.state + (f": {report.detail[:60]}" if report.detail else ""), f"{report.dropped} dropped")
        for camera_id, report in shown.reports().items()
    ]
    wrong = shown.wrong(now_ns)
    simulated = shown.newest is not None and shown.newest.simulated
    return (
        '<div style="padding: 0 1em; font-size: 0.85em; line-height: 1.5">'
        f"<b>{escape(title)}</b>"
        + (f'<div style="color: #ff5d5d"><b>{escape(wrong[1])}</b></div>' if wrong else "")
        + ('<div style="color: #ffb545">simulated detections</div>' if simulated else "")
        + _table(rows)
        + _table(cameras)
        + "</div>"
    )


def _photon_to_pose(shown: Shown) -> list[tuple[str, str]]:
    """Of the newest set, where the cameras' latency was measured."""
    hops_ns = shown.pose_set.hops_ns if shown.pose_set is not None else {}
    if "light" not in hops_ns or "published" not in hops_ns:
        return []
    return [("photon to pose", f"{(hops_ns['published'] - hops_ns['light']) / 1e6:.0f} ms")]


def _table(rows: list[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return '<table style="width: 100%">' + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
